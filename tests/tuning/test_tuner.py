"""Tuning a whole job: what is refused, what is left as it was, what alters a training."""

import gc
import os
import signal
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from helpers.configurations import QUICK, composed
from helpers.jobs import Convolutional, Images, Job, trainer
from helpers.snapshots import everything
from omegaconf import open_dict
from torch import Tensor
from torch.utils.data import DataLoader

import hpml
from hpml.diagnosis import experiment
from hpml.errors import UserError
from hpml.records.phases import OVERHEAD
from hpml.trials.pace import Pace, Timed
from hpml.trials.settings import Settings
from hpml.trials.subject import Subject
from hpml.tuning import checks, trials_with_changes, tuner
from hpml.tuning.answer import Tuning
from hpml.tuning.change import Change, Changes
from hpml.tuning.changes import any_trainer
from hpml.tuning.tuner import Tuner, tune

FAST = Change(
    "faster", frozenset({"callback Slow"}), frozenset({OVERHEAD}),
    settings=Settings(rests=frozenset({"Slow"})),
)  # fmt: skip


class Slow(L.Callback):
    """Costs nothing here: what a trial takes is made up."""

    def on_train_batch_end(self, *_: Any) -> None:
        pass


class Halved(trials_with_changes.Trials):
    """Real fits of two steps; each change halves the time that is told: three times that, whole."""

    def __call__(self, changes: Changes, times: float = 1.0) -> Any:
        def measure(number: int) -> Timed:
            subject, intervention = self._job.with_changes(changes)
            pace = subject.fit(intervention, 0, 2, seed=number)
            return Timed(times * 0.5 ** len(changes) + number / 1e4, pace)

        return measure

    def whole(self, changes: Changes) -> Any:
        return self(changes, times=3.0)


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(experiment, "ROUNDS", (1,))
    monkeypatch.setattr(experiment, "flops_per_step", lambda subject, notes: None)
    monkeypatch.setattr(tuner, "DIAGNOSIS_SHARE", 1e-4)
    monkeypatch.setattr(tuner, "LEAST_TRIAL_S", 0.0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def small(folder: Path, module: Any = None, **settings: Any) -> Job:
    loader: Any = DataLoader(Images(64), 8)
    return trainer(folder, **settings), module or Convolutional(2), loader


def tuned(given: Job, *changes: Change, budget_s: float = 300.0, **more: Any) -> Tuning:
    """With these changes on offer."""
    subject = Subject(*given)
    own = Tuner(
        subject,
        trials_with_changes.Foreign(subject),
        lambda: list(changes),
        budget_s,
        lambda line: None,
        **more,
    )
    try:
        return own.run()
    finally:
        own.close()


def test_what_helps_is_recommended_and_all_is_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A callback that is called less often; weights, Trainer, loaders and random states."""
    monkeypatch.setattr(tuner, "Trials", Halved)
    given = small(tmp_path, callbacks=[Slow()])
    before = everything(given, tmp_path)
    found = tuned(given, FAST)
    gc.collect()
    after = everything(given, tmp_path)
    assert not {key for key, was in before.items() if was != after[key]}
    assert found.changes == [FAST]
    assert found.before_s == pytest.approx(3.0, rel=0.01)  # what is claimed is of whole epochs
    assert found.same[FAST].kind == "equal"


def test_a_change_that_alters_the_training_is_told_and_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though it is the fastest; it is taken where it is asked for by name."""
    monkeypatch.setattr(tuner, "Trials", Halved)

    class Halving(Slow):
        """Its work is part of the training."""

        def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
            for weights in module.parameters():
                weights.data.mul_(0.5)

    Halving.__name__ = "Slow"
    found = tuned(small(tmp_path, callbacks=[Halving()]), FAST)
    assert found.changes == []
    assert "computes something else: different" in found.skipped[FAST]
    assert any("not taken: faster" in sentence for sentence in found.sentences)
    another = replace(FAST, name="another", only_asked=True)
    unasked = tuned(small(tmp_path), another)
    assert (unasked.search.changes, unasked.skipped) == ([], {})  # never tried
    by_slot = tuned(small(tmp_path), another, also=frozenset({"callback Slow"}))
    assert by_slot.search.changes == [another]
    asked = tuned(small(tmp_path, callbacks=[Halving()]), FAST, also=frozenset({"faster"}))
    assert asked.changes == [FAST]
    assert asked.rows[0][3].startswith("different")


def test_rounds_of_an_earlier_search_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the job as it is and of each change; new ones follow them."""
    monkeypatch.setattr(tuner, "Trials", Halved)
    pace = Pace(0.1, 0.0, None)
    earlier = {
        name: {number: Timed(seconds + number / 1e4, pace) for number in range(6)}
        for name, seconds in {"": 1.0, "faster": 0.5}.items()
    }
    found = tuned(small(tmp_path, callbacks=[Slow()]), FAST, earlier=lambda: earlier)
    own = found.search.measured.by_name[frozenset({FAST})]
    assert {number: own[number] for number in range(6)} == earlier["faster"]
    assert len(own) > 8
    assert found.search.alone[FAST].n == len(own)


def test_a_trainers_search_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From what was kept of it; another job, and what is no search, are refused in one line."""
    monkeypatch.setattr(checks, "LEAST_BUDGET_S", 0.001)
    settings: Any = {"budget_s": 0.002, "also": (), "report": lambda line: None}
    first = tune(*small(tmp_path), **settings)
    file = tmp_path / "tune.json"
    first.write(file)
    with pytest.raises(UserError, match=r"none/tune.json: No such file"):
        first.write(tmp_path / "none" / "tune.json")
    second = tune(*small(tmp_path), **settings, resume=file)
    assert sorted(second.search.measured.by_name[frozenset()]) == [0, 1]
    with pytest.raises(UserError, match=r"^resume=.*: is of another job \(parameters\)"):
        tune(*small(tmp_path, Convolutional(3)), **settings, resume=file)
    with pytest.raises(UserError, match=r"^resume=.*: is no search that can be resumed"):
        tune(*small(tmp_path), **settings, resume=tmp_path / "none.json")


def test_a_change_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its own error; the others are found."""
    monkeypatch.setattr(tuner, "Trials", Halved)
    broken = Settings(flags=("no such flag",))
    bad = Change("bad", frozenset({"bad"}), frozenset({"input"}), settings=broken)
    found = tuned(small(tmp_path, callbacks=[Slow()]), FAST, bad)
    assert found.changes == [FAST]
    assert found.skipped[bad].startswith("could not be tried (")
    assert bad not in found.search.alone


class Interrupting(Convolutional):
    """Ctrl-C is typed in one of its steps."""

    steps = 0

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        Interrupting.steps += 1
        if Interrupting.steps == self.last:
            os.kill(os.getpid(), signal.SIGINT)
        return super().training_step(batch, batch_idx)

    last = 10**9


def test_ctrl_c_within_a_fit_gives_the_answer_so_far(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a later one still interrupts: Lightning's own answer is to end the process."""
    made = trials_with_changes.Trials.__call__

    def trial(trials: Any, changes: Any) -> Any:
        Interrupting.last = Interrupting.steps + 2
        return made(trials, changes)

    monkeypatch.setattr(trials_with_changes.Trials, "__call__", trial)
    handler = signal.getsignal(signal.SIGINT)
    found = tuned(small(tmp_path, Interrupting(2), callbacks=[Slow()]), FAST)
    assert found.search.was_interrupted
    assert found.sentence.startswith("not answered")
    assert "no change is proven yet" in found.sentence
    assert signal.getsignal(signal.SIGINT) is handler


def test_too_short_a_budget_is_no_answer(tmp_path: Path) -> None:
    """Where not even one race fits in, it says what would be enough, and what was left out."""
    found = tuned(small(tmp_path, callbacks=[Slow()]), FAST, budget_s=0.01)
    assert found.sentence.startswith("not answered: epoch")
    assert "0.01 s were too short for 4 rounds of trials" in found.sentence
    assert "give budget_s=30" in found.sentence
    assert found.skipped[FAST] == "there was no time for it"


class Failing(Convolutional):
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied\nand so on")


def test_wrong_input_is_told_in_one_line(tmp_path: Path) -> None:
    """Before anything is measured."""
    refused = {
        r"the training fails in its first step: RuntimeError: mat1 and mat2 shapes cannot be "
        r"multiplied in Failing.training_step \(test_tuner.py:\d+\)$": (
            small(tmp_path, Failing()), {},
        ),
        "also: 'num_worker=2' is no change of this job; there are .*num_workers=1": (
            small(tmp_path), {"also": ["num_worker=2"]},
        ),
        r"budget_s=5: is too short to compare changes; give 20": (
            small(tmp_path), {"budget_s": 5},
        ),
        "budget_s=True: give seconds": (small(tmp_path), {"budget_s": True}),
        "budget_s=inf: give seconds": (small(tmp_path), {"budget_s": float("inf")}),
        "iterator, which gives its batches once": (
            (*small(tmp_path)[:2], iter(small(tmp_path)[2])), {},
        ),
        "also='compile': give a list of names": (small(tmp_path), {"also": "compile"}),
    }  # fmt: skip
    for message, (given, settings) in refused.items():
        arguments: dict[str, Any] = {"budget_s": 20.0, "also": (), "report": print} | settings
        with pytest.raises(UserError, match=message) as error:
            tune(*given, **arguments)
        assert "\n" not in str(error.value)


def test_hpml_tune_offers_what_the_job_may_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From Python, on a Trainer of anybody's."""
    monkeypatch.setattr(checks, "LEAST_BUDGET_S", 0.001)
    monkeypatch.setattr(any_trainer, "usable_cores", lambda: 2)
    found = hpml.tune(*small(tmp_path), budget_s=0.002)
    tried = {change.name for change in (*found.skipped, *found.search.changes)}
    assert {"num_workers=1", "num_workers=2", "threads=2", "channels_last", "fused"} <= tried


def test_other_ranks_are_no_other_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who looks for others knows what is the job's own; under torchrun too, once all have begun."""
    told: list[Any] = []
    monkeypatch.setattr(tuner, "warn_of_others", told.append)
    monkeypatch.setattr(Tuner, "run", lambda self: self.subject.witness)
    assert tune(*small(tmp_path), 30.0, (), print) is told.pop()
    cfg = composed(tmp_path, *QUICK)
    with open_dict(cfg):
        cfg.tune = {"also": None, "budget_s": 30}
    for is_one in (True, False):
        monkeypatch.setattr(tuner.environment, "is_one_of_several", lambda is_one=is_one: is_one)
        with closing(tuner.tuner_of(cfg, [], print)) as own:
            assert told == [own.subject.witness] * is_one
        told.clear()


def test_loaders_of_validation_are_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `fit` takes them beside loaders for training."""
    given: list[Any] = []
    monkeypatch.setattr(tuner, "tune", lambda *words, **named: given.extend(words))
    fitting, module, loader, checked = (object() for _ in range(4))
    hpml.tune(fitting, module, loader, 9.0, val_dataloaders=checked)  # type: ignore[arg-type]
    assert given == [fitting, module, loader, 9.0, (), print, checked, None]
