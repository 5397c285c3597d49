#!/usr/bin/env bash
# Builds the wheel, installs it where the sources are not, and runs a tiny job and sweep from there.
# usage: tests/wheel.sh EMPTY_FOLDER
set -euo pipefail
folder=$1
mkdir -p "$folder"
.venv/bin/python -m build --quiet --wheel --outdir "$folder/dist"
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-deps "$folder"/dist/hpml-*.whl
# What it depends on is installed already: in .venv, whose link to the sources is not followed here.
.venv/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" \
  >"$(echo "$folder"/venv/lib/python*/site-packages)/dependencies.pth"
mkdir "$folder/elsewhere"
cd "$folder/elsewhere"
python="$folder/venv/bin/python"
"$python" - <<'PYTHON'
from pathlib import Path
import hpml
from hpml.config.conf import find_conf
package = Path(hpml.__file__).parent
assert "site-packages" in str(package), package
assert find_conf() == package / "conf", find_conf()
PYTHON
tiny="experiment=demo device=cpu trainer.max_epochs=1 data.train_samples=256 data.test_samples=64"
"$python" -m hpml.train $tiny
"$folder/venv/bin/hpml" train -m $tiny optimizer=sgd,adam sweep.name=wheel
"$folder/venv/bin/hpml" report outputs
test "$(find outputs -name record.json | wc -l)" = 3
