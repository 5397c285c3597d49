"""A known delay in every place lands in its phase, exactly: on a virtual clock."""

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from helpers.delays import (
    PLACES,
    STARTUP,
    Delays,
    ManualModule,
    Module,
    Planted,
    VirtualClock,
    loaders,
    trainer,
)
from torch.utils.data import DataLoader, IterableDataset

from hpml.callbacks import DataLoadTimer, EpochTimer, TrainTimer

# Each place with itself, its neighbour, and one far from it.
NAMES = tuple(PLACES)
PAIRS = [
    (NAMES[i], NAMES[(i + step) % len(NAMES)]) for step in (0, 1, 13) for i in range(len(NAMES))
]


class Fitted:
    """A fit, and what the sensor said of it."""

    def __init__(self, delays: Delays, epoch_timer: EpochTimer) -> None:
        self.timer = epoch_timer
        self.delays = delays
        self.found: Counter[str] = Counter()
        for epoch in epoch_timer.epochs:
            self.found.update(_in_ns(epoch))
        for key in [key for key in self.found if "ManualModule" in key]:
            self.found[key.replace("ManualModule", "Module")] = self.found.pop(key)
        self.found[STARTUP] = round((epoch_timer.startup_s or 0) * 1e9)

    def assert_exact(self) -> None:
        """What was planted, and nothing else, is where it was planted."""
        spent = {place: ns for place, ns in self.delays.spent.items() if ns}
        assert {key: ns for key, ns in self.found.items() if ns} == spent


def _in_ns(epoch: Any) -> dict[str, int]:
    """An epoch's record as nanoseconds by phase and part; the parts of a phase are checked."""
    phases = {name.removesuffix("_s"): value for name, value in epoch.time.items()}
    found = {phase: phases[phase] for phase in ("data", "transfer", "validation")}
    found |= {f"train/{name.removesuffix('_s')}": s for name, s in epoch.train_split.items()}
    found |= {f"other/{name}": s for name, s in epoch.other_split.items()}
    assert sum(found.values()) == pytest.approx(phases["epoch"], abs=1e-12)
    return {key: round(seconds * 1e9) for key, seconds in found.items()}


def fit(
    places: tuple[str, ...],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    planted_first: bool = True,
    module: type[Module] = Module,
    train: Any = None,
    begins_with: str = "sampler",
    **settings: Any,
) -> Fitted:
    clock = VirtualClock().install(monkeypatch)
    delays = Delays(places, clock.spend, begins_with)
    timer = EpochTimer(say=lambda line: None)
    callbacks: list[L.Callback] = [DataLoadTimer(), TrainTimer(), timer]
    callbacks.insert(0 if planted_first else 3, Planted(delays))
    sized, validation = loaders(delays)
    training = train(delays) if train else sized
    trainer(delays, folder, callbacks, **settings).fit(module(delays), training, validation)
    for place in places:
        assert delays.calls[place], f"{place} was not reached"
    return Fitted(delays, timer)


@pytest.mark.parametrize("planted_first", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("places", PAIRS, ids="+".join)
def test_a_delay_lands_in_its_phase(
    places: tuple[str, str], planted_first: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alone and in pairs, with the timers behind or before the other callbacks."""
    settings = {"gradient_clip_val": 1.0}
    fit(places, tmp_path, monkeypatch, planted_first, **settings).assert_exact()


ALL_PAIRS = list(itertools.combinations(NAMES, 2))


@pytest.mark.stress
@pytest.mark.parametrize("planted_first", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("places", ALL_PAIRS, ids="+".join)
def test_every_pair_of_delays(
    places: tuple[str, str], planted_first: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pairs that the test above leaves out, too."""
    fit(places, tmp_path, monkeypatch, planted_first, gradient_clip_val=1.0).assert_exact()


MANUAL = tuple(name for name in NAMES if name not in ("gradient_clipping", "scheduler"))


class Unsized(IterableDataset[torch.Tensor]):
    def __init__(self, delays: Delays) -> None:
        self.delays = delays

    def __iter__(self) -> Any:
        for number in range(8):
            self.delays.at("dataset")
            yield torch.full((4,), float(number))


def unsized(delays: Delays) -> Any:
    return DataLoader(Unsized(delays), batch_size=2)


SITUATIONS: dict[str, dict[str, Any]] = {
    "gradient accumulation": {"accumulate_grad_batches": 2},
    "validation inside an accumulation window": {
        "accumulate_grad_batches": 4,
        "val_check_interval": 2,
    },
    "val_check_interval below 1": {"val_check_interval": 0.5},
    "validation every second epoch": {"check_val_every_n_epoch": 2},
    "max_steps inside an epoch": {"max_steps": 6, "max_epochs": -1},
    "sanity check": {"num_sanity_val_steps": 2},
    "a profiler of the user's": {"profiler": "simple"},
    "limited batches": {"limit_train_batches": 3},
    "no validation": {"limit_val_batches": 0},
    "three epochs": {"max_epochs": 3},
}


@pytest.mark.parametrize("name", SITUATIONS)
def test_all_delays_at_once_in_every_situation(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the Trainer is told to do, each delay is where it was planted."""
    settings = {"gradient_clip_val": 1.0, **SITUATIONS[name]}
    places = tuple(p for p in NAMES if "val" not in p or settings.get("limit_val_batches") != 0)
    fit(places, tmp_path, monkeypatch, **settings).assert_exact()


def test_manual_optimization(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No action tells of its backward pass; the hooks around it do."""
    fit(MANUAL, tmp_path, monkeypatch, module=ManualModule).assert_exact()


def test_data_without_a_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first batch of all is fetched before the first epoch; everything else is an epoch's."""
    places = tuple(p for p in MANUAL if p not in ("sampler", "collate", "loader_iter"))
    fitted = fit(places, tmp_path, monkeypatch, train=unsized, begins_with="before_transfer")
    # The loop's first fetch, of the second batch, comes before the first transfer.
    second_batch_ns = 2 * fitted.delays.ns["dataset"]
    fitted.delays.spent.subtract({STARTUP: second_batch_ns, "data": -second_batch_ns})
    fitted.assert_exact()
