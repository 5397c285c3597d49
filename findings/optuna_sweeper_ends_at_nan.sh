#!/usr/bin/env bash
# hydra-optuna-sweeper bears failed trials up to `max_failure_rate`, but no NaN.
#
# One would guess: with max_failure_rate=1.0 a search goes on whatever a trial gives: an exception is
#   a failed trial, and so is a NaN, which Optuna itself refuses as a value.
# What is seen: after an exception it goes on. A NaN ends the whole search with exit code 1: the sweeper
#   tells the study that the trial failed, and hands it the NaN once more, which a failed trial may
#   not have. Whether a diverged training raises or returns NaN decides whether the night is lost.
# Versions: hydra-optuna-sweeper 1.3.0, hydra-core 1.3.8, Optuna 2.10.1.
# Why it matters: NaN is what a training that diverges returns, and launchers that turn a failure into
#   NaN, so that Hydra's own sweeper goes on, end Optuna's.
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
    print("trial", cfg.x, flush=True)
    if cfg.x == 2 and cfg.how == "raises":
        raise ValueError("diverged")
    return float("nan") if cfg.x == 2 else float(cfg.x)


app()
PYTHON
cd "$folder"
declare -A code trials
for how in raises returns_nan; do
  code[$how]=0
  "$folder/venv/bin/python" app.py -m hydra/sweeper=optuna hydra/sweeper/sampler=random \
    hydra.sweeper.sampler.seed=1 hydra.sweeper.n_trials=12 hydra.sweeper.n_jobs=1 \
    hydra.sweeper.max_failure_rate=1.0 "+x=choice(1,2,3)" "+how=$how" >"$how.txt" 2>&1 || code[$how]=$?
  trials[$how]=$(grep -c '^trial' "$how.txt")
  echo "$how: ${trials[$how]} of 12 trials, exit code ${code[$how]}: $(tail -n 1 "$how.txt")"
done
[ "${code[raises]} ${trials[raises]} ${code[returns_nan]}" = "0 12 1" ] &&
  [ "${trials[returns_nan]}" -lt 12 ]
