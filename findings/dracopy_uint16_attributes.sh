#!/usr/bin/env bash
# DracoPy 2.2.0, 16-bit attributes of a mesh.
#
# Guess: a generic attribute that was encoded as uint16 (joints, or normalised weights, of a skin under
# KHR_draco_mesh_compression) is decoded as uint16, as uint8 and uint32 come back as they were.
# Seen: the stream does say 16 bits (`data_type` 4), but the decoded array is uint32, with the same
# numbers. Who divides a normalised attribute by the largest number of the array's dtype is off by 65,537
# times: take the width from the accessor of the glTF file.
#
# Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'DracoPy==2.2.0' 'numpy==2.2.6' 2>/dev/null
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import DracoPy
import numpy as np

points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)
faces = np.array([[0, 1, 2]], np.uint32)
seen = {}
for dtype in (np.uint8, np.uint16, np.uint32):
    joints = np.arange(12, dtype=dtype).reshape(3, 4)
    stream = DracoPy.encode(points, faces, generic_attributes={0: joints}, preserve_order=True)
    (back,) = (a for a in DracoPy.decode(stream).attributes if a["attribute_type"] == 4)
    assert back["data"].tolist() == joints.tolist()
    seen[dtype.__name__] = back["data_type"], back["data"].dtype.name
    print(f"{dtype.__name__}: data_type {back['data_type']}, decoded as {back['data'].dtype.name}")
# Printed on 2026-11-29:
#   uint8: data_type 2, decoded as uint8
#   uint16: data_type 4, decoded as uint32
#   uint32: data_type 6, decoded as uint32
wanted = {"uint8": (2, "uint8"), "uint16": (4, "uint32"), "uint32": (6, "uint32")}
sys.exit(seen != wanted)
PYTHON
