#!/usr/bin/env bash
# A question for Pillow's extensions, asked before the first image is opened, slows each later opening.
#
# One would guess: Image.registered_extensions() loads all plugins once, and Image.open still tries
#   the common kinds first (they are loaded first, by Image.preinit, wherever an image is opened).
# What is seen: loaded by that question, all plugins stand in alphabetical order. JPEG is number 25
#   then instead of 4, and three plugins begin to read each JPEG in vain, by their constructors and
#   exceptions, before it is recognised; otherwise none does.
# Versions: Pillow 13.0.0.
# Why it matters: a data set asks for the extensions first, to list its files, and so pays in each
#   opening of each epoch. Image.preinit() before the question keeps the order.
#
# Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pillow==13.0.0
cat >"$folder/order.py" <<'PYTHON'
import io
import sys

from PIL import Image, ImageFile

if sys.argv[1] == "asked":
    Image.registered_extensions()
file = io.BytesIO()
Image.new("RGB", (8, 8)).save(file, "JPEG")
begun = []
begin = ImageFile.ImageFile.__init__
ImageFile.ImageFile.__init__ = lambda self, *rest: (begun.append(type(self).__name__), begin(self, *rest))[1]
Image.open(file).load()
print(sys.argv[1], Image.ID.index("JPEG"), len(begun), *begun)
PYTHON
asked=$("$folder/venv/bin/python" "$folder/order.py" asked)
plain=$("$folder/venv/bin/python" "$folder/order.py" plain)
echo "place of JPEG, and the plugins that begin to read one:"
echo "$asked"
echo "$plain"
read -r _ place_asked begun_asked _ <<<"$asked"
read -r _ place_plain begun_plain _ <<<"$plain"
[ "$place_asked" -gt "$place_plain" ] && [ "$begun_asked" -gt "$begun_plain" ]
