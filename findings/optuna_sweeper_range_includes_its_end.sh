#!/usr/bin/env bash
# The same `range(1,4)` on a Hydra command line is three values or four, by the sweeper.
#
# One would guess: range leaves out its end, as Hydra's documentation and Python have it, whoever
#   sweeps: workers=range(1,4) tries 1, 2 and 3.
# What is seen: Hydra's own sweeper runs 1, 2, 3. Optuna's samplers draw from 1, 2, 3 and 4, since the
#   sweeper makes an integer distribution of it, whose ends both belong to it. Optuna's grid, of the
#   same plugin, leaves 4 out again.
# Versions: hydra-optuna-sweeper 1.3.0, hydra-core 1.3.8, Optuna 2.10.1.
# Why it matters: a range that was safe in a plain sweep (processes up to the cores, say) is one too
#   wide in a search, and two samplers of one plugin search different spaces.
#
# Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  hydra-core==1.3.8 hydra-optuna-sweeper==1.3.0 optuna==2.10.1
cat >"$folder/app.py" <<'PYTHON'
import hydra


@hydra.main(version_base="1.3", config_path=None)
def app(cfg):
    print("value", cfg.x, flush=True)
    return float(cfg.x)


app()
PYTHON
cd "$folder"
values() {
  "$folder/venv/bin/python" app.py -m "$@" 2>/dev/null | sed -n 's/^value //p' | sort -u | tr '\n' ' '
}
optuna=(hydra/sweeper=optuna hydra.sweeper.n_trials=40 hydra.sweeper.n_jobs=1)
plain=$(values "+x=range(1,4)")
random=$(values "${optuna[@]}" hydra/sweeper/sampler=random hydra.sweeper.sampler.seed=1 "+x=range(1,4)")
grid=$(values "${optuna[@]}" hydra/sweeper/sampler=grid "+x=range(1,4)")
echo "range(1,4), Hydra's own sweeper:   $plain"
echo "range(1,4), Optuna's random draws: $random"
echo "range(1,4), Optuna's grid:         $grid"
[ "$plain|$random|$grid" = "1 2 3 |1 2 3 4 |1 2 3 " ]
