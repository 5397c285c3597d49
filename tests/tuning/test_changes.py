"""What can be changed about a job, by what it is; and that each change can be made."""

import gc
from collections.abc import Callable
from multiprocessing.context import ForkContext
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from helpers.configurations import QUICK, composed, slow, stress
from helpers.jobs import Adversarial, Convolutional, Images, Stream, trainer, vectors
from helpers.snapshots import everything
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader

from hpml.data import turbo_jpeg
from hpml.system.threads import SPIN
from hpml.training.prepare import prepare
from hpml.trials.intervention import Intervention
from hpml.trials.pace import Pace
from hpml.trials.subject import Subject, subject_of
from hpml.tuning.change import Change, added, intervention_of
from hpml.tuning.change import names as in_words
from hpml.tuning.changes import any_trainer, configuration
from hpml.tuning.trials_with_changes import Foreign, Ours, Trials


class Every(L.Callback):
    """Acts in steps, and can be told how seldom."""

    def __init__(self, interval: int = 1) -> None:
        self.interval = interval

    def on_train_batch_end(self, *_: Any) -> None:
        pass


class AtTheEnd(L.Callback):
    def on_train_epoch_end(self, *_: Any) -> None:
        pass


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cores that have bfloat16 and a compiler."""
    for room in (any_trainer, configuration):
        monkeypatch.setattr(room, "usable_cores", lambda: 2)
        monkeypatch.setattr(room, "has_bfloat16", lambda kind: True)
        monkeypatch.setattr(room, "why_not_compiled", lambda kind: None)


def images(**settings: Any) -> Any:
    return DataLoader(Images(24), 8, **settings)


def job(folder: Path, loader: Any, module: Any = None, **settings: Any) -> Any:
    return trainer(folder, **settings), module or Convolutional(2), loader


def offered(given: Any) -> tuple[Subject, list[Change]]:
    subject = Subject(*given)
    subject.loading()
    subject.fit(Intervention(), 0, 1, seed=0)
    return subject, any_trainer.changes_of(subject)


def names(changes: list[Change]) -> set[str]:
    return {change.name for change in changes}


LOADS = {"num_workers=1", "num_workers=2"}
COMPUTES = {"compile", "channels_last", "bf16-mixed", "foreach", "fused"}
Made = Callable[[Path], Any]
OFFERED: dict[str, tuple[Made, set[str], set[str]]] = {
    "plain": (lambda f: job(f, images()), LOADS | COMPUTES, {"num_workers=0", "log_every"}),
    "a worker": (
        lambda f: job(f, images(num_workers=1)),
        {"num_workers=0", "num_workers=2", "prefetch_factor=4", "persistent_workers=True"},
        {"num_workers=1"},
    ),
    "that persists": (
        lambda f: job(f, images(num_workers=1, persistent_workers=True, prefetch_factor=4)),
        {"prefetch_factor=8"},
        {"persistent_workers=True", "prefetch_factor=4"},
    ),
    "no convolution": (
        lambda f: job(f, DataLoader(vectors(24), 8), Adversarial(4)),
        {"compile", "foreach", "fused"},
        {"channels_last", "cudnn.benchmark"},
    ),
    "other precision": (
        lambda f: job(f, images(), precision="bf16-mixed"), {"compile"}, {"bf16-mixed", "tf32"},
    ),
    "several loaders": (lambda f: job(f, [images(), images()], TwoLoaders(2)), {"compile"}, LOADS),
    "no loader of torch's": (lambda f: job(f, Batches()), {"compile"}, LOADS),
    "callbacks": (
        lambda f: job(f, images(), callbacks=[Every(), AtTheEnd()]),
        {"Every at every 20th batch"},
        {"AtTheEnd at every 20th batch"},
    ),
    "a logger": (
        lambda f: job(f, images(), logger=CSVLogger(f), log_every_n_steps=1),
        {"log_every_n_steps=50"},
        set(),
    ),
    "a logger that is seldom called": (
        lambda f: job(f, images(), logger=CSVLogger(f), log_every_n_steps=50),
        {"compile"},
        {"log_every_n_steps=50"},
    ),
}  # fmt: skip


class Batches:
    def __iter__(self) -> Any:
        return iter(images())

    def __len__(self) -> int:
        return 3


class TwoLoaders(Convolutional):
    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return super().training_step(batch[0], batch_idx)


@pytest.mark.parametrize("name", OFFERED)
def test_a_job_is_offered_what_it_may_need(name: str, tmp_path: Path) -> None:
    """And nothing that it has already, or cannot have."""
    made, there, missing = OFFERED[name]
    _, changes = offered(made(tmp_path))
    assert there <= names(changes)
    assert not missing & names(changes)
    assert len(names(changes)) == len(changes)
    assert all(each.lines or each.needs for each in changes)
    assert all(each.causes and each.slots for each in changes)


@pytest.mark.parametrize("compiles", [False, stress(True)])
def test_each_change_of_a_trainer_can_be_made(compiles: bool, tmp_path: Path) -> None:
    """On a small job, which is as it was afterwards."""
    callbacks, loggers = [Every()], CSVLogger(tmp_path)
    given = job(
        *(tmp_path, images(num_workers=1)),
        **{"callbacks": callbacks, "logger": loggers, "log_every_n_steps": 1},
    )
    before = everything(given, tmp_path)
    subject, changes = offered(given)
    for change in changes:
        if ("compile" in change.name) == compiles:
            pace = subject.fit(intervention_of({change}), 1, 2, seed=0)
            assert pace.step_s > 0, change.name
    subject.close()
    gc.collect()
    after = everything(given, tmp_path)
    # torch's compiler keeps the threads that read from its own processes
    own = {"threads"} if compiles else set()
    assert {key for key, was in before.items() if was != after[key]} <= own


def test_the_line_of_a_callback_names_its_argument() -> None:
    """Or says what to write in it, where it has none."""
    _, changes = offered(job(Path(), images(), callbacks=[Every()]))
    (line,) = next(each.lines for each in changes if each.name.startswith("Every"))
    assert line == ("Trainer", "# of Every: interval=20")


KEYS: dict[str, tuple[tuple[str, ...], set[str], set[str]]] = {
    "slow": (
        ("data.pipeline=per_sample",),
        {"data.pipeline=batched", "data.num_workers=1", "compile=true", "channels_last=true"},
        {"data.num_workers=0", "trainer.benchmark=true", "data.pin_memory=true"},
    ),
    "fast": (
        ("data.pipeline=batched", "channels_last=true", "data.num_workers=1"),
        {"data.num_workers=0"},
        {"data.pipeline=batched", "channels_last=true"},
    ),
}


@pytest.mark.parametrize("name", KEYS)
def test_a_configuration_is_offered_other_keys(name: str, tmp_path: Path) -> None:
    """Each as the words to type."""
    words, there, missing = KEYS[name]
    changes = configuration.changes_of(prepare(composed(tmp_path, *QUICK, *words)), threads=2)
    assert there <= names(changes)
    assert not missing & names(changes)
    plain = [change for change in changes if not change.only_asked]
    assert all(" + ".join(change.overrides) == change.name.replace(
        "threads=", "cpu.threads=") for change in plain)  # fmt: skip


@pytest.mark.parametrize("compiles", [False, stress(True)])
def test_each_change_of_a_configuration_can_be_made(compiles: bool, tmp_path: Path) -> None:
    """The job of its keys trains a few steps."""
    cfg = composed(tmp_path, *QUICK, "data.pipeline=per_sample", "trainer.log_every_n_steps=1")
    own = prepare(cfg)
    tunable = Ours(cfg, subject_of(own), lambda config: subject_of(prepare(config)))
    changes = configuration.changes_of(own, threads=2)
    assert len(changes) > 5
    for change in changes:
        if ("compile" in change.name) == compiles:
            subject, intervention = tunable.with_changes(frozenset({change}))
            assert subject.fit(intervention, 0, 1, seed=0).step_s > 0, change.name
    tunable.close()


@pytest.mark.parametrize("way", ["fused", "foreach"])
def test_what_the_users_optimizer_does_already_is_not_offered(way: str, tmp_path: Path) -> None:
    """Its other way is; and a trial with that one is no reason to offer this one again."""

    class Chosen(Convolutional):
        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), **{way: True})

    subject, changes = offered(job(tmp_path, images(), Chosen(2)))
    other = next(change for change in changes if change.name in {"fused", "foreach"} - {way})
    assert way not in names(changes)
    subject.fit(intervention_of({other}), 0, 1, seed=0)
    assert way not in names(any_trainer.changes_of(subject))


def test_larger_batches_are_offered_to_who_asks(tmp_path: Path) -> None:
    """They are another training: by their slot or name, with the samples that they have."""
    subject, changes = offered(job(tmp_path, images()))
    (twice,) = (change for change in changes if change.is_asked_for(["batch_size"]))
    assert (twice.name, twice.is_asked_for(())) == ("batch_size=16", False)
    assert twice.is_asked_for(["batch_size=16"])
    assert twice.lines[1] == (
        "module",
        "# the learning rate times 2, as the batch: 0.02 instead of 0.01; then tune it",
    )
    sizes = []

    def look(trainer: Any, module: Any) -> None:
        def begin(trainer: Any, module: Any, batch: Any, *_: Any) -> None:
            sizes.append(len(batch[0]))

        trainer.callbacks.append(L.pytorch.callbacks.LambdaCallback(on_train_batch_start=begin))

    trials = Trials(Foreign(subject), 0.0, Pace(1.0, 0.0, None), None, 0)
    subject.fit(intervention_of({twice}), 0, 1, seed=0, adapt=look)
    assert sizes == [16, 8]  # of 24 samples
    timed = trials(frozenset({twice}))(0)
    assert timed.epoch_s == pytest.approx(2 * timed.pace.step_s)  # steps, not three
    whole = prepare(composed(tmp_path, *QUICK, "data.batch_size=32"))
    of_ranks = configuration.changes_of(whole, threads=2, ranks=2)  # of 48 samples each
    assert not [change for change in of_ranks if change.only_asked]
    own = configuration.changes_of(whole, threads=2)
    overrides = [change.overrides for change in own if change.only_asked]
    assert [words[0] for words in overrides] == [
        *("data.batch_size=64", "trainer.accumulate_grad_batches=2"),  # of 96 samples
    ]
    assert all(words[1].startswith("optimizer.lr=") for words in overrides)


def test_accumulation_is_offered_to_who_asks(tmp_path: Path) -> None:
    """Its optimizer steps after as many batches; not where the module or a callback decides."""
    subject, changes = offered(job(tmp_path, images(), accumulate_grad_batches=2))
    asked = [change for change in changes if change.is_asked_for(["accumulate_grad_batches"])]
    assert [change.name for change in asked] == [f"accumulate_grad_batches={n}" for n in (4, 8)]
    assert all(change.only_asked for change in asked)
    assert asked[0].lines[0] == ("Trainer", "accumulate_grad_batches=4")
    steps = []

    def look(trainer: Any, module: Any) -> None:
        kind = L.pytorch.callbacks.LambdaCallback
        count = kind(on_before_optimizer_step=lambda *_: steps.append(trainer.global_step))
        trainer.callbacks.append(count)

    subject.fit(intervention_of({asked[0]}), 0, 7, seed=0, adapt=look)
    assert steps == [0, 1]  # of eight batches
    for given in (
        job(tmp_path, DataLoader(vectors(24), 8), Adversarial(4)),
        job(tmp_path, images(), callbacks=[GradientAccumulationScheduler({0: 2})]),
    ):
        assert not any("accumulate" in name for name in names(offered(given)[1]))


class Named(ForkContext):
    """Calls itself another method, which would import torch in each worker."""

    _name = "spawn"


@pytest.mark.parametrize("spawn", [Named(), slow("spawn")], ids=["named", "real"])
def test_workers_are_forked_where_each_epoch_starts_them(spawn: Any, tmp_path: Path) -> None:
    """By another method, which imports torch in each; those that persist start once."""
    name = "multiprocessing_context=fork"
    for settings, is_there in (
        ({"multiprocessing_context": spawn}, True),
        ({"multiprocessing_context": spawn, "persistent_workers": True}, False),
        ({}, False),  # as Linux has it
    ):
        changes = offered(job(tmp_path, images(num_workers=1, **settings)))[1]
        assert (name in names(changes)) == is_there
        (none,) = (change for change in changes if change.name == "num_workers=0")
        told = "multiprocessing_context=None" in none.lines[0][1]
        assert told == ("multiprocessing_context" in settings)


DECODED = ("data.encoded=jpeg", "data.pipeline=per_sample")
DECODERS: dict[str, tuple[tuple[str, ...], bool, str | None]] = {
    "Pillow's": ((*DECODED, "data.decoder=pillow"), True, ""),
    "the faster one": ((*DECODED, "data.decoder=auto"), True, None),
    "none": (("data.decoder=pillow",), True, None),
    "not installed": (
        (*DECODED, "data.decoder=auto"),
        False,
        'no simplejpeg is installed; pip install "hpml[turbo]"',
    ),
}


@pytest.mark.parametrize("name", DECODERS)
def test_the_faster_decoder_is_offered_where_images_are_decoded(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it is not in use; where it is not installed, that is the advice."""
    words, is_installed, needs = DECODERS[name]
    if not is_installed:
        monkeypatch.setattr(turbo_jpeg, "simplejpeg", None)
    elif turbo_jpeg.simplejpeg is None:
        pytest.skip("no simplejpeg")
    changes = configuration.changes_of(prepare(composed(tmp_path, *QUICK, *words)), threads=2)
    found = [change.needs for change in changes if change.name == "data.decoder=turbo"]
    assert found == ([] if needs is None else [needs])


@pytest.mark.parametrize("compiler", [None, "no C++ compiler is here: install g++, or give CXX"])
def test_what_a_machine_lacks_is_advice(
    compiler: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A compiler, say; and what a process reads as it begins."""
    monkeypatch.setattr(any_trainer, "why_not_compiled", lambda kind: compiler)
    monkeypatch.setattr(any_trainer, "waiting", lambda: SPIN)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    needs = {change.name: change.needs for change in offered(job(tmp_path, images()))[1]}
    assert needs["compile"] == (compiler or "")
    assert needs["GOMP_SPINCOUNT=2000"].startswith("is read when a program starts: set it")


def test_a_bundle_is_named_apart_from_its_parts_together() -> None:
    """Both may have rounds in one file."""
    plain: Any = DataLoader(range(4))  # type: ignore[arg-type]
    workers, threads = any_trainer.loader_workers(2, plain), any_trainer.threads_change(1)
    bundle = any_trainer.together(workers, threads)
    assert in_words({bundle}) != in_words({workers, threads})


def test_changes_of_one_slot_exclude_each_other() -> None:
    """The later one takes the place of all that it excludes."""
    plain: Any = DataLoader(range(4))  # type: ignore[arg-type]
    workers, threads = any_trainer.loader_workers(2, plain), any_trainer.threads_change(1)
    both = any_trainer.together(any_trainer.loader_workers(1, plain), threads)
    assert added(frozenset({workers, threads}), both) == {both}
    assert added(frozenset({both}), workers) == {workers}
    assert intervention_of({both}).threads == 1
    assert dict(both.settings.loader)["num_workers"] == 1


def test_a_stream_may_have_workers(tmp_path: Path) -> None:
    """What they make of it is compared before they are chosen."""
    loader: Any = DataLoader(Stream(24), 8)
    assert names(offered(job(tmp_path, loader))[1]) >= LOADS
