"""Several ranks tuned in step: all of them choose, drop and stop alike, whatever each one sees."""

import itertools
import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers.jobs import trainer
from helpers.ranks import PlantedSubject, Threads, in_threads

from hpml.diagnosis import experiment, measured_trials
from hpml.errors import FailedElsewhereError, RunFailedError, UserError
from hpml.system.interference import Interference
from hpml.timing.advice import JobFacts
from hpml.trials import ranks_agreement as agreeing
from hpml.trials import sameness
from hpml.trials.intervention import Intervention
from hpml.trials.job_loader import Loading
from hpml.trials.pace import JointPace, Timed
from hpml.trials.sameness import Trace
from hpml.trials.settings import Settings
from hpml.trials.trainer import trial_trainer
from hpml.tuning import fresh_trials, tuner
from hpml.tuning.answer import Tuning
from hpml.tuning.change import NONE, Change
from hpml.tuning.changes import any_trainer
from hpml.tuning.changes.ddp import of_ranks
from hpml.tuning.fresh_trials import FreshTrials
from hpml.tuning.page import _facts
from hpml.tuning.trials_with_changes import Foreign
from hpml.tuning.tuner import Tuner

EVEN = {"input": 2.0, "transfer": 1.0, "compute": 8.0, "overhead": 1.0}
FAST, FASTER, IDLE, BROKEN = "num_workers=1", "num_workers=2", "pin_memory=True", "timeout=1"
UNLOADED = "prefetch_factor=1"


def loader_change(name: str) -> Change:
    argument, _, value = name.partition("=")
    settings = Settings(loader=((argument, value),))
    return Change(name, frozenset({argument}), frozenset({"input"}), settings=settings)


CHANGES = list(map(loader_change, (BROKEN, FASTER, FAST, IDLE, UNLOADED)))


class TunedSubject(PlantedSubject):
    """One rank of a job of which a change takes loading away, and others do other things."""

    network = torch.nn.Module()
    trainer = SimpleNamespace(
        **vars(PlantedSubject.trainer),
        **{"check_val_every_n_epoch": None, "val_check_interval": 1.0, "limit_val_batches": 0},
    )
    interrupted_in = -1  # the trial in which the second rank alone is
    fails_before = -1  # the trial before which a fit fails once

    def loading(self, settings: Settings = Settings()) -> Loading:  # noqa: B008 - it is frozen
        return Loading(0, 0, False)

    def first_batch(self, seed: int, settings: Settings) -> None:
        if "prefetch_factor" in dict(settings.loader) and self.agreement.rank == 1:
            raise OSError("not loaded here")

    def fit(
        self, intervention: Intervention, warm_up: int, measured: int, seed: int, **_: Any
    ) -> Any:
        """Within a thousandth the same in each round; what is broken is so on the second rank."""
        rank, arguments = self.agreement.rank, dict(intervention.settings.loader)
        assert "prefetch_factor" not in arguments  # the other rank would wait for ever
        typed.rank = rank if len(self.tried) == self.interrupted_in else 0

        def fails() -> None:
            if "timeout" in arguments and rank == 1:
                raise OSError("broken here")
            if len(self.tried) == self.fails_before:
                self.fails_before = -1
                raise OSError("no space is left")

        self.agreement.tried(fails)
        costs = self.costs
        free = {"input": 0.0} if "num_workers" in arguments else {}
        free |= {"compute": 4.0} if arguments.get("num_workers") == "2" else {}
        noise = 1 + ((seed + len(arguments)) % 5) / 1e2
        self.costs = [{**each, **free, "overhead": each["overhead"] * noise} for each in costs]
        try:
            return super().fit(intervention, warm_up, measured, seed)
        finally:
            self.costs = costs


typed = threading.local()


class Typed:
    """A Ctrl-C that one rank alone has got."""

    has_come = property(lambda self: bool(getattr(typed, "rank", 0)))
    was_repeated = False

    def __enter__(self) -> "Typed":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def raise_now(self) -> None:
        typed.rank = 0
        raise KeyboardInterrupt


def traced(
    subject: Any, intervention: Intervention, perturbed: float = 0.0, number: int = 0
) -> Trace:
    """With two workers the second rank gets other batches."""
    others = intervention.settings.loader == CHANGES[1].settings.loader
    differ = others and subject.agreement.rank == 1
    return Trace((1.0,), torch.zeros(1), (int(differ),))


@pytest.fixture(autouse=True)
def _simulated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clocks of their own, of which the second rank's runs a hundred times as fast."""
    clocks: dict[int, Any] = {}

    def now_ns() -> int:
        rank = getattr(here, "rank", 0)
        return int(next(clocks.setdefault(rank, itertools.count())) * 10**7 * (1 + 99 * rank))

    monkeypatch.setattr(time, "perf_counter_ns", now_ns)
    monkeypatch.setattr(experiment, "flops_per_step", lambda subject, notes: None)
    monkeypatch.setattr(experiment, "take_apart_if_waiting", lambda *given: None)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr(sameness, "trace", traced)
    monkeypatch.setattr(tuner.environment, "describe", lambda kind: {})
    monkeypatch.setattr(agreeing, "NotedInterrupt", Typed)
    alone = Interference(1.0, 1.0)
    for room in (measured_trials, tuner):
        monkeypatch.setattr(
            room, "watched", lambda *given: lambda measure: (measure(), given[2](alone)[0])
        )


here = threading.local()


def tuned(
    interrupted_in: int = -1, budget_s: float = 60.0, fails_before: int = -1
) -> list[tuple[TunedSubject, Tuning, list[str]]]:
    """Of each of two ranks its subject, its answer, and what it was told meanwhile."""

    def work(agreement: Threads) -> Any:
        here.rank = agreement.rank
        subject: Any = TunedSubject(agreement, [EVEN, EVEN | {"input": 22.0}])
        subject.interrupted_in, subject.fails_before = interrupted_in, fails_before
        told: list[str] = []
        given = subject, Foreign(subject), lambda: CHANGES, budget_s, told.append
        return subject, Tuner(*given, facts=JobFacts()).run(), told

    return in_threads(2, work)


def test_all_ranks_try_and_choose_the_same() -> None:
    """What helps the slowest; not what fails, or computes something else, on one of them alone."""
    (subject, first, told), (other, second, nothing) = tuned()
    assert [change.name for change in first.changes] == [FAST]
    assert second.changes == first.changes
    assert subject.tried == other.tried
    assert len(subject.tried) > 20
    before, after = 100 * (22 + 1 + 8 + 1) / 1e3, 100 * (1 + 8 + 1) / 1e3
    assert first.before_s == pytest.approx(before, rel=0.01)
    assert first.after_s == pytest.approx(after, rel=0.01)
    for found in (first, second):
        why = {change.name: reason for change, reason in found.skipped.items()}
        assert "broken here" in why[BROKEN]
        assert "not loaded here" in why[UNLOADED]
        assert why[FASTER].startswith("the training computes something else: different (other")
        assert found.search.measured.by_name == first.search.measured.by_name
    assert "(rank 1 on node1: OSError: broken here" in str(list(first.skipped.values()))
    assert (bool(told), nothing) == (True, [])


def test_ranks_whose_clocks_differ_say_alike_why_they_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second one's time has run out when the first one's case is clear."""
    clocks = {0: itertools.count(0, 10**5), 1: itertools.count(0, 10**11)}
    monkeypatch.setattr(time, "perf_counter_ns", lambda: next(clocks[here.rank]))
    (_, first, _), (_, second, _) = tuned(budget_s=600.0)
    assert (first.diagnosis.ended_early, second.diagnosis.ended_early) == (True, True)


def test_the_answer_names_processes_and_hosts() -> None:
    """In a sentence, in what is kept, and on the page; its rounds can be read again."""
    _, found, _ = tuned()[0]
    kept = found.as_dict()
    assert (kept["processes"], kept["hosts"]) == (2, ["node0", "node1"])
    assert any(each.startswith("2 processes on node0, node1 ") for each in found.sentences)
    facts = {row[0].text: row[1].text for row in _facts(kept | {"command": ""}).rows}
    assert (facts["processes"], facts["on"]) == ("2", "node0, node1")


def test_an_interrupt_of_one_rank_is_all_ranks() -> None:
    """After the trial in which it came, with the answer so far."""
    (whole, *_), _ = tuned()
    at = len(whole.tried) - 20  # in the race
    (subject, first, _), (other, second, _) = tuned(interrupted_in=at)
    assert first.search.was_interrupted
    assert second.search.was_interrupted
    assert len(subject.tried) == len(other.tried) == at
    assert first.sentence.startswith("not answered")


def rounds_of_the_diagnosis() -> tuple[int, int]:
    """Which trial is the first one's last of the job as it is, and which one begins the second."""
    (whole, *_), _ = tuned()
    every = [at for at, each in enumerate(whole.tried) if each[0] == Intervention()]
    second = next(at for at in every if whole.tried[at][-1] == 1)
    return max(at for at in every if at < second), second


def test_an_interrupt_of_the_diagnosis_has_an_answer_once_something_was_measured() -> None:
    """What an epoch takes, and what limits it so far; nothing was raced."""
    at = rounds_of_the_diagnosis()[1] + 2
    for subject, found, _ in tuned(interrupted_in=at):
        assert len(subject.tried) == at
        assert found.sentence == "not answered: epoch 3.20 s, and no change is proven yet"
        assert "interrupted: this is the answer so far" in found.sentences
        assert found.as_dict()["diagnosis"]["verdict"]["kind"] == "input-bound"
    with pytest.raises(KeyboardInterrupt):
        tuned(interrupted_in=2)


def test_a_diagnosis_in_which_the_job_fails_once_does_for_the_race() -> None:
    """The rounds before count; where there was none, the job's error is raised."""
    first, second = rounds_of_the_diagnosis()
    for _, found, _ in tuned(fails_before=second):
        assert [change.name for change in found.changes] == [FAST]
        assert any("the diagnosis ended early: the job failed" in each for each in found.notes)
    with pytest.raises(OSError, match="no space is left"):
        tuned(fails_before=first)


def test_an_interrupt_goes_before_what_fails_by_it() -> None:
    """Workers of a loader may die of the same Ctrl-C."""

    def work(agreement: Threads) -> Any:
        typed.rank = agreement.rank
        try:
            return agreement.tried(lambda: 1 // (1 - agreement.rank))
        except BaseException as error:
            return type(error)

    assert in_threads(2, work) == [KeyboardInterrupt, KeyboardInterrupt]


def test_what_one_rank_reads_is_all_ranks() -> None:
    """Also that it cannot be read."""

    def read(agreement: Threads) -> str:
        return agreement.of_first(lambda: f"by rank {agreement.rank}")

    def wrong(agreement: Threads) -> str:
        def work() -> str:
            raise UserError(f"none, says rank {agreement.rank}")

        try:
            return agreement.of_first(work)
        except UserError as error:
            return str(error)

    assert in_threads(2, read) == ["by rank 0"] * 2
    assert in_threads(2, wrong) == ["none, says rank 0"] * 2


def test_what_fails_on_the_rank_that_reads_fails_on_all() -> None:
    """With its own error there; the others are told whose it is, and wait for nothing."""

    def work(agreement: Threads) -> str:
        try:
            return agreement.of_first(lambda: str({}["rounds"]))
        except Exception as error:
            return f"{type(error).__name__}: {error}"

    first, second = in_threads(2, work)
    assert first == "KeyError: 'rounds'"
    assert second == "FailedElsewhereError: rank 0 on node0: KeyError: 'rounds'"


def test_an_interrupt_between_trials_comes_with_the_next_exchange() -> None:
    """To all ranks; one that comes after the last exchange does so at the end. It comes once."""

    def between(agreement: Threads) -> list[Any]:
        seen: list[Any] = []
        with agreement.interruptible():
            typed.rank = agreement.rank
            try:
                agreement.first("a clock")
            except KeyboardInterrupt:
                seen.append(agreement.every(agreement.rank))
        return seen

    def after(agreement: Threads) -> str:
        with suppress(KeyboardInterrupt), agreement.interruptible():
            typed.rank = agreement.rank
            return "passed over"
        return "interrupted"

    assert in_threads(2, between) == [[[0, 1]], [[0, 1]]]
    assert in_threads(2, after) == ["interrupted"] * 2


def test_cores_are_shared_by_the_ranks_that_may_use_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of one host; those that are bound to cores of their own, or run elsewhere, have all."""
    monkeypatch.setattr(any_trainer, "usable_cores", lambda: 8)
    monkeypatch.setattr(any_trainer, "affinity", lambda: frozenset(range(8)))
    assert in_threads(4, any_trainer.cores_of) == [2, 2, 2, 2]
    monkeypatch.setattr(any_trainer, "affinity", lambda: frozenset({threading.get_ident()}))
    assert in_threads(2, any_trainer.cores_of) == [8, 8]


def test_a_fresh_process_of_each_rank_is_one_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """They meet at a port of their own; one that fails fails for all."""
    made: list[tuple[Any, ...]] = []

    def run(function: Any, *arguments: Any) -> Any:
        made.append(arguments)
        if len(made) > 2:
            raise RunFailedError("a process has died")
        return Timed(2.0, JointPace(0.1, 0.0, None)), Interference(1.0)

    monkeypatch.setattr(fresh_trials, "run_in_fresh_process", run)
    monkeypatch.setattr(fresh_trials, "resolve", lambda config: {})
    monkeypatch.setenv("MASTER_PORT", "1")
    job: Any = SimpleNamespace(config=lambda changes, of_process: {})
    trials: Any = SimpleNamespace(proving=None, ends_left_out="", times_acts=lambda changes: True)
    trials.lengths = lambda changes, is_whole, with_acts: (1, 2)

    def work(agreement: Threads) -> Any:
        fresh = FreshTrials(job, trials, 1.0, agreement)
        timed, _ = fresh.watch(lambda: fresh(NONE)(0))
        with pytest.raises((RuntimeError, FailedElsewhereError), match="a process has died"):
            fresh(NONE)(1)
        return timed.epoch_s

    assert in_threads(2, work) == [2.0, 2.0]
    (*_, variables, _), (*_, others, _) = made[:2]
    assert variables == others
    assert variables["MASTER_PORT"] != "1"


EXCHANGES: dict[str, tuple[dict[str, Any], int, set[str]]] = {
    "as it is": ({}, 1, {"gradient_as_bucket_view=True"}),
    "looks for unused parameters": (
        {"find_unused_parameters": True, "gradient_as_bucket_view": True},
        1,
        {"find_unused_parameters=False"},
    ),
    "gradients of 40 MiB": (
        {"gradient_as_bucket_view": True}, 10 * 2**20, {"bucket_cap_mb=5", "bucket_cap_mb=100"},
    ),
    "in one bucket": (
        {"gradient_as_bucket_view": True, "bucket_cap_mb": 100}, 10 * 2**20, {"bucket_cap_mb=5"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EXCHANGES)
def test_how_gradients_are_exchanged_is_offered(name: str) -> None:
    """What it is not so yet, and buckets that are other ones; to a rank alone nothing."""
    now, weights, there = EXCHANGES[name]
    network = torch.nn.Linear(weights, 1, bias=False, device="meta")
    strategy = SimpleNamespace(_ddp_kwargs=now)
    for ranks, expected in ((2, there), (1, set[str]())):
        subject: Any = SimpleNamespace(
            agreement=SimpleNamespace(ranks=ranks),
            trainer=SimpleNamespace(strategy=strategy),
            network=network,
        )
        assert {change.name for change in of_ranks(subject)} == expected


def test_a_trial_exchanges_as_it_is_told(tmp_path: Path) -> None:
    """The user's own strategy stays as it was."""
    given = trainer(tmp_path, devices=2, strategy="ddp_find_unused_parameters_true")
    settings = Settings(ddp=(("find_unused_parameters", False),))
    settings |= Settings(ddp=(("bucket_cap_mb", 5),))
    own: Any = trial_trainer(given, tmp_path, True, Intervention(settings=settings))
    assert own.strategy._ddp_kwargs == {"find_unused_parameters": False, "bucket_cap_mb": 5}
    assert given.strategy._ddp_kwargs == {"find_unused_parameters": True}


def test_a_termination_within_a_trial_exchanges_nothing(tmp_path: Path) -> None:
    """Lightning's handler would, with ranks that are elsewhere; of one alone it stays."""
    before = signal.getsignal(signal.SIGTERM)
    for devices, stays in (({"devices": 2, "strategy": "ddp"}, False), ({}, True)):
        own: Any = trial_trainer(trainer(tmp_path, **devices), tmp_path, True)
        connector = own._signal_connector
        connector.register_signal_handlers()
        try:
            assert (signal.getsignal(signal.SIGTERM) != before) is stays
        finally:
            connector.teardown()
    assert signal.getsignal(signal.SIGTERM) == before


def test_ranks_of_fresh_processes_meet_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that waits for a rank that has failed ends; one that has met the others goes on."""
    ended, codes = threading.Event(), []

    def end(code: int) -> None:
        codes.append(code)
        ended.set()

    monkeypatch.setattr(os, "_exit", end)
    assert fresh_trials.MEETING_S < agreeing.LOST_S
    own: Any = SimpleNamespace(world_size=1)
    assert fresh_trials.met_soon(own).ranks == 1
    assert not [each for each in threading.enumerate() if isinstance(each, threading.Timer)
                and not each.finished.is_set()]  # fmt: skip
    monkeypatch.setattr(fresh_trials, "MEETING_S", 0.0)
    monkeypatch.setattr(fresh_trials, "agreement_of", lambda trainer: ended.wait(60))
    assert fresh_trials.met_soon(own)
    assert codes == [fresh_trials.NOT_MET]
