"""What a whole epoch takes by a short fit, on a virtual clock: with all that comes once in it."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.configurations import QUICK, composed
from helpers.delays import Delays, Module, Planted, VirtualClock, loaders
from helpers.jobs import trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from hpml.training.prepare import prepare
from hpml.trials import subject as subjects
from hpml.trials.agreement import Agreement
from hpml.trials.intervention import Intervention
from hpml.trials.job_loader import Loading
from hpml.trials.pace import Timed
from hpml.trials.settings import Settings
from hpml.trials.subject import Subject, subject_of
from hpml.trials.validation import Validating, validation_of
from hpml.tuning import epoch_trials
from hpml.tuning.epoch_trials import Saving, timed_fit, whole_fit

STEPS, NS = 20, 1_000_003
LENGTHS = {"a part of it": (2, 5), "once": (2, 12), "more than once": (2, 60)}
# By place, in NS; of two validation batches of two samples, and a checkpoint with its hook.
ONCE = {"callback_epoch_start": 5, "callback_epoch_end": 7, "module_epoch_end": 3}
LOADED, SAVED = {"loader_iter": 30}, {"checkpoint_hook": 11}
VALIDATED = {"val_step": 4, "callback_val_end": 13}
Made = Callable[..., Subject]


class Kept(Delays):
    """Copies of what holds it move the same clock."""

    def __deepcopy__(self, memo: Any) -> "Kept":
        return self


class Failing(Module):
    """Wants what only a validation has, at an epoch's end."""

    def on_train_epoch_end(self) -> None:
        self.trainer.callback_metrics["val/loss"]


@pytest.fixture
def subject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    """Of a job with delays of so many times NS in its places."""
    clock = VirtualClock().install(monkeypatch)

    def made(times: dict[str, int], module: Any = Module, batches: int = STEPS) -> Subject:
        delays = Kept(tuple(times), clock.spend)
        delays.ns = {place: count * NS for place, count in times.items()}
        saving = ModelCheckpoint(tmp_path / "checkpoints")
        settings: dict[str, Any] = {"callbacks": [Planted(delays), saving], "max_epochs": 9}
        settings |= {"enable_checkpointing": True, "limit_val_batches": 1.0}
        data, _ = loaders(delays, batches=batches)
        return Subject(trainer(tmp_path, **settings), module(delays), data)

    return made


def seconds(count: float) -> Any:
    return pytest.approx(count * NS / 1e9, rel=1e-9)


def fitted(subject: Subject, lengths: tuple[int, int], **given: Any) -> Timed:
    return whole_fit(subject, Intervention(), subject.loading(), lengths, 0, **given)


@pytest.mark.parametrize("name", LENGTHS)
def test_what_comes_once_is_in_it(name: str, subject: Made, tmp_path: Path) -> None:
    """However much of an epoch is trained: its ends, its loader's start, a checkpoint."""
    found = fitted(subject({"forward": 2} | ONCE | LOADED | SAVED), LENGTHS[name])
    assert (found.once_s, found.saved_s) == (seconds(15 + 30 + 11), seconds(11))
    assert found.epoch_s == seconds(2 * STEPS + 15 + 30 + 11)
    assert (found.checks_s, found.left_out) == (0.0, "")
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize("lengths", LENGTHS.values())
def test_what_a_trial_does_besides_is_not_in_it(
    lengths: tuple[int, int], subject: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copies of batches and a look at the workers, however many epochs are trained."""
    made = subject({"forward": 2} | ONCE | LOADED)
    spend = made.network.delays.spend  # type: ignore[union-attr]

    def work(batch: Any = None) -> Any:
        spend(100 * NS)  # type: ignore[operator]
        return batch

    monkeypatch.setattr(subjects, "copy_of", work)
    made._writes_into_data, made._look = True, work  # type: ignore[method-assign]
    found = fitted(made, lengths)
    assert (found.epoch_s, found.once_s) == (seconds(2 * STEPS + 15 + 30), seconds(15 + 30))


def test_by_its_steps_an_epoch_has_none_of_it(subject: Made) -> None:
    """So it is in a race, where what comes once would only hide what differs."""
    made = subject({"forward": 2} | ONCE | LOADED | SAVED)
    found = timed_fit(made, Intervention(), made.loading(), (2, 5), 0)
    assert found == Timed(seconds(2 * STEPS), found.pace)


def test_the_start_of_workers_that_persist_is_in_it_once(subject: Made) -> None:
    """By its steps too, where an epoch begins among those that are measured; else it stays out."""
    made, persist = subject({"forward": 2} | ONCE | LOADED), Loading(1, 2, starts_anew=False)
    made.loading()
    for length, start in {"a part of it": 0, "once": 30, "more than once": 30}.items():
        whole = whole_fit(made, Intervention(), persist, LENGTHS[length], 0)
        assert whole.epoch_s == seconds(2 * STEPS + 15 + start)
        assert whole.once_s == seconds(15)
    for lengths, start in {(2, 5): 0, (2, 60): 30}.items():
        found = timed_fit(made, Intervention(), persist, lengths, 0)
        assert found.epoch_s == seconds(2 * STEPS + start)


@pytest.mark.parametrize("batches", [1, 2])
def test_an_epoch_of_a_single_step_is_one(batches: int, subject: Made) -> None:
    """Its ends are more than the step itself."""
    found = fitted(subject({"forward": 2} | ONCE, batches=batches), (2, 4))
    assert found.epoch_s == seconds(2 * batches + 15)


class Twice(Agreement):
    """Of two ranks that do, and see, the same."""

    def __init__(self) -> None:
        self.places = [{}, {}]

    def every(self, own: Any) -> list[Any]:
        return [own, own]

    def tried(self, work: Any) -> list[Any]:
        return [work()] * 2


def test_several_ranks_train_no_second_epoch(subject: Made) -> None:
    """One that fails at the first one's end would leave the others in it; the epoch is as long."""
    made = subject({"forward": 2} | ONCE | LOADED | SAVED)
    made.agreement, (warm_up, measured) = Twice(), LENGTHS["once"]
    found = fitted(made, (warm_up, measured))
    assert made.network.delays.calls["forward"] == warm_up + measured + 1  # type: ignore[union-attr]
    assert found.epoch_s == seconds(2 * STEPS + 15 + 30 + 11)
    assert found.left_out == ""


class Once(Module):
    """Its second epoch wants what only a validation has."""

    def on_train_batch_start(self, *_: Any) -> None:
        assert self.trainer.current_epoch == 0, "no validation"


def test_a_later_epoch_that_fails_is_told(subject: Made) -> None:
    """As an end that fails is."""
    found = fitted(subject({"forward": 2} | ONCE, Once), LENGTHS["once"])
    assert found.left_out == "whole epochs cannot be tried (AssertionError: no validation)"
    assert (found.epoch_s, found.once_s) == (seconds(2 * STEPS), 0.0)


@pytest.mark.parametrize("lengths", LENGTHS.values())
def test_ends_that_fail_in_a_trial_are_told(lengths: tuple[int, int], subject: Made) -> None:
    """Then it is the time of the steps."""
    found = fitted(subject({"forward": 2} | ONCE, Failing), lengths)
    assert found.left_out == "whole epochs cannot be tried (KeyError: 'val/loss')"
    assert (found.epoch_s, found.once_s) == (seconds(2 * STEPS), 0.0)


def test_a_checkpoint_that_would_fill_the_disk_is_told(
    subject: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And none is written."""
    monkeypatch.setattr(epoch_trials, "OF_DISK", 0.0)
    found = fitted(subject({"forward": 2} | SAVED), (2, 5))
    assert found.left_out.startswith("a checkpoint could not be tried (OSError: it would fill")
    assert found.epoch_s == seconds(2 * STEPS)


def test_validation_is_in_it_with_its_ends(subject: Made, tmp_path: Path) -> None:
    """Of batches the pace, of the rest what it took; callbacks' hooks are not in a trial of it."""
    made = subject({"forward": 2} | VALIDATED)
    _, checked = loaders(made.network.delays)  # type: ignore[arg-type]
    made.fit(Intervention(), 0, 1, seed=0)
    seen = validation_of(made, checked)
    assert seen is not None
    assert (seen.batch_s, seen.once_s) == (seconds(4), seconds(0))
    found = fitted(made, (2, 5), validating=Validating(checked, 2))
    assert found.checks_s == seconds(8)
    assert found.epoch_s == seconds(2 * STEPS + 8)


class Loaded(Module):
    """Its validation has a start and an end that take their time."""

    def on_validation_epoch_start(self) -> None:
        self.delays.spend(17 * NS)

    def on_validation_epoch_end(self) -> None:
        self.delays.spend(3 * NS)


def test_a_checks_own_ends_are_a_part_of_it(subject: Made) -> None:
    """Once, whatever the number of batches."""
    made = subject({"val_step": 4}, Loaded)
    _, checked = loaders(made.network.delays)  # type: ignore[arg-type]
    made.fit(Intervention(), 0, 1, seed=0)
    seen = validation_of(made, checked)
    assert seen is not None
    assert (seen.once_s, seen.check_s) == (seconds(20), seconds(2 * 4 + 20))


class Persistent:
    """A loader of five batches whose processes, made up, take their time to start."""

    persistent_workers = True

    def __init__(self, delays: Any) -> None:
        self.delays = delays

    def __len__(self) -> int:
        return 5

    def __iter__(self) -> Any:
        self.delays.spend(500 * NS)
        yield from torch.zeros(5, 2, 4)


@pytest.mark.parametrize("persists", [True, False])
def test_workers_that_persist_start_at_no_check(persists: bool, subject: Made) -> None:
    """A fit starts them once, a trial at each look; others start at each check of a fit too."""
    made = subject({"val_step": 4}, Loaded)
    checked = Persistent(made.network.delays)
    checked.persistent_workers = persists
    made.fit(Intervention(), 0, 1, seed=0)
    seen = validation_of(made, checked)
    assert seen is not None
    assert seen.check_s == seconds(5 * 4 + (3 if persists else 500 + 20))


SAVING: dict[str, tuple[dict[str, Any], float]] = {
    "each epoch": ({}, 1.0),
    "with a last one": ({"save_last": True}, 2.0),
    "that is a link": ({"save_last": "link"}, 1.0),
    "every fourth": ({"every_n_epochs": 4}, 0.25),
    "by steps": ({"every_n_train_steps": 5}, 4.0),
    "by the clock": ({"train_time_interval": timedelta(1)}, 0.0),
    "the last alone": ({"save_top_k": 0, "save_last": True}, 0.0),
}


@pytest.mark.parametrize("name", SAVING)
def test_how_many_checkpoints_an_epoch_writes(name: str, tmp_path: Path) -> None:
    """By the arguments of each ModelCheckpoint, if all are better than those before."""
    settings, times = SAVING[name]
    one, other = ModelCheckpoint(tmp_path, **settings), ModelCheckpoint(tmp_path, monitor="loss")
    given = trainer(tmp_path, callbacks=[one], enable_checkpointing=True)
    assert Saving.of(given, STEPS).times == times
    more = trainer(tmp_path, callbacks=[one, other], enable_checkpointing=True)
    assert Saving.of(more, STEPS).times == times + 1
    assert Saving.of(trainer(tmp_path), STEPS).times == 0


# Of 20 steps: of ModelCheckpoint, of the Trainer, of a change, is there validation; files.
CHECKED: dict[str, tuple[dict[str, Any], dict[str, Any], Settings, bool, float]] = {
    "every fifth": ({}, {"check_val_every_n_epoch": 5}, Settings(), True, 0.2),
    "by a change": ({}, {}, Settings(check_every=5), True, 0.2),
    "and no more than that": ({"every_n_epochs": 2}, {}, Settings(check_every=5), True, 0.1),
    "four in an epoch": ({}, {"val_check_interval": 0.25}, Settings(), True, 4.0),
    "at every eighth batch": ({}, {"val_check_interval": 8}, Settings(), True, 2.0),
    "whatever the epoch": (
        {}, {"val_check_interval": 8, "check_val_every_n_epoch": None}, Settings(), True, 2.5,
    ),
    "by the clock": (
        {}, {"val_check_interval": "00:01:00:00"}, Settings(), True, 0.0,
    ),
    "none in an epoch": ({}, {"val_check_interval": 0.25}, Settings(), False, 1.0),
    "none ever": ({}, {"check_val_every_n_epoch": 5}, Settings(), False, 0.0),
    "at an epoch's end all the same": (
        {"save_on_train_epoch_end": True}, {}, Settings(check_every=5), True, 1.0,
    ),
    "at validation's end": ({"save_on_train_epoch_end": False}, {}, Settings(), True, 1.0),
    "by fewer steps": ({"every_n_train_steps": 5}, {}, Settings(accumulate=2), True, 2.0),
}  # fmt: skip


@pytest.mark.parametrize("name", CHECKED)
def test_checkpoints_that_wait_for_a_validation_come_with_it(name: str, tmp_path: Path) -> None:
    """As Lightning has it where this is not at the end of each epoch."""
    own, given, settings, is_validated, times = CHECKED[name]
    saving = ModelCheckpoint(tmp_path, **own)
    of = trainer(tmp_path, callbacks=[saving], enable_checkpointing=True, **given)
    assert Saving.of(of, STEPS, settings, is_validated).times == pytest.approx(times)


def test_of_a_configuration_its_own_checkpoints_are_counted(tmp_path: Path) -> None:
    """`last` after each epoch, with a change of validation too; `best` with a part for that."""
    for words, changed, times in (
        ((), 0, 1.0),
        ((), 5, 1.0),
        (("data.val_split=0.2",), 0, 2.0),
        (("data.val_split=0.2",), 5, 1.2),
        (("trainer.enable_checkpointing=false",), 0, 0.0),
    ):
        own = subject_of(prepare(composed(tmp_path, *QUICK, *words)))
        found = Saving.of(own.trainer, STEPS, Settings(check_every=changed))
        assert found.times == pytest.approx(times), words
        own.close()
