"""What a change has act seldom, on a virtual clock: no more is told than a real fit keeps."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
from helpers.delays import Delays, Module, VirtualClock, loaders
from helpers.jobs import trainer
from lightning.pytorch.callbacks import TQDMProgressBar

from hpml.trials.intervention import Intervention
from hpml.trials.resting_callbacks import RESTING_BATCHES, interval_kept, rest
from hpml.trials.settings import Settings
from hpml.trials.subject import Subject
from hpml.tuning.change import NONE, Change
from hpml.tuning.changes.less_often import of_callbacks
from hpml.tuning.seldom_acts import as_it_is, never, timeable
from hpml.tuning.trials_with_changes import CALCULATED, Foreign, Trials

MS = 1_000_003
BETWEEN, ACTS = "callback_batch_start", "callback_batch_end"  # places
ACT, CLOSE_S = 250, 0.01  # ms; within which an epoch is as long


class Kept(Delays):
    """Copies of what holds it move the same clock."""

    def __deepcopy__(self, memo: Any) -> "Kept":
        return self


class Each(L.Callback):
    """Acts at each batch, and has no interval."""

    def __init__(self, delays: Kept, own: int = 1) -> None:
        self.delays, self.own = delays, own

    def counts(self, trainer: Any, batch_idx: int) -> int:
        return batch_idx

    def on_train_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.delays.at(BETWEEN)
        if self.counts(trainer, batch_idx) % getattr(self, "every_n", self.own) == 0:
            self.delays.at(ACTS)


class ByBatch(Each):
    def __init__(self, delays: Kept, every_n: int = 1) -> None:
        super().__init__(delays)
        self.every_n = every_n


class AfterBatches(ByBatch):
    """As Lightning's progress bar asks."""

    def counts(self, trainer: Any, batch_idx: int) -> int:
        return batch_idx + 1


class BySteps(ByBatch):
    def counts(self, trainer: Any, batch_idx: int) -> int:
        return int(trainer.global_step)


KINDS: list[type[Each]] = [Each, ByBatch, AfterBatches, BySteps]


class Job:
    """A job with such a callback, of steps of so many ms, and its clock."""

    def __init__(self, folder: Path, kind: type[Each], now: int, epoch: int, step: int) -> None:
        self.folder, self.kind, self.epoch = folder, kind, epoch
        self.clock = VirtualClock()
        self.delays = Kept(("forward", BETWEEN, ACTS), self.clock.spend)
        self.delays.ns = {"forward": step * MS, BETWEEN: 1 * MS, ACTS: ACT * MS}
        self.now = now

    def fit(self, every: int, rests: bool = False, epochs: int = 1) -> tuple[Any, ...]:
        callback = self.kind(self.delays, every)
        if rests:
            rest(callback, RESTING_BATCHES)
        data, _ = loaders(self.delays, batches=self.epoch)
        made = trainer(self.folder, callbacks=[callback], max_epochs=epochs)
        return made, Module(self.delays), data

    def real_s(self, every: int, rests: bool, epochs: int = 1) -> float:
        """An epoch of a real fit."""
        made, module, data = self.fit(every, rests, epochs)
        begun_ns = self.clock.ns
        made.fit(module, data)
        return (self.clock.ns - begun_ns) / 1e9 / epochs

    def expected_s(self, every: int) -> float:
        """An epoch in which it acts so seldom."""
        acts: float = math.ceil(self.epoch / every)
        if self.kind is AfterBatches:
            acts = self.epoch // every
        elif self.kind is BySteps:
            acts = self.epoch / every
        called = acts if self.kind is Each else self.epoch
        forward_ns, between_ns, act_ns = self.delays.ns.values()
        return (self.epoch * forward_ns + called * between_ns + acts * act_ns) / 1e9

    def trials(self) -> tuple[Subject, Trials, Change]:
        subject = Subject(*self.fit(self.now))
        subject.loading()
        first = subject.fit(Intervention(), 2, 2, seed=0)
        (change,) = of_callbacks(subject)
        period, _ = timeable([change], subject, first.step_s, {})
        return subject, Trials(Foreign(subject), 0.0, first, None, 0, period=period), change


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def made(kind: type[Each], now: int, epoch: int, step: int) -> Job:
        job = Job(tmp_path, kind, now, epoch, step)
        job.clock.install(monkeypatch)
        return job

    return made


@pytest.mark.parametrize("step", [2, 700])
@pytest.mark.parametrize(("epoch", "now"), [(8, 1), (60, 1), (61, 1), (60, 5)])
@pytest.mark.parametrize("kind", KINDS)
def test_an_epoch_is_as_long_as_a_real_one(
    kind: type[Each], epoch: int, now: int, step: int, job: Any
) -> None:
    """In a race and whole; or longer by less than an act, where it counts by other numbers."""
    if kind is Each and now > 1:
        pytest.skip("it has no interval")
    made = job(kind, now, epoch, step)
    subject, trials, change = made.trials()
    changes = frozenset({change})
    least_s = made.expected_s(RESTING_BATCHES)
    most_s = least_s + (0 if kind in (Each, ByBatch) else ACT / 1e3)
    for number in range(2):  # by then it is known how long its own steps are
        for timed in (trials(changes)(number), trials.whole(changes)(number)):
            assert least_s - CLOSE_S < timed.epoch_s < most_s + CLOSE_S
    assert trials.whole(NONE)(0).epoch_s == pytest.approx(made.expected_s(now), abs=CLOSE_S)
    assert (CALCULATED in subject.notes) == (step == 700)


@pytest.mark.parametrize("kind", KINDS)
def test_a_real_fit_takes_what_is_expected(kind: type[Each], job: Any) -> None:
    """What the test above compares with."""
    made = job(kind, 1, 8, 2)
    expected_s = made.expected_s(RESTING_BATCHES)
    assert made.real_s(RESTING_BATCHES, kind is Each, 5) == pytest.approx(expected_s, abs=CLOSE_S)


def test_what_a_callback_does_in_between_stays(job: Any) -> None:
    """Where it keeps its interval, its hooks are called at each batch."""
    made = job(AfterBatches, 5, 60, 2)
    assert made.real_s(RESTING_BATCHES, rests=False) == pytest.approx(0.93, rel=1e-3)
    assert made.real_s(5, rests=True) == pytest.approx(0.93, rel=1e-3)
    gated = job(Each, 1, 60, 2)
    assert gated.real_s(1, rests=True) == pytest.approx(0.873, rel=1e-3)


def test_an_interval_is_where_a_callback_keeps_it() -> None:
    """A private attribute too; what says nothing has none."""
    assert interval_kept(TQDMProgressBar(refresh_rate=7)) == "_refresh_rate"
    assert interval_kept(ByBatch(Kept((), lambda ns: None), 3)) == "every_n"
    assert interval_kept(L.Callback()) is None


def test_what_is_off_or_seldom_already_is_not_offered() -> None:
    """A progress bar that is off would be switched on."""
    for rate, count in {0: 0, 1: 1, 7: 1, 20: 0, 100: 0}.items():
        named: Any = SimpleNamespace(callbacks={"Bar": TQDMProgressBar(refresh_rate=rate)})
        found = list(of_callbacks(named))
        assert len(found) == count
        assert [change.acts for change in found] == [(rate, RESTING_BATCHES)] * count


def seldom(name: str, now: int, then: int, **settings: Any) -> Change:
    own = frozenset({name})
    return Change(name, own, own, settings=Settings(**settings), acts=(now, then))


LOG = seldom("log", 10, 50, log_every=50)
REST = seldom("rest", 4, 20, rests=frozenset({"Bar"}))


def test_what_acts_too_seldom_to_be_timed_is_not_tried() -> None:
    """Steps in which all acts as often by any count would take too long; or an epoch has few."""
    subject: Any = SimpleNamespace(epoch_steps=1000)
    subject.trainer = SimpleNamespace(accumulate_grad_batches=2, callbacks=[])
    other = seldom("other", 1, 1)
    skipped: dict[Change, str] = {}
    every = [LOG, other, REST]
    assert timeable(every, subject, 0.01, skipped) == (40, every)
    assert timeable([other], subject, 9.0, skipped) == (1, [other])
    assert skipped == {}
    assert timeable(every, subject, 0.2, skipped) == (20, [LOG, other])
    words = "it acts at one of 4 steps already, and of steps of 0.2 s too few can be timed"
    assert skipped == {REST: words}
    for epoch_steps, is_tried in {79: False, 16: True, 81: True, None: True}.items():
        subject.epoch_steps = epoch_steps
        assert (timeable([REST], subject, 0.01, skipped)[1] == [REST]) == is_tried
    assert skipped == {REST: "it acts at one of 4 steps already, and an epoch has few of these"}


def test_trials_of_it_never_have_it_act_or_as_it_is() -> None:
    """Whatever has it act less often: callbacks by name, a log by a setting or by a key."""
    keyed = seldom("keyed", 10, 50)
    of = Intervention(threads=1, settings=Settings(rests=REST.settings.rests))
    least = 10**9
    assert never(of, frozenset({REST})).settings.rest_batches == least
    assert never(of, frozenset({REST})).settings.log_every is None
    assert as_it_is(of, frozenset({REST})) == Intervention(threads=1)
    for log in (LOG, keyed):
        assert never(Intervention(), frozenset({log})).settings.log_every == least
        assert as_it_is(Intervention(), frozenset({log})).settings.log_every == 10


def test_steps_are_as_many_as_all_acts_in(job: Any) -> None:
    """A common multiple: of a log at every 50th and a callback at every 20th, 100."""
    _, trials, change = job(Each, 1, 1000, 2).trials()
    both = frozenset({change, LOG})
    assert trials.lengths(both) == (1, 2)  # of slow steps, by their callback
    assert trials.lengths(both, with_acts=True) == (1, math.lcm(20, 50))
