"""From the command to the first training step, against what importing torch and Lightning costs.

    python benchmarks/startup.py

Each case in a fresh process, in turn: `import torch, lightning` alone; the demo's job; the same
with a ResNet-18; the same compiled. Timed: from before the process is started to the first step;
of the imports, to their end. hpml imports the same with Python's garbage collector at rest, which
is quicker. Median (lowest to highest), after a round that warms up and compiles; the ratios are
within a round, and say more than the seconds where other programs use the same cores. What is left
without the imports, the data and compiling is Hydra, hpml's own modules, network, Trainer and fit.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
from harness import Page, configured, interleaved, main, spread

from hpml.config.auto import on_device
from hpml.data.build import build_data
from hpml.system.fresh_process import run_in_fresh_process

IMPORTS = "import torch, lightning"
CASES = ["experiment=demo", "experiment=demo model=resnet18", "experiment=[demo,fast]"]


def imports() -> dict[str, float]:
    """Seconds of a fresh process that only imports."""
    program = f"{IMPORTS}, os, time; print(time.monotonic(), flush=True); os._exit(0)"
    begun_s = time.monotonic()
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    return {"all": float(done.stdout) - begun_s, "data": 0.0, "compiling": 0.0}


class Stop(L.Callback):
    """Ends the process at its first step, and writes when that was."""

    def __init__(self, out: str) -> None:
        self.out = out

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, *_: Any) -> None:
        times = {"ended_s": time.monotonic(), "compiling": pl_module.compile_s or 0.0}
        Path(self.out).write_text(json.dumps(times))
        os._exit(0)


def data_s(overrides: list[str]) -> float:
    """Seconds that it takes to make the data; called in a fresh process."""
    cfg, _ = on_device(configured(*overrides))
    begun_s = time.monotonic()
    build_data(cfg)
    return time.monotonic() - begun_s


def first_step(overrides: list[str], folder: Path) -> dict[str, float]:
    """Seconds of a fresh process until its first step, of compiling, and of data, made apart."""
    out = folder / "times.json"
    out.unlink(missing_ok=True)
    stop = ["+callbacks.stop._target_=startup.Stop", f"+callbacks.stop.out={out}"]
    where = [f"hydra.run.dir={folder / 'run'}", "resume=never"]
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, "-m", "hpml.train", *overrides, *stop, *where]
    begun_s = time.monotonic()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    times = json.loads(out.read_text())
    all_s = times["ended_s"] - begun_s
    made_s = run_in_fresh_process(data_s, overrides)
    return {"all": all_s, "data": made_s, "compiling": times["compiling"]}


def measure(rounds: int = 5, only: list[str] = CASES) -> Page:
    """Every case in turn."""
    with tempfile.TemporaryDirectory() as folder:
        cases = {case: partial(first_step, case.split(), Path(folder)) for case in only}
        seen = interleaved({IMPORTS: imports} | cases, rounds)
    heading = ["case", "seconds", "of them data", "compiling"]
    rows = [[*heading, "times the imports", "without data", "nor compiling"]]
    for case, of in seen.items():
        without_data = of["all"] - of["data"]
        times = [of["all"], without_data, without_data - of["compiling"]]
        compared = [spread(values / seen[IMPORTS]["all"], ".2f") for values in times]
        rows.append([case, *(spread(values, ".2f") for values in of.values()), *compared])
    return Page([rows], seen)


if __name__ == "__main__":
    main(measure, rounds=1, only=CASES[:1])
