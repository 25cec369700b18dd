#!/usr/bin/env bash
# Pillow 13.0.0, uncompressed TIFF files that say how the picture is to be turned.
#
# Guess: a picture is the same whether `Image.open` is given a path or the file's bytes.
# Seen: pillow turns TIFF pictures upright while it loads them. Of uncompressed ones in grey, 16-bit grey
# and RGBA that lie on their side (orientation 5 to 8), it lays the pixels out wrongly when given a path:
# width and height are swapped before the rows are cut, so that a picture of 2 rows of 3 is read as 3 rows
# of 2. Given bytes, or in RGB, or compressed, the picture is right. Depth and scanned masks are such files.
#
# Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'pillow==13.0.0' 'numpy==2.2.6' 2>/dev/null
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import io
import pathlib
import sys

import numpy as np
from PIL import Image

turn = {  # what the tag means, see the TIFF 6.0 specification, Orientation
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}
stored = {
    "L": np.arange(6, dtype=np.uint8).reshape(2, 3),
    "I;16": np.arange(6, dtype=np.uint16).reshape(2, 3),
    "RGBA": np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
    "RGB": np.arange(18, dtype=np.uint8).reshape(2, 3, 3),
}
seen = {}
for mode, pixels in stored.items():
    right = []
    for orientation, upright in turn.items():
        tags = Image.Exif()
        tags[0x0112] = orientation
        Image.fromarray(pixels).save("picture.tif", exif=tags)
        by_path = np.array(Image.open("picture.tif"))
        by_bytes = np.array(Image.open(io.BytesIO(pathlib.Path("picture.tif").read_bytes())))
        wanted = upright(pixels)
        right.append((np.array_equal(by_path, wanted), np.array_equal(by_bytes, wanted)))
    seen[mode] = tuple(all(way) for way in zip(*right))
    print(f"{mode}: right by path {seen[mode][0]}, by bytes {seen[mode][1]}")
# Printed on 2026-11-29:
#   L: right by path False, by bytes True
#   I;16: right by path False, by bytes True
#   RGBA: right by path False, by bytes True
#   RGB: right by path True, by bytes True
sys.exit(seen != {"L": (False, True), "I;16": (False, True), "RGBA": (False, True), "RGB": (True, True)})
PYTHON
