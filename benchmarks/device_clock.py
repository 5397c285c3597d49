"""Whether the device's clock says what the device did; needs a CUDA device.

    python benchmarks/device_clock.py

ResNet-18 on generated images, the second epoch of two, once each: as it is; with a delay of 0.1 s
in the loading of each batch, longer than its training; with one in a callback; and each again with
`timing.sync=true`. Expected: as it is, the device is busy and waits for nothing; a delay beyond the
work that hides it is `wait_data` or `idle`; busy time is the same in all; with sync the host's
`train_s` is it too.
"""

import time
from collections.abc import Iterator
from typing import Any

import torch
from harness import Page, bare_trainer, configured, main, silent_timers
from lightning.pytorch.callbacks import LambdaCallback

from hpml.data.build import build_data
from hpml.training.build import build_module

BATCH_SIZE, DELAY_S = 128, 0.1
COLUMNS = ("epoch_s", "train_s", "busy_s", "wait_data_s", "copy_s", "idle_s")


class SlowBatches:
    """A loader that sleeps before each of its batches."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        for batch in self.loader:
            time.sleep(DELAY_S)
            yield batch


def second_epoch(slow: str, sync: bool, batches: int) -> dict[str, float]:
    samples = ("data=synthetic", f"data.train_samples={batches * BATCH_SIZE}")
    cfg = configured(*samples, "data.test_samples=128", "device=gpu")
    data: Any = build_data(cfg)
    if slow == "loader":
        make = data.train_dataloader
        data.train_dataloader = lambda: SlowBatches(make())
    timer, callbacks = silent_timers(sync)
    if slow == "callback":
        callbacks.append(LambdaCallback(on_train_batch_end=lambda *_: time.sleep(DELAY_S)))
    trainer = bare_trainer(accelerator="gpu", max_epochs=2, callbacks=callbacks)
    trainer.fit(build_module(cfg, data), datamodule=data)
    epoch = timer.epochs[-1]
    return {key: (epoch.time | epoch.device_time)[key] for key in COLUMNS}


def measure(batches: int = 60) -> Page:
    """Each delay, without and with sync."""
    if not torch.cuda.is_available():
        raise SystemExit("error: this needs a CUDA device")
    rows, figures = [["case", *COLUMNS]], {}
    for sync in (False, True):
        for slow in ("as it is", "loader", "callback"):
            name = f"{slow}, sync" if sync else slow
            figures[name] = second_epoch(slow, sync, batches)
            rows.append([name, *(f"{value:.3f}" for value in figures[name].values())])
    return Page([rows], figures, device="gpu")


if __name__ == "__main__":
    main(measure, batches=5)
