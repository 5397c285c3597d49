"""What the timers add to a step, and what the whole training entry adds to a hand-written loop.

    python benchmarks/timer_overhead.py

In one run, in turn: a bare Trainer; the same with all timers and their live windows; the same under
`traceml run`, where that is installed (`pip install traceml-ai`). The network is a linear
layer, so that a step is a few hundred microseconds and what is added shows. Then, with the small
convolutional network: a loop by hand, a bare Trainer, and `hpml.train` with all it does by default.
A step's time is taken inside `training_step`, from the hundredth call to the last.
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
from hydra import compose, initialize_config_dir
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.data import DataLoader, TensorDataset

import hpml.train
from hpml.build import build_data, build_module
from hpml.callbacks import phase_timers
from hpml.config import find_conf

ROUNDS = 11
STEPS = 1500
ENTRY_STEPS = 400
FROM_STEP = 100

TRACEML = importlib.util.find_spec("traceml_ai") is not None


class Stamped:
    """Microseconds a step, between two calls of `stamp`."""

    def __init__(self, steps: int) -> None:
        self.steps, self.calls = steps, 0
        self.us = 0.0

    def on(self, module: Any) -> Any:
        """A module whose training steps are stamped."""
        step = module.training_step
        module.training_step = lambda *args: (self.stamp(), step(*args))[1]
        return module

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


def entry_cases(folder: Path) -> dict[str, Callable[[], float]]:
    """The same network, batches and optimizer: by hand, on a bare Trainer, by hpml.train."""
    batch_size = 16
    overrides = [
        "data=synthetic",
        "model=small",
        "device=cpu",
        f"data.batch_size={batch_size}",
        f"data.train_samples={batch_size * ENTRY_STEPS}",
        "data.test_samples=16",
        "data.image_size=8",
        "trainer.max_epochs=1",
        f"run_dir={folder / 'run'}",
    ]

    def configured() -> Any:
        with initialize_config_dir(str(find_conf()), version_base="1.3"):
            return compose("train", overrides=overrides)

    def stamped_module(cfg: Any) -> tuple[Any, Any, Stamped]:
        stamped = Stamped(ENTRY_STEPS)
        data = build_data(cfg)
        return data, stamped.on(build_module(cfg, data)), stamped

    def by_hand() -> float:
        data, module, stamped = stamped_module(configured())
        optimizer = module.make_optimizer(module.parameters())
        module.train()
        for batch in data.train_dataloader():
            stamped.stamp()
            images, labels = data.on_after_batch_transfer(batch, 0)
            loss = torch.nn.functional.cross_entropy(module(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return stamped.us

    def bare() -> float:
        data, module, stamped = stamped_module(configured())
        trainer = L.Trainer(
            max_epochs=1,
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            limit_val_batches=0,
        )
        trainer.fit(module, datamodule=data)
        return stamped.us

    def whole() -> float:
        stamped = Stamped(ENTRY_STEPS)
        hpml.train.build_module = lambda cfg, data: stamped.on(build_module(cfg, data))
        hpml.train.train(configured())
        return stamped.us

    return {"by hand": by_hand, "bare Trainer": bare, "hpml.train": whole}


def main() -> None:
    """Measures, prints, and writes the results."""
    warnings.filterwarnings("ignore")
    for name in ("lightning.pytorch", "lightning.fabric", "hpml"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        names = ["bare", "timers"] + ["TraceML"] * TRACEML
        cases = {name: in_its_own_process(name, Path(folder)) for name in names}
        seen = interleaved(cases, ROUNDS)
        entries = interleaved(entry_cases(Path(folder)), ROUNDS)
    rows = [["case", "us a step", "added to the first, us"]]
    figures: dict[str, Any] = {}
    for group in (seen, entries):
        first = next(iter(group))
        for name, values in group.items():
            added = [value - base for value, base in zip(values, group[first], strict=True)]
            figures[name] = {"us": values, "added_us": added}
            shown = "" if name == first else spread(added)
            rows.append([name, spread(values), shown])
    told = (
        f"{ROUNDS} rounds after one that warms up; median (lowest to highest). Added: difference "
        "within a round. Above: a linear layer, batches of 8, with a TensorBoard logger. "
        "Below: the small network, batches of 16 images of 8×8 pixels."
    )
    write("timer_overhead", "What the timers add to a step", told, rows, figures)
    print(f"timers add {statistics.median(figures['timers']['added_us']):.0f} us a step")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        Path(sys.argv[2]).write_text(str(fit(sys.argv[1], Path(sys.argv[2]).parent)))
    else:
        main()
