"""What a diagnosis says, on a virtual clock: exact predictions, the verdict, and comparisons."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import delays
from helpers.delays import Delays, Module, Planted, VirtualClock, loaders
from helpers.jobs import trainer
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader

from hpml.diagnosis import experiment
from hpml.diagnosis.saving_in_words import at_most
from hpml.diagnosis.trial_figures import CAUSES
from hpml.diagnosis.wording import Diagnosis, compare
from hpml.statistics import Estimate, anytime_estimate
from hpml.system.interference import Interference
from hpml.timing.advice import JobFacts
from hpml.trials.pace import Pace
from hpml.trials.subject import Subject

STEPS = 20
ROUNDS = experiment.ROUNDS
# What a job is bound by that is slowed in one of these places.
BOUND_BY = {
    "input": "dataset collate sampler",
    "transfer": "before_transfer transfer after_transfer",
    "compute": "training_step forward backward gradient_clipping optimizer",
    "overhead": "callback_batch_start callback_batch_end callback_before_backward "
    "callback_after_backward callback_before_step module_batch_end train_logger scheduler",
}
CLEAR = {place: cause for cause, places in BOUND_BY.items() for place in places.split()}
A_SAMPLE = ("dataset", "sampler")  # there are two in a batch
NS = 1_000_003


class Kept(Delays):
    """Copies of what holds it move the same clock."""

    def __deepcopy__(self, memo: Any) -> "Kept":
        return self


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment, "ROUNDS", (2,))
    monkeypatch.setattr(experiment, "flops_per_step", lambda subject, notes: None)


@pytest.fixture
def diagnose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Diagnosis]:
    """Of the planted job, with delays of so many times NS in its places."""
    clock = VirtualClock().install(monkeypatch)

    def diagnosed(callbacks: Any = (), budget_s: float = 0.01, **times: int) -> Diagnosis:
        delays = Kept(tuple(times), clock.spend)
        delays.ns = {place: count * NS for place, count in times.items()}
        monkeypatch.setattr(CSVLogger, "log_metrics", lambda *_, **__: delays.at("train_logger"))
        settings = {"max_epochs": 2, "log_every_n_steps": 1, "gradient_clip_val": 1.0}
        logger, planted = CSVLogger(tmp_path), [Planted(delays), *callbacks]
        fitting = trainer(tmp_path, logger=logger, callbacks=planted, **settings)
        data, _ = loaders(delays, batches=STEPS)
        return experiment.diagnose(fitting, Module(delays), data, budget_s, lambda line: None)

    return diagnosed


def seconds(count: float) -> Any:
    """Of an epoch in which each step has so many times NS."""
    return pytest.approx(STEPS * count * NS / 1e9, rel=1e-12, abs=1e-12)


def test_every_place_within_a_step_is_tried() -> None:
    """Those that the timing suite has, without startup, an epoch's ends and validation."""
    places = {place for place, phase in delays.PLACES.items() if phase != "validation"}
    once = {"loader_iter", "checkpoint", "checkpoint_hook"}
    assert set(CLEAR) == {place for place in places - once if "epoch" not in place}


@pytest.mark.parametrize("place", CLEAR)
def test_one_delay(place: str, diagnose: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its cause is named, and gains exactly what was planted; no other cause gains anything."""
    monkeypatch.setattr(experiment, "ROUNDS", (1,))
    found = diagnose(**{place: 3})
    planted_s = seconds(6 if place in A_SAMPLE else 3)
    gains = {cause: gain.mean for cause, gain in found.gains.items()}
    of_one_process = [cause for cause in CAUSES if cause != "communication"]
    none_s = pytest.approx(0, abs=1e-12)
    assert gains == dict.fromkeys(of_one_process, none_s) | {CLEAR[place]: planted_s}
    assert found.epoch_s("as_it_is").mean == planted_s
    kind = (found.verdict["kind"], found.verdict["basis"])
    assert kind == (f"{CLEAR[place]}-bound", "intervention")


def test_each_prediction_is_the_sum_of_the_other_delays(diagnose: Callable[..., Diagnosis]) -> None:
    """With all kinds of costs at once; it prints a table and the verdict, and keeps the same."""
    times = {"collate": 40, "transfer": 7, "forward": 11, "optimizer": 3, "scheduler": 2}
    found = diagnose(callback_batch_end=5, **times)
    expected = {
        **{"as_it_is": 68, "loading_free": 28, "transfer_free": 61, "compute_free": 54},
        **{"hooks_free": 61, "host_alone": 14, "loop_alone": 0, "loader_alone": 40},
        **{"with_all": 68, "without_Planted": 63, "without_logging": 68},
        "as_it_is_again": 68,
    }
    times_s = {trial: found.epoch_s(trial).mean for trial in found.paces}
    assert times_s == {trial: seconds(count) for trial, count in expected.items()}
    assert found.verdict["kind"] == "input-bound"
    assert found.verdict["evidence"] == (
        "with loading free an epoch takes 0.560 ± 0.000 s instead of 1.36 ± 0.00 s"
    )
    assert "more num_workers for the DataLoader (now 0)" in found.verdict["advice"]
    assert found.waited_s.mean == seconds(40)
    assert found.epoch_steps == STEPS
    printed = str(found)
    assert "with computing free" in printed
    assert "20 steps\n  ± is a 95 % interval over 2 rounds of " in printed
    assert printed.splitlines()[-2].startswith("input-bound: ")
    kept = json.loads(json.dumps(found.as_dict()))
    assert kept["verdict"] == found.verdict
    assert kept["epoch_s"]["loading_free"]["mean"] == seconds(28)
    assert kept["saved_s"]["transfer"]["mean"] == seconds(7)


def test_a_job_that_waits_has_its_loader_taken_apart(diagnose: Callable[..., Diagnosis]) -> None:
    """The advice names its dearest stage; text and file have all of it. Others are left whole."""
    found = diagnose(dataset=40, sampler=10, forward=11)
    assert found.loader is not None
    costs = {stage.name: stage.seconds.mean for stage in found.loader.stages}
    assert costs["sampler"] == pytest.approx(10 * NS / 1e9)
    assert costs["Samples.__getitem__"] == pytest.approx(40 * NS / 1e9)
    assert ", or cheaper Samples.__getitem__ (80% of a sample" in found.verdict["advice"]
    assert "Samples.__getitem__ takes 80% of a sample" in str(found)
    kept = json.loads(json.dumps(found.as_dict()))["loader"]
    assert kept["dearest"] == "Samples.__getitem__"
    assert diagnose(forward=90, dataset=7).loader is None


def test_a_loader_that_cannot_be_taken_apart(
    diagnose: Callable[..., Diagnosis], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The diagnosis stands without, and says why."""
    monkeypatch.setattr(Subject, "take_apart", lambda self, seconds: 1 / 0)
    found = diagnose(collate=40)
    assert found.loader is None
    why = "ZeroDivisionError: division by zero"
    assert f"the loader could not be taken apart ({why})" in found.notes
    assert "a cheaper dataset" in found.verdict["advice"]
    assert found.as_dict()["loader"] is None


def test_two_causes_of_one_size(diagnose: Callable[..., Diagnosis]) -> None:
    """Neither is named, what each would gain is; without workers, nothing overlaps."""
    found = diagnose(collate=5, forward=5)
    verdict = found.verdict
    assert verdict["kind"] == "inconclusive"
    assert "with loading free" in verdict["evidence"]
    assert "with computing free" in verdict["evidence"]
    assert verdict["advice"].startswith("No single cost stands out: ")
    assert found.overlap is not None
    assert found.overlap.mean == pytest.approx(0, abs=1e-9)
    assert "loading and computing overlap by 0% of the shorter one" in found.sentences


class Slow(Planted):
    """A second callback, whose name is to be told."""


def test_a_trial_that_takes_longer_saves_nothing() -> None:
    """It says how much more it takes, where that is sure."""
    assert at_most(Estimate(-2.0, 0.5, 5), 8.0) == "none: takes 2.00 ± 0.50 s more"
    assert at_most(Estimate(-0.2, 0.5, 5), 8.0) == "< 0.300 s (4%)"


def test_the_dearest_callback_is_named(diagnose: Callable[..., Diagnosis]) -> None:
    """With its share, exactly; or which argument makes logging rarer, or what no callback costs."""
    slow = Slow(Kept((), lambda ns: None))
    found = diagnose(callback_batch_end=6, train_logger=2, forward=1, callbacks=[slow])
    costs_s = {name: cost.mean for name, cost in found.callbacks.items()}
    assert costs_s == {"Planted": seconds(6), "logging": seconds(2), "Slow": seconds(0)}
    assert next(iter(found.callbacks)) == "Planted"
    assert found.verdict["advice"].startswith("75% of the overhead is Planted: call it less often")
    advice = diagnose(train_logger=9, callback_batch_end=3).verdict["advice"]
    assert advice == "75% of the overhead is logging: raise log_every_n_steps, or log fewer metrics"
    assert "hooks and schedulers of the module" in diagnose(module_batch_end=9).verdict["advice"]


def test_an_epochs_start_counts_once(diagnose: Callable[..., Diagnosis]) -> None:
    """With what it saves by loading free, and in the time of each epoch that loads."""
    found = diagnose(loader_iter=30, forward=1)
    start_s = 30 * NS / 1e9
    assert found.start_s == pytest.approx(start_s, rel=1e-9)
    assert found.epoch_s("as_it_is").mean == pytest.approx(start_s + 20 * NS / 1e9, rel=1e-9)
    assert found.gains["input"].mean == pytest.approx(start_s, rel=1e-9)
    assert found.gains["compute"].mean == seconds(1)


def made(steps_s: Any, wait_s: float = 0.0, steps: int | None = 10, **settings: Any) -> Diagnosis:
    """A diagnosis of made-up steps, one a round."""
    paces = {
        trial: [Pace(step_s, wait_s if trial == "as_it_is" else 0.0, None) for step_s in values]
        for trial, values in steps_s.items()
    }
    return Diagnosis(paces, steps, JobFacts(**settings))


NOISY = {"as_it_is": [1.0, 1.1, 0.9], "loading_free": [0.5, 0.6, 0.4]}
NOISY |= {"compute_free": [0.7, 0.6, 0.8], "loader_alone": [0.5, 0.5, 0.5]}


def test_a_lead_within_the_noise_is_none() -> None:
    """Steady ones are told; a single cause where it gains anything, and nothing else is made up."""
    spread = {**NOISY, "compute_free": [0.4, 0.9, 0.6]}  # overlaps with the first cause's rounds
    assert made(spread).verdict["kind"] == "inconclusive"
    assert made({**NOISY, "compute_free": [0.9, 1.0, 0.8]}).verdict["kind"] == "input-bound"
    alone = {trial: NOISY[trial] for trial in ("as_it_is", "loading_free")}
    assert made(alone).verdict["kind"] == "input-bound"
    none = made({**alone, "loading_free": NOISY["as_it_is"]}).verdict
    assert none["kind"] == "inconclusive"
    assert "computing" not in none["evidence"]


STEADY = {**NOISY, "compute_free": [0.9, 1.0, 0.8]}  # 4 s are between the two causes


def test_a_lead_within_what_the_same_work_differs_by_is_none() -> None:
    """The floor is printed and kept; without a second time of the same work there is none."""
    found = made({**STEADY, "as_it_is_again": [1.02, 1.08, 0.91]})
    assert found.verdict["kind"] == "input-bound"
    assert 0 < found.floor_s < 1
    floor = f"the same work twice differs by ± {found.floor_s:.3f} s: what is less cannot"
    assert any(sentence.startswith(floor) for sentence in found.sentences)
    assert found.as_dict()["floor_s"] == found.floor_s
    spread = made({**STEADY, "as_it_is_again": [1.6, 0.9, 1.2]})
    assert spread.floor_s > spread.lead_s.mean > (spread.lead_s.half_width or 0.0)
    assert spread.verdict["kind"] == "inconclusive"
    assert made(STEADY).floor_s == 0
    assert made(STEADY).as_dict()["floor_s"] is None


def test_how_long_an_answer_would_take() -> None:
    """Four times the rounds halve an interval; no figure stands beside a ± of its size."""
    spread = {**NOISY, "loading_free": [0.1, 0.9, 0.5], "compute_free": [0.9, 0.7, 0.8]}
    found = made(spread, keys=True)
    assert not found.is_answered
    assert found.needed_s is None  # a round's time is not known
    likely = "The largest cost is likely input, which 3 rounds cannot tell from the next: measure "
    assert found.verdict["advice"] == f"{likely}for longer"
    found.round_s = 10.0
    lead = found.lead_s
    assert lead.half_width is not None
    assert found.needed_s == pytest.approx(30 * (lead.half_width / lead.mean) ** 2)
    assert re.fullmatch(r"About .* \(diagnose.budget_s=\d+\), if .*", found.verdict["advice"])
    saves = {title: saved for title, _, saved in found.rows}
    assert saves["with loading free"] == "not known"
    assert re.fullmatch(r"< \d+.\d+ s \(\d+%\)", saves["with computing free"])
    assert "with loading free an epoch takes 1.00 to 9.00 s" in found.verdict["evidence"]
    clear = made({**NOISY, "loading_free": [1.0, 1.1, 0.9], "compute_free": [1.0, 1.1, 0.9]})
    assert clear.is_answered
    assert clear.verdict["kind"] == "inconclusive"
    assert made(STEADY).is_answered


PLAIN = {
    "as_it_is": [1.0, 1.002, 0.998, 1.0],
    "as_it_is_again": [1.01, 1.0, 1.0, 0.99],
    "one_thread": [0.98, 1.0, 0.97, 1.0],
    "loading_free": [0.3, 0.304, 0.3, 0.304],
    "compute_free": [0.7, 0.72, 0.7, 0.71],
    "loader_alone": [0.7] * 4,
}


def test_a_clear_case_needs_no_more_rounds() -> None:
    """The lead is beyond what one could see by looking often, and what goes with it is known."""
    steady = PLAIN
    assert made(steady).is_clear
    assert not made({**steady, "compute_free": [0.28, 0.33, 0.3, 0.29]}).is_clear  # no lead
    assert not made({**steady, "one_thread": [0.31, 0.3, 0.33, 0.3]}).is_clear  # threads do it
    uneven = {**steady, "loading_free": [0.3, 0.5, 0.2, 0.4]}
    assert made(uneven).is_answered
    assert not made(uneven).is_clear  # by how much is not known well
    assert not made({trial: values[:2] for trial, values in steady.items()}).is_clear
    for spread, is_clear in ((0.03, True), (0.2, False)):  # of rounds that are slow in everything
        slow = np.array([1 - spread, 1 + spread, 1.0, 1 + spread])
        rounds = {trial: list(slow * values) for trial, values in steady.items()}
        assert made(rounds).is_clear is is_clear
    dear = {f"without_{name}": [0.8, 0.8 + by, 0.8] for name, by in (("A", 0.01), ("B", 0.3))}
    one_by_one = {**steady, "with_all": [1.0, 1.0, 1.0]}
    assert made({**one_by_one, "without_A": dear["without_A"]}).knows_callbacks
    assert not made({**one_by_one, **dear}).knows_callbacks


def test_rounds_that_ended_early_have_intervals_that_hold_whenever_one_looks() -> None:
    """What is printed is as wide as what ended them; a narrow one of three rounds by chance is no
    reason to end.
    """
    few = {trial: values[:3] for trial, values in PLAIN.items()}
    early = made(few)
    early.ended_early = True
    for trial in ("as_it_is", "loading_free"):
        expected = anytime_estimate(early.epochs(trial))
        found = early.epoch_s(trial)
        assert expected is not None
        assert (found.mean, found.half_width) == (expected.mean, expected.half_width)
        assert (found.half_width or 0.0) > 2 * (made(few).epoch_s(trial).half_width or 0.0)
    assert early.verdict["kind"] == made(few).verdict["kind"] == "input-bound"
    assert "± is a 95 % interval that holds whenever one looks, over 3 rounds" in str(early)
    wider = {**few, "loading_free": [0.28, 0.32, 0.3]}  # ± 0.05 of 1 s by Student, ± 0.12 so
    assert made(few).is_clear
    assert not made(wider).is_clear


def test_a_range_with_0_in_it_is_not_shown_of_what_surely_saves() -> None:
    """But the interval, which has none."""
    assert at_most(Estimate(0.2, 0.15, 5, -0.011, 0.414), 1.0) == "0.200 ± 0.150 s (20%)"
    assert at_most(Estimate(0.2, 0.15, 5, 0.011, 0.414), 1.0) == "0.011 to 0.414 s (20%)"


def lost(share: float) -> Interference:
    return Interference(30.0, 30.0 * share, lost_s={"others": 30.0 * share})


def test_disturbed_beyond_the_margin() -> None:
    """No cause is named of trials from which others took more than is uncertain; nor compared."""
    found = made(STEADY)
    found.interference = lost(0.4)
    assert found.verdict["kind"] == "disturbed"
    assert found.verdict["evidence"] == (
        "its trials as it is waited up to 12 s of 30 s for a core that other programs had"
    )
    assert found.verdict["advice"] == "Stop the other programs, and measure again"
    assert compare(found, made(NOISY), ("A", "B"))[0].startswith("A and B cannot be compared: ")
    assert json.loads(json.dumps(found.as_dict()))["interference"]["disturbed"]
    found.interference = lost(0.04)
    assert found.verdict["kind"] == "input-bound"
    unsure = made(NOISY)  # by half of the epoch, for which others may be the reason
    unsure.interference = lost(0.1)
    assert unsure.verdict["kind"] == "disturbed"


ONE_FAST = {**STEADY, "one_thread": [0.2, 0.21, 0.19]}


def test_one_thread_faster_than_all() -> None:
    """It comes before any other cause, and before what others took, which is said beside it."""
    found = made(ONE_FAST, threads=2, num_workers=2)
    assert found.verdict == {
        "kind": "thread-bound",
        "basis": "intervention",
        "evidence": "with one thread an epoch takes 2.00 ± 0.25 s instead of 10.00 ± 2.48 s",
        "advice": "Try torch.set_num_threads(1) (now 2), or GOMP_SPINCOUNT=2000 in the environment",
    }
    ours = made(ONE_FAST, threads=2, keys=True).verdict["advice"]
    assert ours == "Try cpu.threads=1 (now 2), or cpu.wait=brief"
    assert any(title == "with one thread" for title, _, _ in found.rows)
    found.interference = lost(0.4)
    assert found.verdict["kind"] == "thread-bound"
    assert found.verdict["evidence"].endswith(
        "; beside others: its trials as it is waited up to 12 s of 30 s for a core that other "
        "programs had"
    )
    spread = {"as_it_is": [1.0, 20.0, 3.0], "one_thread": [0.2, 2.0, 0.4]}
    assert made({**STEADY, **spread}, threads=2).verdict["kind"] == "thread-bound"
    always = {"as_it_is": [1.0, 90.0, 3.0], "as_it_is_again": [50.0, 1.5, 9.0]}
    always["one_thread"] = [0.9, 0.8, 0.6]
    assert made({**STEADY, **always}, threads=2).verdict["kind"] == "thread-bound"
    always["one_thread"][1] = 1.5
    assert made({**STEADY, **always}, threads=2).verdict["kind"] != "thread-bound"
    little = {**PLAIN, "one_thread": [0.92, 0.93, 0.91, 0.92]}  # of loading that sleeps, say
    assert made(little, threads=2).verdict["kind"] == "input-bound"
    computes = {"loading_free": PLAIN["compute_free"], "compute_free": PLAIN["loading_free"]}
    assert made({**little, **computes}, threads=2).verdict["kind"] == "thread-bound"
    told = "one thread alone is faster too: it saves "
    assert any(told in sentence for sentence in made(little, threads=2).sentences)
    assert not any(told in sentence for sentence in made(PLAIN, threads=2).sentences)
    equal = {**PLAIN, "compute_free": PLAIN["as_it_is"], "loading_free": [0.61, 0.6, 0.6, 0.59]}
    equal |= {"hooks_free": [0.6, 0.61, 0.6, 0.6], "one_thread": [0.81, 0.82, 0.81, 0.81]}
    assert made(equal, threads=2).verdict["kind"] == "thread-bound"  # of the others none stands out
    slower = made({**STEADY, "one_thread": [1.3, 1.2, 1.4]}, threads=2)
    assert slower.verdict["kind"] == "input-bound"
    slow = {**STEADY, "loading_free": [1.0, 1.1, 0.9], "compute_free": [0.1, 0.12, 0.11]}
    tried = made({**slow, "one_thread": [1.3, 1.2, 1.4]}, threads=2).verdict
    assert tried["advice"] == "Try a GPU"  # not one thread, which was tried
    assert "GOMP_SPINCOUNT=2000" in made(slow, threads=2).verdict["advice"]


def test_rounds_go_on_until_they_answer(
    diagnose: Callable[..., Diagnosis], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond those that were planned, as long as there is time."""
    asked: list[int] = []

    def answers(found: Diagnosis) -> bool:
        asked.append(found.rounds)
        return len(asked) > 2

    monkeypatch.setattr(Diagnosis, "is_answered", property(answers))
    monkeypatch.setattr(experiment, "MOST_STEPS", 20)
    assert diagnose(forward=3, budget_s=60.0).rounds == 4
    assert asked[:3] == [2, 3, 4]


@pytest.mark.parametrize(
    ("budget_s", "every", "rounds", "steps"),
    [(5.0, 1, 3, 2), (30.0, 1, 15, 3), (60.0, 1, 20, 5), (600.0, 1, 20, 61), (60.0, 8, 13, 8)],
)
def test_time_is_for_rounds_before_it_is_for_their_length(
    budget_s: float,
    every: int,
    rounds: int,
    steps: int,
    diagnose: Callable[..., Diagnosis],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of steps that take 40 ms three tell enough, or as many as an optimizer's step comes after;
    where there is time for most rounds, more do.
    """
    monkeypatch.setattr(experiment, "ROUNDS", ROUNDS)
    monkeypatch.setattr(experiment, "accumulated", lambda trainer: every)
    planned: list[tuple[int, int]] = []
    prepare = experiment.Experiment.prepare

    def prepared(of: experiment.Experiment) -> None:
        prepare(of)
        planned.append((of.rounds, of._steps))
        raise StopIteration  # no trial is needed

    monkeypatch.setattr(experiment.Experiment, "prepare", prepared)
    with pytest.raises(StopIteration):
        diagnose(forward=40, budget_s=budget_s)
    assert planned == [(rounds, steps)]


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_one_thread_is_tried_where_there_are_several(
    diagnose: Callable[..., Diagnosis], monkeypatch: pytest.MonkeyPatch, two_threads: None
) -> None:
    """The job's own number is back after each trial; with one there is nothing to try."""
    seen, step = set(), Module.training_step

    def training_step(module: Module, *arguments: Any) -> Any:
        seen.add(torch.get_num_threads())
        return step(module, *arguments)

    monkeypatch.setattr(Module, "training_step", training_step)
    found = diagnose(forward=3, budget_s=1.0)
    assert seen == {1, 2}
    assert torch.get_num_threads() == 2
    assert found.epoch_s("one_thread").mean == seconds(3)
    assert found.verdict["kind"] == "compute-bound"
    torch.set_num_threads(1)
    assert "one_thread" not in diagnose(forward=3).paces


def test_one_thread_that_would_take_long(
    diagnose: Callable[..., Diagnosis], monkeypatch: pytest.MonkeyPatch, two_threads: None
) -> None:
    """Is not tried beyond a look, or at all where that may take too much of the budget."""
    found = diagnose(forward=9, budget_s=0.01)
    assert "one_thread" not in found.paces
    assert "one thread instead of 2 was not tried: it may take long" in found.notes
    monkeypatch.setattr(experiment, "HOPELESS", 0.5)
    found = diagnose(forward=3, budget_s=1.0)
    assert "one_thread" not in found.paces
    assert not any("one thread" in note for note in found.notes)


def test_overlap_and_utilisation() -> None:
    """1 where both take as long as the longer one, below 0 where longer; a share of the ceiling."""
    both = made({"as_it_is": [0.6], "loading_free": [0.6], "loader_alone": [0.4]}).overlap
    assert both is not None
    assert both.mean == pytest.approx(1)
    worse = made({**NOISY, "as_it_is": [1.25] * 3, "loading_free": [0.5] * 3})
    assert worse.overlap is not None
    assert worse.overlap.mean == pytest.approx(-0.5)
    assert any("disturb each other" in sentence for sentence in worse.sentences)
    little = made({"as_it_is": [1.0], "loading_free": [1.0], "loader_alone": [0.01]})
    assert little.overlap is None  # a hundredth of the epoch tells nothing
    found = made(NOISY)
    assert found.utilisation is None
    found.flops_per_step, found.ceiling_flops_per_s = 1e9, 4e9
    assert found.utilisation == pytest.approx(0.5)
    assert any("50.00% of what a matrix product" in sentence for sentence in found.sentences)


@pytest.mark.parametrize(
    ("flops", "share", "is_beyond"), [(2e9, "100.00%", False), (3e9, "150.00%", True)]
)
def test_a_share_above_all_says_how_it_can_be(flops: float, share: str, is_beyond: bool) -> None:
    """No step computes faster than all of the machine without a word."""
    found = made(NOISY)
    found.flops_per_step, found.ceiling_flops_per_s = flops, 4e9
    (sentence,) = [each for each in found.sentences if "matrix product" in each]
    assert share in sentence
    assert ("more than all" in sentence) is is_beyond


def test_a_loop_hidden_behind_the_device_is_no_overhead() -> None:
    """On a GPU the host runs ahead, unless it is almost all of the step."""
    hidden = {**NOISY, "host_alone": [0.2] * 3, "loop_alone": [0.2] * 3}
    assert "overhead" not in made(hidden, on_gpu=True).gains
    assert made(hidden).gains["overhead"].mean == pytest.approx(2)
    shown = {**hidden, "host_alone": [0.48] * 3}
    assert made(shown, on_gpu=True).gains["overhead"].mean == pytest.approx(2)


def of(step_s: float, wait_s: float, alone_s: float, **settings: Any) -> Diagnosis:
    """A job whose steps take and wait so long, on a CPU of two cores."""
    values = [step_s - 0.001, step_s, step_s + 0.001]
    rounds = {"as_it_is": values, "loading_free": values, "loader_alone": [alone_s] * 3}
    return made(rounds, wait_s=wait_s, cores=2, **settings)


def test_faster_and_slower_are_reversed_with_the_numbers() -> None:
    """The same two jobs, in either order; differences within the noise are none."""
    slow, fast = of(1.0, 0.5, 0.5), of(0.4, 0.1, 0.1)
    forth, back = compare(slow, fast, ("A", "B")), compare(fast, slow, ("B", "A"))
    assert "B waits 4.00 ± 0.00 s less for data than A" in forth
    assert "A waits 4.00 ± 0.00 s longer for data than B" in back
    for told in (forth, back):
        assert told[0].startswith("B is faster: an epoch takes 4.0")
        assert re.search(r"the loader alone is 5[.0]* times as fast with B as with A", told[-1])
    one, other = of(1.0, 0.5, 0.5), made({"as_it_is": [1.01, 0.9, 1.1], "loader_alone": [0.5] * 3})
    told = compare(one, other, ("A", "B"))
    assert told[0].startswith("A and B cannot be told apart: an epoch takes 10.0")
    assert "faster:" not in " ".join(told)


def test_a_rest_is_told_apart_by_what_the_same_work_twice_differs_by() -> None:
    """Else it would be, where the whole is not; and it names what it is apart from."""
    rest = {"as_it_is": [1.0, 1.0, 1.0], "loader_alone": [0.1] * 3}
    less = {"as_it_is": [0.9, 0.9, 0.9], "loader_alone": [0.1] * 3}
    (_, told, _) = compare(made(rest), made(less), ("A", "B"))
    assert re.fullmatch(r"apart from waiting for data B takes 1.00 ± 0.00 s less than A", told)
    noisy = {"as_it_is_again": [1.2, 1.2, 1.2]}
    (first, second) = compare(made(rest | noisy), made(less), ("A", "B"))
    assert "cannot be told apart" in first
    assert second.startswith("the loaders alone cannot be told apart: ")


def test_waiting_less_and_the_rest_longer() -> None:
    """What loaders in other processes save, they take from training on the same cores."""
    slow, fast = (1.0, 0.5, 0.5), (0.9, 0.1, 0.3)
    told = compare(of(*slow, num_workers=0), of(*fast, num_workers=2), ("0 workers", "2 workers"))
    assert any("2 workers waits" in one and "less for data" in one for one in told)
    assert any("apart from that 2 workers takes" in one and "longer than" in one for one in told)
    assert any("likely share the 2 cores" in one for one in told)
    alike = compare(of(*slow), of(*fast), ("batch of 8", "batch of 16"))
    assert not any("share" in one for one in alike)


@dataclass(eq=False)
class Endless(torch.utils.data.IterableDataset[torch.Tensor]):
    delays: Kept

    def __iter__(self) -> Iterator[torch.Tensor]:
        while True:
            self.delays.at("dataset")
            yield torch.zeros(4)


def test_data_that_never_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its pace is that of a thousand steps, in place of an epoch."""
    clock = VirtualClock().install(monkeypatch)
    slow = Kept(("dataset",), clock.spend)
    fitting = delays.trainer(slow, tmp_path, [], max_steps=50, max_epochs=-1)
    data = DataLoader(Endless(slow), batch_size=2)
    found = experiment.diagnose(fitting, Module(slow), data, 0.01, lambda line: None)
    assert found.epoch_steps is None
    assert found.epoch_s("as_it_is").mean == pytest.approx(1000 * 2 * slow.ns["dataset"] / 1e9)
    assert found.verdict["kind"] == "input-bound"
    assert "1,000 steps" in found.lines[0]
    assert "1,000 steps take" in found.verdict["evidence"]
