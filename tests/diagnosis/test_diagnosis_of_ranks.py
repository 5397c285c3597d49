"""Several ranks diagnosed in step: which one is late, in what, and what their talking costs."""

import itertools
import json
import os
import socket
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers.configurations import TESTS
from helpers.programs import Program
from helpers.ranks import PlantedSubject, diagnosed_in_threads, in_threads

from hpml.diagnosis import experiment, measured_trials
from hpml.diagnosis.experiment import Experiment
from hpml.errors import FailedElsewhereError
from hpml.system.interference import Interference
from hpml.timing.advice import JobFacts
from hpml.trials.intervention import Intervention
from hpml.trials.job_loader import JobLoader, Loading

EVEN = {"input": 2.0, "transfer": 1.0, "compute": 8.0, "overhead": 1.0}
DOES = {"input": "loading", "transfer": "transfer", "compute": "computing"}
DOES |= {"overhead": "callbacks and hooks"}


@pytest.fixture(autouse=True)
def _simulated(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that runs, but moves each rank by another second; nobody else on the machine."""
    seconds = itertools.count()
    monkeypatch.setattr(time, "perf_counter_ns", lambda: next(seconds) * 10**8)
    monkeypatch.setattr(experiment, "flops_per_step", lambda subject, notes: None)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr(experiment, "take_apart_if_waiting", lambda *given: None)
    alone = Interference(1.0, 1.0)
    monkeypatch.setattr(
        measured_trials, "watched", lambda *given: lambda measure: (measure(), given[2](alone)[0])
    )


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("cause", EVEN)
def test_the_late_rank_and_what_it_is_late_in(cause: str, ranks: int) -> None:
    """The first one or the last one, by 11 ms a step; all ranks find the same."""
    for late in (0, ranks - 1):
        costs = [dict(EVEN) for _ in range(ranks)]
        costs[late][cause] += 11
        (subject, found), *others = diagnosed_in_threads(costs)
        assert found.verdict["kind"] == "imbalance"
        whole_s, rest_s = (12 + 11) * 0.1, (12 - EVEN[cause]) * 0.1
        assert found.verdict["evidence"] == (
            f"rank {late} on node{late} takes {whole_s:.2f} ± 0.00 s an epoch by itself, 1.10 ± "
            f"0.00 s more than the others, which wait for it; with {DOES[cause]} free there it "
            f"takes {rest_s:.{3 if rest_s < 1 else 2}f} ± {0:.{3 if rest_s < 1 else 2}f} s"
        )
        kept = json.loads(json.dumps(found.as_dict()))["ranks"]
        assert kept["late"]["rank"] == late
        assert kept["late"]["host"] == f"node{late}"
        saved_s = kept["saved_s"][cause]
        assert saved_s[late] == pytest.approx((EVEN[cause] + 11) * 0.1)
        assert saved_s[late - 1] == pytest.approx(EVEN[cause] * 0.1)
        for other, same in others:
            assert other.tried == subject.tried
            assert same.verdict == found.verdict


def test_a_slow_link_is_what_goes_with_communication_free() -> None:
    """Exactly; ranks that are alike are not tried one by one, and none of them is late."""
    (_, found), _ = diagnosed_in_threads([dict(EVEN), dict(EVEN)], link=30)
    assert found.verdict["kind"] == "communication-bound"
    assert found.verdict["evidence"] == (
        "with communication free an epoch takes 1.20 ± 0.00 s instead of 4.20 ± 0.00 s"
    )
    assert found.gains["communication"].mean == pytest.approx(3.0)
    assert found.late is None
    assert found.rank_rows[0] == ("by itself, nothing exchanged", "an epoch")


def test_what_all_have_in_common_goes_before_a_rank_that_is_late_by_less() -> None:
    """A slow link, and slow loading everywhere; computing is what a training is for."""
    costs = [dict(EVEN), EVEN | {"compute": 12.0}]
    verdicts = {
        link: diagnosed_in_threads(costs, link)[0][1].verdict["kind"] for link in (3.0, 30.0)
    }
    assert verdicts == {3.0: "imbalance", 30.0: "communication-bound"}
    loading = [each | {"input": 40.0} for each in costs]
    assert diagnosed_in_threads(loading)[0][1].verdict["kind"] == "input-bound"
    computing = [each | {"compute": each["compute"] + 40.0} for each in costs]
    assert diagnosed_in_threads(computing)[0][1].verdict["kind"] == "imbalance"


def test_ranks_whose_clocks_differ_stop_together() -> None:
    """The first one's clock decides, whatever the others would."""
    tried: list[Any] = in_threads(
        2, lambda agreement: agreement.decided(lambda own: own)(agreement.rank == 0)
    )
    assert tried == [True, True]


def test_a_callback_of_one_rank_alone_is_tried_by_all() -> None:
    """They run the same trials; it is left out where it is, and nothing elsewhere."""

    def work(agreement: Any) -> Any:
        subject: Any = PlantedSubject(agreement, [dict(EVEN), dict(EVEN)])
        subject.has_hooks = agreement.rank == 0
        subject.callback_names = ["Everywhere", *(["Sleeper"] if agreement.rank == 0 else [])]
        experiment.run([Experiment(subject, JobFacts(), 30.0, lambda line: None)])
        return subject.tried

    first, second = in_threads(2, work)
    assert first == second
    left_out = {each[0].without for each in first if isinstance(each[0], Intervention)}
    assert left_out == {None, "Everywhere", "Sleeper"}


def test_an_epoch_is_as_long_as_the_shortest_ranks() -> None:
    """From when loaders were made; ranks of one length have nothing to be told."""

    def work(agreement: Any) -> Any:
        loaders = JobLoader()
        loaders.agreement, loaders.notes = agreement, []
        loaders.data = SimpleNamespace(epoch_steps=lengths[agreement.rank])  # type: ignore[assignment]
        assert loaders.tried(lambda: agreement.rank) == [0, 1]
        return loaders.epoch_steps, loaders.notes

    lengths: list[int | None] = [40, 1000]
    said = ["an epoch of the ranks has 40 to 1,000 batches: the shortest counts"]
    assert in_threads(2, work) == [(40, said)] * 2
    lengths = [40, 40]
    assert in_threads(2, work) == [(40, [])] * 2
    lengths = [None, None]
    assert in_threads(2, work) == [(None, [])] * 2


def test_a_trial_that_fails_on_one_rank_fails_on_all() -> None:
    """With its own error there; elsewhere it is said where, and why."""

    def work(agreement: Any) -> Any:
        try:
            return agreement.tried(lambda: 1 // agreement.rank)
        except Exception as error:
            return error

    first, second = in_threads(2, work)
    assert isinstance(first, ZeroDivisionError)
    assert isinstance(second, FailedElsewhereError)
    assert str(second).startswith("rank 0 on node0: ZeroDivisionError: ")


def test_an_optional_trial_that_fails_on_one_rank_is_dropped_by_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They go on in step."""
    fit = PlantedSubject.fit

    def failing(subject: PlantedSubject, intervention: Any, *words: Any, **more: Any) -> Any:
        if intervention.compute and not intervention.loading:
            subject.agreement.tried(lambda: 1 // subject.agreement.rank)
        return fit(subject, intervention, *words, **more)

    monkeypatch.setattr(PlantedSubject, "fit", failing)
    (subject, found), (other, _) = diagnosed_in_threads([dict(EVEN), dict(EVEN)])
    assert "compute_free" not in found.paces
    assert any(note.startswith("the trial with computing free could") for note in found.notes)
    assert other.tried == subject.tried


# A Trainer of two processes that Lightning starts, diagnosed and then fitted.
SCRIPT = """
import json, os, sys
from pathlib import Path
import torch, lightning as L
torch.set_num_threads(1)
import hpml
from helpers.jobs import Convolutional, trainer, Images
from torch.utils.data import DataLoader
from hpml.diagnosis import experiment
from hpml.trials.subject import Subject
experiment.ROUNDS, experiment.MOST_STEPS = (1,), 4
experiment.flops_per_step = lambda subject, notes: None
tried, fit = [], Subject.fit
def noted(subject, intervention, warm_up, measured, seed, **more):
    tried.append([str(intervention), warm_up, measured, seed])
    pace = fit(subject, intervention, warm_up, measured, seed, **more)
    tried.append(pace.step_s)
    return pace
Subject.fit = noted
torch.manual_seed(0)
module, loader = Convolutional(4), DataLoader(Images(32), batch_size=4, shuffle=True)
before = {name: value.clone() for name, value in module.state_dict().items()}
state = torch.get_rng_state()
fitting = trainer(Path("fit"), devices=2, strategy="ddp")
found = hpml.diagnose(fitting, module, loader, budget_s=0.1)
groups = len(torch.distributed.distributed_c10d._world.pg_map)
same = all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
same = same and torch.equal(state, torch.get_rng_state())
fitting.fit(module, loader)
kept = {"tried": tried, "same": same, "steps": fitting.global_step, "found": found.as_dict()}
kept["groups"] = groups
Path(f"rank{fitting.global_rank}.json").write_text(json.dumps(kept))
torch.distributed.destroy_process_group()
"""


def test_two_processes_try_the_same_and_get_the_same(tmp_path: Path) -> None:
    """What was given is left alone, samples are shared out, and the Trainer fits afterwards.

    In its own group of processes, for that in which they agreed is over.
    """
    (tmp_path / "script.py").write_text(SCRIPT)
    program = Program(["script.py"], tmp_path, {"PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}"})
    _, stderr = program.communicate(timeout=120)
    assert program.returncode == 0, stderr
    first, second = (json.loads((tmp_path / f"rank{n}.json").read_text()) for n in (0, 1))
    assert first["tried"] == second["tried"]
    assert first["groups"] == second["groups"] == 1
    assert (first["same"], first["steps"]) == (second["same"], second["steps"]) == (True, 4)
    for key in ("paces", "ranks", "epoch_steps"):
        assert first["found"][key] == second["found"][key]
    assert first["found"]["epoch_steps"] == 4
    trials = {"communication_free", "compute_free", "loading_free", "loader_alone"}
    assert trials <= first["found"]["paces"].keys()
    hosts = [place["host"] for place in first["found"]["ranks"]["places"]]
    assert hosts == [socket.gethostname()] * 2


def test_ranks_whose_loaders_differ_decide_by_the_first_ones() -> None:
    """How long their trials are, and what is gained: workers of one rank alone are no deadlock."""

    def work(agreement: Any) -> Any:
        subject: Any = PlantedSubject(agreement, [EVEN | {"input": 40.0}] * 2)
        workers = 3 * (agreement.rank == 0)
        subject.data = SimpleNamespace(num_workers=workers)
        subject.loading = lambda: Loading(3, 6, False)
        given = subject, JobFacts(num_workers=workers), 30.0, lambda line: None
        (found,) = experiment.run([Experiment(*given)])
        return subject.tried, found.facts, found.gains

    first, second = in_threads(2, work)
    assert first == second
    assert first[1].num_workers == 3
