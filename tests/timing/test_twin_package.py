"""The timers in a Trainer of `pytorch_lightning`, whose classes are not those of `lightning`."""

import time
from pathlib import Path
from typing import Any

import lightning
import pytest
import pytorch_lightning
import torch
from helpers.delays import VirtualClock

from hpml.callbacks import phase_timers
from hpml.records.run_record import RunRecord
from hpml.system.lightning_packages import package_of, twins

PACKAGES: list[Any] = [lightning, pytorch_lightning]


class CountingClock(VirtualClock):
    """Counts the looks at it too."""

    looks = 0

    def now(self) -> int:
        self.looks += 1
        return self.ns


def fitted(package: Any, folder: Path, monkeypatch: Any) -> tuple[RunRecord, int]:
    """A job of known delays, under one of the names: its record, and the looks at the clock."""
    clock = CountingClock()
    monkeypatch.setattr(time, "perf_counter_ns", clock.now)

    class Slow(torch.utils.data.Dataset[Any]):
        def __len__(self) -> int:
            return 12

        def __getitem__(self, index: int) -> Any:
            clock.spend(1_000)
            return torch.ones(4)

    class Module(package.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 1)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            clock.spend(50_000)
            return self.layer(batch).mean()

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            clock.spend(7_000)

        def on_train_epoch_end(self) -> None:
            clock.spend(300_000)

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    class Idle(package.Callback):
        """Overrides nothing."""

    off = ("logger", "enable_progress_bar", "enable_checkpointing", "enable_model_summary")
    callbacks = [*phase_timers(record=folder), Idle()]
    settings: Any = dict.fromkeys(off, False) | {"accelerator": "cpu", "max_epochs": 2}
    trainer = package.Trainer(callbacks=callbacks, num_sanity_val_steps=0, **settings)
    loader = torch.utils.data.DataLoader(Slow(), 4)
    trainer.fit(Module(), loader, loader)
    assert "time/data_s" in trainer.callback_metrics
    return RunRecord.read(folder), clock.looks


def test_figures_and_cost_are_those_under_the_other_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exact times, and no look at the clock more: empty hooks and profilers are told there too."""
    records, looks = zip(
        *(fitted(package, tmp_path / package.__name__, monkeypatch) for package in PACKAGES),
        strict=True,
    )
    for record in records:
        assert [epoch.samples for epoch in record.epochs] == [12, 12]
        for epoch in record.epochs:
            times = {name: round((s or 0) * 1e6) for name, s in epoch.time.items()}
            assert times == {
                "epoch_s": 12 + 150 + 33 + 300,
                "data_s": 12,
                "transfer_s": 0,
                "train_s": 150,
                "validation_s": 33,
                "other_s": 300,
            }
            assert epoch.other_split == {"Module.on_train_epoch_end": 300e-6}
    assert looks[0] == looks[1]


def test_an_objects_package_is_told() -> None:
    """By its classes, whatever derives from them; a class is found under the other name."""
    for package, name in zip(PACKAGES, ("lightning.pytorch", "pytorch_lightning"), strict=True):
        own = type("Own", (package.LightningModule,), {})
        assert package_of(own()) == package_of(own) == name
        assert isinstance(package.Callback(), twins(lightning.Callback))
    assert package_of(object()) == "lightning.pytorch"
    assert twins(torch.nn.Linear) == (torch.nn.Linear,)
