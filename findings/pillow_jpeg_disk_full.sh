#!/usr/bin/env bash
# Pillow 13.0.0, saving pictures where the disk ends.
#
# Guess: `Image.save` raises OSError if what it writes does not fit.
# Seen: for PNG, TIFF, BMP and GIF it does, and leaves no file. For a JPEG it raises nothing: a file of as many
# bytes as there was room for stands there, which cannot be opened any more.
# The end of the disk is a limit on the size of files (RLIMIT_FSIZE), which makes the same call fail (EFBIG).
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
import os
import resource
import signal
import sys

import numpy as np
from PIL import Image

picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the write fails, as on a full disk
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))


seen = {}
for name in ("a.png", "a.tif", "a.bmp", "a.gif", "a.jpg"):
    try:
        picture.save(name)
        seen[name] = "no error"
    except OSError as error:
        seen[name] = "OSError"
    size = os.path.getsize(name) if os.path.exists(name) else 0
    print(f"{name}: {seen[name]}, {size} bytes are there")
whole = io.BytesIO()
picture.save(whole, "jpeg")
try:
    Image.open("a.jpg").load()
    opened = "opens"
except OSError as error:
    opened = "does not open"
print(f"the JPEG has {len(whole.getvalue())} bytes; what was written {opened}")
# Printed on 2026-11-29:
#   a.png: OSError, 0 bytes are there
#   a.tif: OSError, 0 bytes are there
#   a.bmp: OSError, 0 bytes are there
#   a.gif: OSError, 0 bytes are there
#   a.jpg: no error, 10000 bytes are there
#   the JPEG has 39985 bytes; what was written does not open
others = {seen[name] for name in seen if name != "a.jpg"}
sys.exit(not (seen["a.jpg"] == "no error" and opened == "does not open" and others == {"OSError"}))
PYTHON
