"""A known delay in every place lands in its phase, exactly: on a virtual clock."""

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.delays import (
    PLACES,
    STARTUP,
    Delays,
    ManualModule,
    Planted,
    VirtualClock,
    fit,
    loaders,
    silent,
)
from torch.utils.data import DataLoader, IterableDataset

from hpml.callbacks import DataLoadTimer, EpochTimer, TrainTimer

NAMES = tuple(PLACES)
MANUAL = tuple(name for name in NAMES if name not in ("gradient_clipping", "scheduler"))
# Each place with itself, its neighbour, and one far from it.
PAIRS = [(one, NAMES[(i + n) % len(NAMES)]) for n in (0, 1, 13) for i, one in enumerate(NAMES)]
ALL_PAIRS = [
    pytest.param(pair, marks=pytest.mark.stress) for pair in itertools.combinations(NAMES, 2)
]
SITUATIONS: list[dict[str, Any]] = [
    {"accumulate_grad_batches": 2},
    {"accumulate_grad_batches": 4, "val_check_interval": 2},
    {"val_check_interval": 0.5},
    {"check_val_every_n_epoch": 2},
    {"max_steps": 6, "max_epochs": -1},
    {"num_sanity_val_steps": 2},
    {"profiler": "simple"},
    {"limit_train_batches": 3},
    {"limit_val_batches": 0},
    {"max_epochs": 3},
]


def found_ns(timer: EpochTimer) -> Counter[str]:
    """Nanoseconds by phase and part; the parts of each epoch are checked against its whole."""
    found = Counter({STARTUP: round(timer.startup_s * 1e9)})
    for epoch in timer.epochs:
        parts = {phase: epoch.time[f"{phase}_s"] for phase in ("data", "transfer", "validation")}
        parts |= {f"train/{name.removesuffix('_s')}": s for name, s in epoch.train_split.items()}
        parts |= {f"other/{name}": s for name, s in epoch.other_split.items()}
        assert sum(parts.values()) == pytest.approx(epoch.time["epoch_s"], abs=1e-12)
        for name, seconds in parts.items():
            found[name.replace("ManualModule", "Module")] += round(seconds * 1e9)
    return found


class Unsized(IterableDataset[torch.Tensor]):
    def __init__(self, delays: Delays) -> None:
        self.delays = delays

    def __iter__(self) -> Any:
        for number in range(8):
            self.delays.at("dataset")
            yield torch.full((4,), float(number))


def timed(
    folder: Path, delays: Delays, planted_first: bool = True, **settings: Any
) -> Counter[str]:
    """What the sensor finds in a fit in which every delay is reached."""
    timer = silent()
    ours = [DataLoadTimer(), TrainTimer(), timer]
    callbacks = [Planted(delays), *ours] if planted_first else [*ours, Planted(delays)]
    fit(folder, *callbacks, delays=delays, **settings)
    assert delays.ns.keys() <= delays.calls.keys()
    return found_ns(timer)


@pytest.mark.parametrize("planted_first", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("places", PAIRS + ALL_PAIRS, ids="+".join)
def test_a_delay_lands_in_its_phase(
    places: tuple[str, str], planted_first: bool, tmp_path: Path, clock: VirtualClock
) -> None:
    """Alone and in pairs, with the timers behind or before the other callbacks."""
    delays = Delays(places, clock.spend)
    assert timed(tmp_path, delays, planted_first, gradient_clip_val=1.0) == delays.spent


@pytest.mark.parametrize("settings", SITUATIONS, ids=str)
def test_all_delays_at_once_in_every_situation(
    settings: dict[str, Any], tmp_path: Path, clock: VirtualClock
) -> None:
    """Whatever the Trainer is told to do, each delay is where it was planted."""
    places = tuple(p for p in NAMES if "val" not in p or settings.get("limit_val_batches") != 0)
    delays = Delays(places, clock.spend)
    assert timed(tmp_path, delays, gradient_clip_val=1.0, **settings) == delays.spent


def test_manual_optimization(tmp_path: Path, clock: VirtualClock) -> None:
    """No action tells of its backward pass; the hooks around it do."""
    delays = Delays(MANUAL, clock.spend)
    assert timed(tmp_path, delays, module=ManualModule) == delays.spent


def test_data_without_a_length(tmp_path: Path, clock: VirtualClock) -> None:
    """The first batch of all is fetched before the first epoch; everything else is an epoch's."""
    places = tuple(p for p in MANUAL if p not in ("sampler", "collate", "loader_iter"))
    delays = Delays(places, clock.spend, begins_with="before_transfer")
    data = DataLoader(Unsized(delays), batch_size=2), loaders(delays)[1]
    found = timed(tmp_path, delays, data=data)
    # The loop's first fetch, of the second batch, comes before the first transfer.
    second_batch_ns = 2 * delays.ns["dataset"]
    delays.spent.subtract({STARTUP: second_batch_ns, "data": -second_batch_ns})
    assert found == delays.spent
