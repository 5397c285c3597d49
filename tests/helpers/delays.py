"""A training with a known delay in any of its places, and where each of them belongs."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, SequentialSampler

from hpml.callbacks import EpochTimer, phase_timers
from hpml.records.run_record import RunRecord
from hpml.timing.device_clock import DeviceClock

STARTUP = "startup"
# place: the phase and part of its delay
PLACES = {
    "dataset": "data",
    "collate": "data",
    "sampler": "data",
    "loader_iter": "data",
    "before_transfer": "transfer",
    "transfer": "transfer",
    "after_transfer": "transfer",
    "training_step": "train/forward",
    "forward": "train/forward",
    "backward": "train/backward",
    "gradient_clipping": "train/optimizer",
    "optimizer": "train/optimizer",
    "callback_batch_start": "other/Planted.on_train_batch_start",
    "callback_batch_end": "other/Planted.on_train_batch_end",
    "callback_before_backward": "other/Planted.on_before_backward",
    "callback_after_backward": "other/Planted.on_after_backward",
    "callback_before_step": "other/Planted.on_before_optimizer_step",
    "callback_epoch_start": "other/Planted.on_train_epoch_start",
    "callback_epoch_end": "other/Planted.on_train_epoch_end",
    "module_batch_end": "other/Module.on_train_batch_end",
    "module_epoch_end": "other/Module.on_train_epoch_end",
    "train_logger": "other/logging",
    "scheduler": "other/Module.lr_scheduler_step",
    "checkpoint": "other/save_checkpoint",
    "checkpoint_hook": "other/Planted.on_save_checkpoint",
    "val_dataset": "validation",
    "val_step": "validation",
    "val_logger": "validation",
    "val_transfer": "validation",
    "callback_val_start": "validation",
    "callback_val_batch_end": "validation",
    "callback_val_end": "validation",
}


class Delays:
    """Spends time in the places that are switched on, and keeps the account.

    `spent` is nanoseconds by phase and part; what happens before the first epoch is STARTUP's.
    """

    def __init__(
        self, places: tuple[str, ...], spend: Callable[[int], None], begins_with: str = "sampler"
    ) -> None:
        self.ns = {place: 1_000_003 * (3 + index) for index, place in enumerate(places)}
        self.spend = spend
        self.spent: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.begins_with = begins_with  # the place that the first epoch reaches first
        self.begun = False

    def at(self, place: str) -> None:
        """Called where the place is."""
        self.calls[place] += 1
        self.begun |= place == self.begins_with
        if place in self.ns:
            self.spend(self.ns[place])
            self.spent[PLACES[place] if self.begun else STARTUP] += self.ns[place]


class VirtualClock:
    """The clock of `time`, which only the delays move."""

    def __init__(self) -> None:
        self.ns = 0

    def spend(self, ns: int) -> None:
        self.ns += ns

    def install(self, monkeypatch: Any) -> "VirtualClock":
        """Takes the place of `time.perf_counter_ns`."""
        monkeypatch.setattr(time, "perf_counter_ns", lambda: self.ns)
        return self


class FakeDevice:
    """A queue of work that the host hands over before it goes on; it stands in for its stream too.

    An event passes when all before it is done. The clock is the host's.
    """

    def __init__(self) -> None:
        self.host = VirtualClock()
        self.free_at_ns = 0  # when the device will have done all that it was given
        self.events = 0  # that were made

    def work(self, ns: int) -> None:
        """Hands work over; costs the host nothing."""
        self.free_at_ns = max(self.free_at_ns, self.host.ns) + ns

    def new_event(self) -> "FakeEvent":
        self.events += 1
        return FakeEvent()

    def clock(self, sync: bool = False) -> DeviceClock:
        return DeviceClock(self.new_event, lambda: self, sync)


class FakeEvent:
    """With what DeviceClock asks of a `torch.cuda.Event`."""

    def record(self, stream: FakeDevice) -> None:
        self.host, self.at_ns = stream.host, max(stream.free_at_ns, stream.host.ns)

    def query(self) -> bool:
        return self.at_ns <= self.host.ns

    def synchronize(self) -> None:
        self.host.ns = max(self.host.ns, self.at_ns)

    def elapsed_time(self, end: "FakeEvent") -> float:
        return (end.at_ns - self.at_ns) / 1e6


@dataclass(eq=False)
class Samples(Dataset[Tensor]):
    delays: Delays
    place: str
    size: int

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Tensor:
        self.delays.at(self.place)
        return torch.full((4,), float(index))


class InOrder(SequentialSampler):
    data_source: Samples

    def __iter__(self) -> Iterator[int]:
        for index in super().__iter__():
            self.data_source.delays.at("sampler")
            yield index


class Loader(DataLoader[Tensor]):
    dataset: Samples

    def __iter__(self) -> Any:
        self.dataset.delays.at("loader_iter")
        return super().__iter__()


class SlowOptimizer(torch.optim.SGD):
    delays: Delays

    def step(self, closure: Any = None) -> Any:
        loss = super().step(closure)
        self.delays.at("optimizer")
        return loss


class SlowScheduler(torch.optim.lr_scheduler.LambdaLR):
    delays: Delays

    def step(self, epoch: int | None = None) -> None:
        if self._step_count:  # not the one of its construction
            self.delays.at("scheduler")
        super().step(epoch)


class Module(L.LightningModule):
    """Knows nothing of hpml."""

    def __init__(self, delays: Delays) -> None:
        super().__init__()
        self.delays = delays
        self.network = torch.nn.Linear(4, 1)

    def _at_transfer(self, place: str, batch: Any) -> Any:
        if not (self.trainer.validating or self.trainer.sanity_checking):
            self.delays.at(place)
        elif place == "before_transfer":
            self.delays.at("val_transfer")
        return batch

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return self._at_transfer("before_transfer", batch)

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        return self._at_transfer("transfer", batch)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return self._at_transfer("after_transfer", batch)

    def loss(self, batch: Tensor) -> Tensor:
        self.delays.at("forward")
        y: Tensor = self.network(batch)
        y.register_hook(lambda gradient: self.delays.at("backward"))
        return y.square().mean() * 1e-6

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.delays.at("training_step")
        loss = self.loss(batch)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.delays.at("val_step")
        self.log("val/loss", batch.mean())

    def on_train_batch_end(self, *_: Any) -> None:
        self.delays.at("module_batch_end")

    def on_train_epoch_end(self) -> None:
        self.delays.at("module_epoch_end")

    def configure_gradient_clipping(self, *args: Any, **keywords: Any) -> None:
        self.delays.at("gradient_clipping")

    def configure_optimizers(self) -> Any:
        SlowOptimizer.delays = SlowScheduler.delays = self.delays
        optimizer = SlowOptimizer(self.parameters(), lr=0.01)
        scheduler = SlowScheduler(optimizer, lambda step: 1.0)
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]


class ManualModule(Module):
    """The same with manual optimization."""

    automatic_optimization = False

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        loss = super().training_step(batch, batch_idx)
        self.manual_backward(loss)
        optimizer.step()
        return loss


class Planted(L.Callback):
    """Has a hook for each place that is a callback's."""

    def __init__(self, delays: Delays) -> None:
        for place, where in PLACES.items():
            owner, _, hook = where.removeprefix("other/").partition(".")
            if place.startswith("callback_val"):
                owner, hook = "Planted", place.replace("callback_val", "on_validation")
            if owner == "Planted":
                setattr(self, hook, lambda *_, place=place: delays.at(place))


class SlowLogger(CSVLogger):
    delays: Delays

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        if "val/loss" in metrics:
            self.delays.at("val_logger")
        elif "train/loss" in metrics:
            self.delays.at("train_logger")


def loaders(delays: Delays, batches: int = 4, workers: int = 0) -> tuple[Any, Any]:
    """A training loader of batches of 2, and a validation loader of two batches."""

    def collate(samples: list[Tensor]) -> Tensor:
        delays.at("collate")
        return torch.stack(samples)

    data = Samples(delays, "dataset", 2 * batches)
    settings: dict[str, Any] = {"num_workers": workers, "persistent_workers": workers > 0}
    train = Loader(data, batch_size=2, sampler=InOrder(data), collate_fn=collate, **settings)
    return train, DataLoader(Samples(delays, "val_dataset", 4), batch_size=2)


def trainer(
    delays: Delays, folder: Path, callbacks: list[L.Callback], **settings: Any
) -> L.Trainer:
    """A Trainer of two epochs, with a checkpoint each epoch, and a logger for each step."""
    logger = SlowLogger(folder)
    logger.delays = delays
    saving = ModelCheckpoint(folder / "checkpoints", save_top_k=-1, save_on_train_epoch_end=True)
    settings = {"max_epochs": 2, "num_sanity_val_steps": 0, "log_every_n_steps": 1} | settings
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    made = L.Trainer(**quiet | settings, callbacks=[*callbacks, saving], logger=logger)
    save = made.strategy.checkpoint_io.save_checkpoint

    def save_slowly(*args: Any, **keywords: Any) -> None:
        delays.at("checkpoint")
        save(*args, **keywords)

    made.strategy.checkpoint_io.save_checkpoint = save_slowly
    return made


NOTHING = Delays((), lambda ns: None)


def silent(**settings: Any) -> EpochTimer:
    """An EpochTimer that prints nothing."""
    return EpochTimer(say=lambda line: None, **settings)


def fit(
    folder: Path,
    *callbacks: L.Callback,
    delays: Delays = NOTHING,
    module: type[Module] = Module,
    data: tuple[Any, ...] | None = None,
    batches: int = 4,
    **settings: Any,
) -> L.Trainer:
    """Trains a module on batches of two, or on other loaders; for two epochs unless told else."""
    fitting = trainer(delays, folder, [*callbacks], **settings)
    fitting.fit(module(delays), *(data or loaders(delays, batches)))
    return fitting


def recorded(
    folder: Path, *callbacks: L.Callback, raises: type[BaseException] | None = None, **settings: Any
) -> RunRecord:
    """Trains as `fit` behind all timers, to the end or to an error; the record."""
    with pytest.raises(raises) if raises else nullcontext():
        fit(folder, *phase_timers(record=folder / "record"), *callbacks, **settings)
    return RunRecord.read(folder / "record")
