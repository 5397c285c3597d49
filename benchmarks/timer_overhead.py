"""What the timers add to a step.

    python benchmarks/timer_overhead.py

In one run, in turn: a bare Trainer; the same with all timers and their live windows; the same under
`traceml run`, where that is installed (`pip install traceml-ai`). The network is a linear
layer, so that a step is a few hundred microseconds and what is added shows. A step's time is taken
inside `training_step`, from the hundredth call to the last.
"""

import importlib.util
import logging
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from harness import interleaved, spread, write
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.data import DataLoader, TensorDataset

from hpml.callbacks import phase_timers

ROUNDS = 11
STEPS = 1500
FROM_STEP = 100

TRACEML = importlib.util.find_spec("traceml_ai") is not None


class Stamped:
    """Microseconds a step, between two calls of `stamp`."""

    def __init__(self, steps: int) -> None:
        self.steps, self.calls = steps, 0
        self.us = 0.0

    def stamp(self) -> None:
        """Called once a step."""
        self.calls += 1
        if self.calls == FROM_STEP:
            self._begun = time.perf_counter()
        elif self.calls == self.steps:
            self.us = 1e6 * (time.perf_counter() - self._begun) / (self.steps - FROM_STEP)


class Linear(L.LightningModule):
    """As little as a module can do."""

    def __init__(self, stamped: Stamped) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(32, 10)
        self.stamped = stamped

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        """A step of a few hundred microseconds."""
        self.stamped.stamp()
        images, labels = batch
        return torch.nn.functional.cross_entropy(self.layer(images), labels)

    def configure_optimizers(self) -> Any:
        """The cheapest."""
        return torch.optim.SGD(self.parameters(), 0.01)


def fit(case: str, folder: Path) -> float:
    """Microseconds a step of a fit on a Trainer, bare or with the timers."""
    samples = TensorDataset(torch.randn(STEPS * 8, 32), torch.randint(10, (STEPS * 8,)))
    stamped = Stamped(STEPS)
    trainer = L.Trainer(
        max_epochs=1,
        accelerator="cpu",
        callbacks=phase_timers() if case == "timers" else [],
        logger=TensorBoardLogger(folder),
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    trainer.fit(Linear(stamped), DataLoader(samples, batch_size=8))
    return stamped.us


def in_its_own_process(case: str, folder: Path) -> Callable[[], float]:
    """TraceML changes torch and Lightning where they are imported: each fit gets a process."""
    out = folder / case

    def run() -> float:
        command = [sys.executable, __file__, case, str(out)]
        if case == "TraceML":
            program = [sys.executable, "-m", "traceml_ai.launcher.cli", "run"]
            name = f"{time.time_ns()}"
            options = ["--logs-dir", str(folder), "--run-name", name, "--no-save-training-output"]
            command = [*program, *options, __file__, "--args", case, str(out)]
        subprocess.run(command, check=True, capture_output=True)
        return float(out.read_text())

    return run


def main() -> None:
    """Measures, prints, and writes the results."""
    warnings.filterwarnings("ignore")
    for name in ("lightning.pytorch", "lightning.fabric", "hpml"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        names = ["bare", "timers"] + ["TraceML"] * TRACEML
        cases = {name: in_its_own_process(name, Path(folder)) for name in names}
        seen = interleaved(cases, ROUNDS)
    rows = [["case", "us a step", "added to the first, us"]]
    figures: dict[str, Any] = {}
    for name, values in seen.items():
        added = [value - base for value, base in zip(values, seen["bare"], strict=True)]
        figures[name] = {"us": values, "added_us": added}
        rows.append([name, spread(values), "" if name == "bare" else spread(added)])
    told = (
        f"{ROUNDS} rounds after one that warms up; median (lowest to highest). Added: difference "
        "within a round. A linear layer, batches of 8, with a TensorBoard logger; from the "
        f"{FROM_STEP}th step to the last of an epoch."
    )
    write("timer_overhead", "What the timers add to a step", told, rows, figures)
    print(f"timers add {statistics.median(figures['timers']['added_us']):.0f} us a step")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        Path(sys.argv[2]).write_text(str(fit(sys.argv[1], Path(sys.argv[2]).parent)))
    else:
        main()
