"""Ranks that are left alone in an exchange: they wait so long, and end with one line."""

import math
import signal
import threading
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
import torch
from helpers.ranks import Threads, in_threads

from hpml.system.signals import RunInterrupted
from hpml.trials import ranks_agreement as agreeing
from hpml.trials.failed_ranks import FailedRanks, MissedError
from hpml.trials.ranks_agreement import RanksAgreement


class Alone(Threads):
    """A rank whose other one never comes; `waits` has how long it would have waited each time.

    With `is_there` the other one does something else; without, its process has ended. With
    `is_missed` the other one waits for this one, and says so.
    """

    is_there, is_missed = True, False
    patch: pytest.MonkeyPatch

    def __init__(self, rank: int = 1) -> None:
        super().__init__(rank, 2, [None] * 2, threading.Barrier(2))
        self.waits: list[float | None] = []
        self._group, self.now_s = None, 0.0
        self.patch.setattr(agreeing.time, "monotonic", lambda: self.now_s)

    _arrive: Any = RanksAgreement._arrive
    _gathered: Any = RanksAgreement._gathered

    def _wait_for_all(self, seconds: float = math.inf, why: str | None = None) -> None:
        self.waits.append(seconds)
        self.now_s += seconds * self.is_there
        if self.is_missed:
            raise MissedError
        raise RuntimeError("[gloo/transport/tcp/pair.cc:561] Connection closed by peer")


def fails() -> None:
    raise OSError("no space")


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Alone, "patch", monkeypatch, raising=False)


@pytest.mark.parametrize("is_there", [True, False])
def test_an_error_that_comes_of_the_others_end_is_not_told(
    is_there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But one of its own is, for which they wait."""

    def fails_in_an_exchange() -> None:
        raise RuntimeError("Connection closed")

    monkeypatch.setattr(Alone, "is_there", is_there)
    with pytest.raises(SystemExit) as ended:
        Alone().tried(fails_in_an_exchange)
    said = {
        True: "RuntimeError: Connection closed, on rank 1 on node1 alone: the others wait for it",
        False: "another process has ended, or does not answer; so ends rank 1 on node1",
    }
    assert ended.value.code == f"failed: {said[is_there]}"


def test_a_rank_that_has_failed_alone_waits_and_says_why() -> None:
    """Once: at its end it waits no second time."""
    alone = Alone()
    with pytest.raises(SystemExit) as ended:
        alone.tried(fails)
    said = "failed: OSError: no space, on rank 1 on node1 alone: the others wait for it"
    assert ended.value.code == said
    alone.part()
    assert alone.waits == [agreeing.LOST_S]


def test_a_rank_that_was_interrupted_waits_for_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """And then is interrupted by itself, though what it did has failed by it."""
    alone = Alone()
    monkeypatch.setattr(Alone, "_has_come", True)
    with pytest.raises(KeyboardInterrupt), alone.interruptible():
        alone.tried(fails)
    assert alone.waits == [agreeing.INTERRUPTED_S]


def test_a_rank_whose_others_are_gone_ends_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it waits for them; it exchanges no more."""

    def gone(*_: Any, **__: Any) -> None:
        raise RuntimeError("[gloo/transport/tcp/pair.cc:561] Connection closed by peer")

    monkeypatch.setattr(torch.distributed, "all_gather_object", gone)
    said = "failed: another process has ended, or does not answer; so ends rank 0 on node0"
    for exchange in (lambda own: own.tried(list), lambda own: own.first(1)):
        alone = Alone(0)
        with pytest.raises(SystemExit) as ended, alone.interruptible():
            exchange(alone)
        assert ended.value.code == said
        waited = list(alone.waits)
        alone.part()
        assert alone.waits == waited


def test_who_has_ended_well_waits_for_the_others_and_passes_over_their_failure() -> None:
    """For a while: the first process to end may end all."""
    alone = Alone()
    alone.part()
    assert alone.waits == [agreeing.LOST_S]


def test_a_rank_that_is_missed_says_why_it_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where that was an error of a kind that others' end has."""

    def fails_by_itself() -> None:
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(Alone, "is_there", False)
    monkeypatch.setattr(Alone, "is_missed", True)
    with pytest.raises(SystemExit) as ended:
        Alone().tried(fails_by_itself)
    said = "RuntimeError: shapes do not fit, on rank 1 on node1 alone: the others wait for it"
    assert ended.value.code == f"failed: {said}"


@pytest.mark.parametrize("is_missed", [True, False])
def test_a_failure_that_a_rank_passes_over_is_its_own_where_it_is_missed(
    is_missed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long others train before they wait for it; if they end by themselves it is theirs."""
    monkeypatch.setattr(Alone, "is_missed", is_missed)
    alone = Alone()
    with pytest.raises(SystemExit) as ended:
        alone.tried(lambda: alone.pass_over(KeyError("val/loss")))
    said = {
        True: "KeyError: 'val/loss', on rank 1 on node1 alone: the others wait for it",
        False: "another process has ended, or does not answer; so ends rank 1 on node1",
    }
    assert ended.value.code == f"failed: {said[is_missed]}"
    assert alone.waits == [math.inf]


class Meeting(Threads):
    """Tells while it meets the others, which all come."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.told: list[str | None] = []

    _arrive: Any = RanksAgreement._arrive

    def _wait_for_all(self, seconds: float = math.inf, why: str | None = None) -> None:
        self.told.append(why)


@pytest.mark.parametrize("failed", [{0}, {0, 1}])
def test_what_is_passed_over_is_forgotten_once_all_have_met(failed: set[int]) -> None:
    """Though it was so on one rank alone: nobody has waited for it."""

    def work(agreement: Meeting) -> Any:
        def passes_over() -> int:
            if agreement.rank in failed:
                agreement.pass_over(KeyError("val/loss"))
            return agreement.rank

        return [agreement.tried(passes_over), agreement.tried(lambda: 2), agreement.told]

    told = dict.fromkeys(failed, "KeyError: 'val/loss'")
    expected = [[[0, 1], [2, 2], [told.get(rank), None]] for rank in (0, 1)]
    assert in_threads(2, work, Meeting) == expected


class Exchange:
    """That in which all ranks meet; it ends with the first process that does."""

    def __init__(self, ended: threading.Event) -> None:
        self.ended = ended

    def wait(self, timeout: timedelta | None = None) -> None:
        self.ended.wait(0.001)
        raise RuntimeError("Connection closed by peer")

    def is_completed(self) -> bool:
        return self.ended.is_set()


class Leaving(Threads):
    """Of two ranks with one store, of which the first leaves the other one in an exchange."""

    store, ended = torch.distributed.HashStore(), threading.Event()

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.begun = 3
        self._failed = FailedRanks(self.rank, self.store, lambda: [self.begun])

    _arrive: Any = RanksAgreement._arrive

    def _wait_for_all(self, seconds: float = math.inf, why: str | None = None) -> None:
        self._failed.meet(lambda: Exchange(self.ended), seconds, why)


@pytest.mark.parametrize("is_over", [True, False])
def test_a_failure_that_a_rank_passes_over_ends_all_where_they_wait(
    is_over: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one names it, though it too passes over what ends its own exchange."""
    monkeypatch.setattr(Leaving, "store", torch.distributed.HashStore())
    monkeypatch.setattr(Leaving, "ended", threading.Event())

    def waits(agreement: Leaving) -> None:
        agreement.begun += 1
        while not agreement._failed.look():  # as a thread of its own does
            agreement.ended.wait(0.001)
        assert agreement.ended.wait(20)
        error = RuntimeError("Connection closed by peer")
        if not is_over:
            raise error
        agreement.pass_over(error)

    def work(agreement: Leaving) -> Any:
        own = [lambda: agreement.pass_over(KeyError("val/loss")), lambda: waits(agreement)]
        with pytest.raises(SystemExit) as end:
            agreement.tried(own[agreement.rank])
        agreement.ended.set()
        return end.value.code

    failed = "failed: KeyError: 'val/loss', on rank 0 on node0"
    assert in_threads(2, work, Leaving) == [
        f"{failed} alone: the others wait for it",
        f"{failed}; so ends rank 1 on node1",
    ]


def test_a_rank_that_was_told_names_the_one_that_has_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And not that another process has ended."""
    alone = Alone(0)
    FailedRanks(1, alone._failed._store, list).tell("OSError: no space")
    monkeypatch.setattr(Alone, "is_missed", True)
    with pytest.raises(SystemExit) as ended:
        alone.tried(list)
    assert (
        ended.value.code == "failed: OSError: no space, on rank 1 on node1; so ends rank 0 on node0"
    )


def test_what_ends_a_rank_alone_is_told_and_waits_for_nobody() -> None:
    """Such as a termination that is no failure; it exchanges no more, neither at its end."""
    alone = Alone()

    def ended() -> None:
        raise RunInterrupted(signal.SIGTERM)

    with pytest.raises(RunInterrupted), alone.interruptible():
        alone.tried(ended)
    alone.part()
    assert alone.waits == []
    other = FailedRanks(0, alone._failed._store, list)
    other.look()
    assert other.first is not None
    assert other.first.why == "RunInterrupted: SIGTERM"


def test_a_second_interrupt_of_one_rank_alone_exchanges_no_more() -> None:
    """Though the search has passed over it: the others are elsewhere."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    alone = Alone()
    try:
        with alone.interruptible():
            signal.raise_signal(signal.SIGINT)
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert alone._is_lost


def test_an_interrupt_after_the_last_exchange_is_not_lost() -> None:
    """It is raised once all is done."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    alone = Alone()
    try:
        with pytest.raises(KeyboardInterrupt), alone._noting():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_who_leaves_by_an_error_has_the_others_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """While it waits for them at its end."""
    told: list[str | None] = []
    monkeypatch.setattr(Alone, "_wait_for_all", lambda own, seconds, why: told.append(why))
    with pytest.raises(OSError, match="no space"), Alone():
        fails()
    Alone().part()
    assert told == ["OSError: no space", None]


@pytest.mark.parametrize("apart", [True, False])
@pytest.mark.parametrize("passed_over", [True, False])
def test_ranks_that_have_failed_between_other_exchanges_end(passed_over: bool, apart: bool) -> None:
    """The next one would be another one for each; a line of the first one says why."""

    def work(agreement: Threads) -> Any:
        agreement._failed.begun = lambda: [apart * agreement.rank]
        own = partial(agreement.pass_over, OSError("no space")) if passed_over else fails
        try:
            return agreement.tried(own)
        except BaseException as error:
            return getattr(error, "code", str(error))

    said = "failed: OSError: no space, on rank 0 on node0, between exchanges with the others: "
    together = [[None] * 2] * 2 if passed_over else ["no space"] * 2
    assert in_threads(2, work) == ([f"{said}none can go on", 1] if apart else together)
