#!/usr/bin/env bash
# Pillow's recipe for the extensions of files that it can open is wrong both ways.
#
# One would guess: {extension for extension, kind in Image.registered_extensions().items() if kind in
#   Image.OPEN} holds the extension of each file that Pillow reads, and no other.
# What is seen: `.mpo` is missing, though Image.open reads such files (a phone's or a stereo camera's
#   pictures), because its plugin leaves opening to JPEG's. `.mpg` is there, though an MPEG is opened
#   with its size and can never be decoded; so are `.h5`, `.grib` and `.bufr`, whose plugins are stubs.
# Versions: Pillow 13.0.0.
# Why it matters: a data set listed by this recipe loses its `.mpo` files without a word, and takes
#   in videos and HDF5 files of annotations, which fail as late as they are decoded.
#
# Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pillow==13.0.0
cat >"$folder/extensions.py" <<'PYTHON'
import io
import sys

from PIL import Image

known = Image.registered_extensions()
readable = {extension for extension, kind in known.items() if kind in Image.OPEN}

picture = Image.new("RGB", (8, 8))
file = io.BytesIO()
picture.save(file, "MPO", save_all=True, append_images=[picture.copy()])
opened = Image.open(file)
opened.load()
print(f"opened and decoded: {opened.format}; .mpo in the recipe's set: {'.mpo' in readable}")

video = io.BytesIO(b"\x00\x00\x01\xb3" + bytes([8 >> 4, 8 << 4 & 255, 8]) + bytes(200))  # 8 pixels
still = Image.open(video)
try:
    still.load()
    decoded = "decoded"
except OSError as error:
    decoded = f"never decoded ({error})"
print(f"opened: {still.format} of {still.size}, {decoded}; .mpg in the set: {'.mpg' in readable}")
never = sorted({".mpg", ".h5", ".grib", ".bufr"} & readable)
print("in the set, and not decoded by Pillow:", never)
sys.exit(
    (opened.format, ".mpo" in readable, decoded.partition(" (")[0], len(never))
    != ("MPO", False, "never decoded", 4)
)
PYTHON
"$folder/venv/bin/python" "$folder/extensions.py"
