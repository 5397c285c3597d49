"""What the timers add to a step.

    python benchmarks/timer_overhead.py

In one run, in turn: a bare Trainer; the same with all timers and their live windows; with the
timers that `hpml.watch` puts in, inserted by hand; the bare one under `python -m hpml.watch`; and
under `traceml run`, where that is installed (`pip install traceml-ai`). The network is a layer on
batches of 8, with a TensorBoard logger, so that a step is a few hundred microseconds and what is
added shows. A step's time is taken inside `training_step`, from the hundredth call of an epoch to
the last; median (lowest to highest), after a round that warms up. Added: difference within a round,
to the bare Trainer; of the watch also to the same timers by hand.
"""

import importlib.util
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from harness import Page, Plain, bare_trainer, be_quiet, interleaved, main, spread
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.data import DataLoader, TensorDataset

from hpml.callbacks import EpochTimer, RunRecorder, phase_timers

FROM_STEP, BATCH_SIZE = 100, 8
BY_HAND, WATCHED = "watch's timers by hand", "hpml.watch"
TRACEML = importlib.util.find_spec("traceml_ai") is not None


class Stamped(Plain):
    """Keeps when each of its steps was called."""

    def __init__(self) -> None:
        super().__init__(torch.nn.Linear(32, 10), partial(torch.optim.SGD, lr=0.01))
        self.called_s: list[float] = []

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        self.called_s.append(time.perf_counter())
        return super().training_step(batch, batch_idx)


def fit(case: str, steps: int, folder: Path) -> float:
    """Microseconds a step of a fit on a Trainer, bare or with timers."""
    count = steps * BATCH_SIZE
    be_quiet()
    samples = TensorDataset(torch.randn(count, 32), torch.randint(10, (count,)))
    module = Stamped()
    callbacks: list[L.Callback] = []
    if case == "timers":
        callbacks = phase_timers()
    elif case == BY_HAND:  # as hpml/watch/timers.py makes them
        timer = EpochTimer(to_loggers=False)
        callbacks = [timer, RunRecorder(folder / "record", timer)]
    trainer = bare_trainer(max_epochs=1, callbacks=callbacks, logger=TensorBoardLogger(folder))
    trainer.fit(module, DataLoader(samples, batch_size=BATCH_SIZE))
    took_s = module.called_s[-1] - module.called_s[FROM_STEP - 1]
    return 1e6 * took_s / (steps - FROM_STEP)


def fit_in_own_process(case: str, steps: int, folder: Path) -> float:
    """Both watch and TraceML change Lightning as it is imported: each fit gets a process."""
    out = folder / case
    arguments = ["fit", case, str(steps), str(out)]
    command = [sys.executable, __file__, *arguments]
    if case == WATCHED:
        command = [sys.executable, "-m", "hpml.watch", __file__, *arguments]
    elif case == "TraceML":
        name = f"{time.time_ns()}"
        options = ["--logs-dir", str(folder), "--run-name", name, "--no-save-training-output"]
        program = ["-m", "traceml_ai.launcher.cli", "run", *options, __file__]
        command = [sys.executable, *program, "--args", *arguments]
    subprocess.run(command, check=True, capture_output=True, cwd=folder)
    return float(out.read_text())


def measure(rounds: int = 11, steps: int = 1500) -> Page:
    """A bare Trainer, the timers, the watch and TraceML, in turn."""
    with tempfile.TemporaryDirectory() as folder:
        names = ["bare", "timers", BY_HAND, WATCHED] + ["TraceML"] * TRACEML
        cases = {name: partial(fit_in_own_process, name, steps, Path(folder)) for name in names}
        seen = interleaved(cases, rounds)
    rows = [["case", "us a step", "added to the first, us"]]
    figures = {}
    for name, us in seen.items():
        figures[name] = {"us": us, "added_us": us - seen["bare"]}
        rows.append([name, spread(us), "" if name == "bare" else spread(us - seen["bare"])])
    over_hand = seen[WATCHED] - seen[BY_HAND]
    figures["watch over the same by hand"] = {"us": over_hand}
    sentence = f"`hpml.watch` over the same timers by hand: {spread(over_hand)} us a step."
    return Page([rows, sentence], figures)


if __name__ == "__main__":
    if sys.argv[1:2] == ["fit"]:
        _, _, case, steps, out = sys.argv
        Path(out).write_text(str(fit(case, int(steps), Path(out).parent)))
    else:
        main(measure, rounds=1, steps=200)
