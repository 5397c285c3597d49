"""Whether the device's clock says what the device did; needs a CUDA device.

    python benchmarks/device_clock.py

ResNet-18 on generated images, an epoch each: as it is; with a known delay in the loading of each
batch, longer than its training; with one in a callback; and each again with `timing.sync=true`.
Expected: as it is, the device is busy and waits for nothing; a delay beyond the work that hides it
is `wait_data` or `idle`; busy time is the same in all; with sync the host's `train_s` is it too.
"""

import logging
import tempfile
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from harness import configured, write

from hpml.callbacks import phase_timers
from hpml.data.build import build_data
from hpml.training.build import build_module

BATCHES = 60
BATCH_SIZE = 128
DELAY_S = 0.1
COLUMNS = ("busy_s", "wait_data_s", "copy_s", "idle_s")


class SlowCallback(L.Callback):
    """Sleeps after each batch."""

    def on_train_batch_end(self, *_: Any) -> None:
        """The delay."""
        time.sleep(DELAY_S)


class SlowBatches:
    """A loader that sleeps before each of its batches."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Any:
        for batch in self.loader:
            time.sleep(DELAY_S)
            yield batch


def epoch(slow: str | None, sync: bool, folder: Path) -> Any:
    """The record of the second of two epochs."""
    cfg = configured(
        *("data=synthetic", "device=gpu", f"data.train_samples={BATCHES * BATCH_SIZE}"),
        *("data.test_samples=128", f"run_dir={folder}"),
    )
    data: Any = build_data(cfg)
    module = build_module(cfg, data)
    if slow == "loader":
        make = data.train_dataloader
        data.train_dataloader = lambda: SlowBatches(make())
    timers = phase_timers(sync=sync)
    timers[-1]._say = lambda line: None  # type: ignore[attr-defined]
    trainer = L.Trainer(
        accelerator="gpu",
        devices=1,
        max_epochs=2,
        callbacks=[*timers, *([SlowCallback()] if slow == "callback" else [])],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    trainer.fit(module, datamodule=data)
    return timers[-1].epochs[-1]  # type: ignore[attr-defined]


def main() -> None:
    """Measures, prints, and writes the results."""
    if not torch.cuda.is_available():
        raise SystemExit("error: this needs a CUDA device")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    rows = [["case", "epoch_s", "train_s", *COLUMNS]]
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        for sync in (False, True):
            for slow in (None, "loader", "callback"):
                found = epoch(slow, sync, Path(folder))
                name = f"{slow or 'as it is'}{', sync' if sync else ''}"
                values = {"epoch_s": found.time["epoch_s"], "train_s": found.time["train_s"]}
                values |= found.device_time
                figures[name] = values
                rows.append([name, *(f"{values[key]:.3f}" for key in rows[0][1:])])
    told = (
        f"{BATCHES} batches of {BATCH_SIZE}, the second epoch of two, once each. The delay is "
        f"{DELAY_S} s a batch, {BATCHES * DELAY_S:.1f} s an epoch."
    )
    write(
        "device_clock", "The device's clock under known delays", told, rows, figures, device="gpu"
    )


if __name__ == "__main__":
    main()
