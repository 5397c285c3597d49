"""The pace of a loop over batches, on a virtual clock."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from helpers.delays import VirtualClock

from hpml.errors import UserError
from hpml.trials.pace import JointPace, Pace, PacedLoader, Pauses, joint, loading_pace

MS = 1_000_000


@dataclass
class Batches:
    """So many batches an epoch; the start, each batch, and the end take their time."""

    clock: VirtualClock
    count: int
    batch_ms: int
    start_ms: int = 0
    epochs: int = 0
    given: int = 0

    def __iter__(self) -> Iterator[int]:
        self.epochs += 1
        self.clock.spend(self.start_ms * MS)
        for number in range(self.count):
            self.clock.spend(self.batch_ms * MS)
            self.given += 1
            yield number


class Sized(Batches):
    name = "of the loader's own"

    def __len__(self) -> int:
        return self.count


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> VirtualClock:
    return VirtualClock().install(monkeypatch)


def trained(loader: PacedLoader, clock: VirtualClock, step_ms: int) -> list[Any]:
    """A loop whose steps take their time; the batches that it got."""
    return [(batch, clock.spend(step_ms * MS))[0] for batch in loader]


def seconds(count: float) -> Any:
    return pytest.approx(count, abs=1e-12)


def test_epochs_starts_are_told_apart(clock: VirtualClock) -> None:
    """A step is a usual batch and its rest, the start what is more; also of loading alone."""
    paced = PacedLoader(Sized(clock, 4, batch_ms=5, start_ms=100), 1, 8)
    assert trained(paced, clock, step_ms=20) == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
    assert paced.pace == Pace(seconds(0.025), seconds(0.005), seconds(0.100), seconds(0.105))
    pace = loading_pace(PacedLoader(Sized(clock, 50, batch_ms=5, start_ms=30), 2, 8))
    assert pace == Pace(seconds(0.005), seconds(0.005), seconds(0.030), seconds(0.035))


def test_a_start_that_was_measured_is_not_measured_again(clock: VirtualClock) -> None:
    """Workers that load a whole epoch ahead have all its time in its first batch."""
    loader = Sized(clock, 4, batch_ms=0, start_ms=60)
    pace = loading_pace(PacedLoader(loader, 4, 8))
    assert pace == Pace(0.0, 0.0, seconds(0.060), seconds(0.060))
    assert loader.epochs == 4


@pytest.mark.parametrize(("count", "start_s", "step_s"), [(9, None, 0.025), (1, 0, 0.035)])
def test_no_start_is_made_up(clock: VirtualClock, count: int, start_s: Any, step_s: float) -> None:
    """Within one epoch there is none that could be measured; of one batch it is in the step."""
    paced = PacedLoader(Sized(clock, count, batch_ms=5, start_ms=10), 2, 4)
    trained(paced, clock, step_ms=20)
    assert (paced.pace.start_s, paced.pace.step_s) == (start_s, seconds(step_s))


def test_warming_up_is_left_out(clock: VirtualClock) -> None:
    """What the first steps take is not measured; the device is waited for before and after."""
    paced = PacedLoader(Sized(clock, 9, batch_ms=1), 3, 4)
    for number, _ in enumerate(paced):
        clock.spend((1000 if number < 3 else 2) * MS)
    assert paced.pace.step_s == seconds(0.003)
    at: list[int] = []
    loader = Sized(clock, 9, batch_ms=5)
    trained(PacedLoader(loader, 2, 3, synchronize=lambda: at.append(loader.given)), clock, 1)
    assert at == [2, 5]


def test_a_loader_without_a_length(clock: VirtualClock) -> None:
    """It stays without one, and begins anew at its end; another ends after `epoch_steps`."""
    loader = Batches(clock, 3, batch_ms=5, start_ms=7)
    paced = PacedLoader(loader, 0, 6)
    with pytest.raises(TypeError, match="no length"):
        len(paced)
    trained(paced, clock, step_ms=1)
    assert loader.epochs == 3
    assert paced.pace.start_s == seconds(0.007)
    loader = Sized(clock, 100, batch_ms=5)
    assert trained(PacedLoader(loader, 0, 5, epoch_steps=2), clock, 1) == [0, 1, 0, 1, 0, 1]


def test_batches_from_memory(clock: VirtualClock) -> None:
    """They come in turn, in place of the loaded ones, whose loading still counts."""
    loader = Sized(clock, 9, batch_ms=5)
    paced = PacedLoader(loader, 0, 3, instead="ab")
    assert trained(paced, clock, step_ms=1) == ["a", "b", "a", "b"]
    assert paced.pace.wait_s == seconds(0.005)
    free = PacedLoader(loader, 0, 3, instead="ab", loads=False)
    assert len(free) == 4
    trained(free, clock, step_ms=1)
    assert (free.pace.wait_s, free.pace.start_s) == (0.0, None)


def test_what_a_loader_has_not(clock: VirtualClock) -> None:
    """A loop that ended before has no pace; none is waited for; what else it has is there."""
    paced = PacedLoader(Sized(clock, 9, batch_ms=5), 1, 4)
    assert len(list(zip(range(3), paced, strict=False))) == 3
    assert not paced.is_over
    with pytest.raises(ValueError, match="only 3 of 6 steps"):
        _ = paced.pace
    assert paced.name == "of the loader's own"
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = paced.nothing_like_it
    with pytest.raises(UserError, match="gives no batch"):
        list(PacedLoader(Sized(clock, 0, batch_ms=5), 1, 4))


def test_the_clock_stands_in_pauses(clock: VirtualClock) -> None:
    """They come after as many measured steps as they are asked for, at both ends too."""
    fetched: list[int] = []

    def wait() -> None:
        fetched.append(loader.fetched)
        clock.spend(50 * MS)

    given = Batches(clock, 20, batch_ms=3)
    loader = PacedLoader(given, warm_up=2, measured=6, pauses=Pauses({0, 2, 4, 6}, wait))
    trained(loader, clock, step_ms=4)
    assert fetched == [2, 4, 6, 8]
    assert loader.pace.step_s == pytest.approx(0.007)
    assert loader.pace.wait_s == pytest.approx(0.003)


def test_what_a_rank_waits_for_the_others_is_no_part_of_its_own_step(clock: VirtualClock) -> None:
    """An epoch's start is not either; the ranks together take as long as the last one each time."""
    paced = PacedLoader(
        Sized(clock, 4, batch_ms=5, start_ms=100), 1, 8, meet=lambda: clock.spend(30 * MS)
    )
    trained(paced, clock, step_ms=20)
    assert paced.own_s == [seconds(0.025)] * 8
    assert paced.pace.step_s == seconds(0.055)
    assert PacedLoader(Sized(clock, 4, 5), 1, 2).own_s == []
    paces = [Pace(0.5, 0.1, None, 0.2), Pace(0.4, 0.3, 0.7, None)]
    both = joint(paces, [[0.2, 0.1], [0.1, 0.4]])
    assert both == JointPace(
        seconds(0.3), 0.3, 0.7, 0.2, [seconds(0.15), seconds(0.25)], [0.1, 0.3]
    )
    assert joint(paces, [[], []]) == JointPace(0.5, 0.3, 0.7, 0.2, [], [0.1, 0.3])
    assert joint(paces[:1], [[]]) is paces[0]
