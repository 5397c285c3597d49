"""A run that was cut short resumes, and ends as if it never was."""

import errno
import os
import shutil
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from helpers.configurations import Compose, slow
from helpers.jobs import trainer as trainer_in
from helpers.own import StopError, hooked
from lightning.pytorch.callbacks import StochasticWeightAveraging
from lightning.pytorch.demos.boring_classes import BoringModel
from torch.utils._pytree import tree_flatten

from hpml.checkpointing.can_resume import why_not
from hpml.checkpointing.resume_choice import choose, file_name, mode, resume_checkpoints
from hpml.data import ImageDataModule
from hpml.errors import UserError
from hpml.records.phases import TIMES
from hpml.records.run_record import RunRecord
from hpml.system.signals import RunInterrupted
from hpml.train import train

STEPS, EPOCHS = 8, 2
JOB = (
    *("data=synthetic", "model=small", "model.width=4", "device=cpu", "logger=none"),
    *("callbacks=none", "data.train_samples=64", "data.test_samples=16", "data.batch_size=8"),
    *(f"trainer.max_epochs={EPOCHS}", "resume=auto"),
)
OFTEN, ON_SIGNALS = "checkpoint.every_s=1e-9", "checkpoint.every_s=null"
SETTINGS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "workers": ("data.num_workers=2", "data.pipeline=per_sample"),
    "workers that do not persist": ("data.num_workers=2", "data.persistent_workers=false"),
    "threads": ("data.num_workers=2", "data.workers=threads", "data.encoded=jpeg"),
    "on the device": ("data.pipeline=device", "optimizer=adam"),
    "one cycle": ("scheduler=one_cycle", "optimizer=nesterov"),
    "cosine": ("scheduler=cosine", "optimizer=adadelta"),
    "accumulated": ("trainer.accumulate_grad_batches=3", "optimizer=adagrad"),
    "validated in between": ("trainer.val_check_interval=3", "optimizer=rmsprop"),
    "limited": ("trainer.limit_train_batches=7", "data.num_workers=2"),
    "overfitted": ("trainer.overfit_batches=7", "data.num_workers=2"),
    "best": ("data.val_split=0.25", "optimizer=adamw"),
}
QUICK = ("plain", "workers", "one cycle")


@dataclass
class Runs:
    """Runs in one directory; `sums` of the images of each batch that the last one has trained."""

    compose: Compose
    folder: Path
    sums: list[float] = field(default_factory=list)

    def __call__(self, *overrides: str, stop_after: int = 0, **hooks: Any) -> Any:
        """Trains, to the end or for some batches; its sums and its record."""
        self.sums = sums = []

        def note(trainer: Any, module: Any, outputs: Any, batch: Any, *_: Any) -> None:
            sums.append(float(batch[0].double().sum()))
            if len(sums) == stop_after:
                raise StopError

        with suppress(StopError):
            own = hooked(resumable=True, on_train_batch_end=note, **hooks)
            train(self.compose(*JOB, own, *overrides))
        return sums, self.record

    @property
    def record(self) -> RunRecord:
        return RunRecord.read(self.folder)

    @property
    def kept(self) -> list[Path]:
        """The resume checkpoints, the last one first."""
        return resume_checkpoints(self.folder)

    @property
    def batches(self) -> list[int]:
        """After how many they were made."""
        return [int(path.name.split("-")[1]) for path in self.kept]

    def whole(self, *overrides: str) -> Any:
        """The sums and the outcome of a run that nothing stops; the next one begins anew."""
        sums, _ = self(*overrides)
        outcome = self.outcome
        (self.folder / "record.json").unlink()
        return sums, outcome

    @property
    def outcome(self) -> Any:
        """Weights and the optimizer's states by their names, and the epochs but for their times."""
        checkpoint = torch.load(self.folder / "checkpoints" / "last.ckpt", weights_only=True)
        states = checkpoint["state_dict"], checkpoint["optimizer_states"][0]["state"]
        leaves, names = tree_flatten(states)
        values = [torch.as_tensor(leaf).numpy().tobytes() for leaf in leaves]
        return names, values, [(e.metrics, e.steps, e.samples) for e in self.record.epochs]


@pytest.fixture
def run(compose: Compose, tmp_path: Path) -> Runs:
    return Runs(compose, tmp_path / "run")


@pytest.mark.parametrize("name", [name if name in QUICK else slow(name) for name in SETTINGS])
def test_it_ends_as_if_it_had_not_been_stopped(name: str, run: Runs) -> None:
    """None twice or left out, all bit for bit; times have both parts, what was lost is apart."""
    more = (OFTEN, *SETTINGS[name])
    whole, outcome = run.whole(*more)
    assert run.kept == []  # what is complete needs none
    assert run(*more, stop_after=5)[0] == whole[:5]
    done = run.batches[0]
    assert 0 < done <= 5
    assert run(*more, stop_after=6)[0] == whole[done : done + 6]
    done = run.batches[0]
    rest, resumed = run(*more)
    assert (rest, run.outcome) == (whole[done:], outcome)
    assert any(epoch.resumed for epoch in resumed.epochs)
    assert not any(epoch.partial for epoch in resumed.epochs)
    for epoch in resumed.epochs:
        assert sum(epoch.time[name] for name in TIMES[1:]) == pytest.approx(epoch.time["epoch_s"])
        assert epoch.step_ms
    assert 0 <= resumed.finish_s < 60
    assert resumed.resumed[-1]["batches"] == done
    assert len(resumed.resumed) == 2
    assert all(part["lost_s"] >= 0 for part in resumed.resumed)


def test_the_last_one_shows_until_when_it_ran(run: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its file's time, from which the work that is lost is known."""
    touched: list[Path] = []
    clock = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: 1e6 * clock())
    monkeypatch.setattr(os, "utime", touched.append)
    run(ON_SIGNALS, stop_after=STEPS + 4)
    assert set(touched) == set(run.kept)
    assert len(run.kept) == 1


def test_a_signal_waits_for_the_next_one(run: Runs) -> None:
    """Inside a window of accumulated gradients there is none."""

    def send(*_: Any) -> None:
        if len(run.sums) == 3:
            signal.raise_signal(signal.SIGTERM)

    accumulated = ("trainer.accumulate_grad_batches=3", ON_SIGNALS)
    with pytest.raises(RunInterrupted) as interrupted:
        run(*accumulated, on_train_batch_start=send)
    assert interrupted.value.signal_number == signal.SIGTERM
    assert len(run.sums) == 6  # all that others do after a batch is done
    assert (run.record.status, run.batches) == ("interrupted", [6])
    rest, record = run(*accumulated)
    assert (len(rest), record.status) == (STEPS * EPOCHS - 6, "completed")


def test_a_signal_to_the_loaders_loses_nothing(run: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster sends it to all of a job: the next batch does not come, but all is at rest."""
    whole, outcome = run.whole(ON_SIGNALS)
    own = ImageDataModule.on_before_batch_transfer

    def die(data: ImageDataModule, batch: Any, dataloader_idx: int) -> Any:
        if len(run.sums) == 5:
            signal.raise_signal(signal.SIGTERM)
            raise RuntimeError("DataLoader worker (pid 1) is killed by signal: Terminated.")
        return own(data, batch, dataloader_idx)

    monkeypatch.setattr(ImageDataModule, "on_before_batch_transfer", die)
    with pytest.raises(RunInterrupted):
        run(ON_SIGNALS)
    monkeypatch.undo()
    assert run.batches == [5]
    rest, resumed = run(ON_SIGNALS)
    assert (rest, run.outcome) == (whole[5:], outcome)
    assert [(e.steps, e.partial) for e in resumed.epochs] == [(STEPS, False)] * EPOCHS


@pytest.mark.parametrize(("before", "then"), [(0, 2), (2, 0)])
def test_it_may_resume_with_other_workers(run: Runs, before: int, then: int) -> None:
    """Its batches are the same: it ends as if it had not been stopped."""
    sums, outcome = run.whole(f"data.num_workers={before}")
    assert run(OFTEN, f"data.num_workers={before}", stop_after=STEPS + 3)[0] == sums[: STEPS + 3]
    more = (f"data.num_workers={then}", "data.pin_memory=false", "data.workers=threads")
    after = STEPS + 2  # batches, of which there is a checkpoint
    assert run(OFTEN, *more)[0] == sums[after:]
    assert run.outcome == outcome


def test_what_another_run_left_is_not_taken_for_its_own(run: Runs) -> None:
    """A run that begins anew in its directory keeps its own, however few batches it has done."""
    run(OFTEN, stop_after=12)
    run(OFTEN, "resume=never", "seed=1", stop_after=4)
    assert run.batches == [3, 2]


def test_a_signal_does_not_wait_for_ever(run: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hung loader comes to no checkpoint."""
    timer = signal.setitimer
    monkeypatch.setattr(signal, "setitimer", lambda which, s: timer(which, s / 100))

    def hang(*_: Any) -> None:
        signal.raise_signal(signal.SIGTERM)
        time.sleep(60)

    begun = time.monotonic()
    with pytest.raises(RunInterrupted):
        run(on_train_batch_start=hang)
    assert time.monotonic() - begun < 30
    assert run.record.status == "interrupted"


def test_a_signal_in_the_last_epochs_validation_loses_nothing(run: Runs) -> None:
    """No further checkpoint comes; the last one stays, and the run ends from there."""

    def send(trainer: L.Trainer, *_: Any) -> None:
        if trainer.current_epoch == EPOCHS - 1:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(RunInterrupted):
        run(OFTEN, on_validation_start=send)
    assert run.kept
    rest, record = run(OFTEN)
    assert 0 < len(rest) < STEPS
    assert record.status == "completed"
    assert [epoch.steps for epoch in record.epochs] == [STEPS] * EPOCHS


LOST = "has no state_dict that would bring it back"
RESUMABLE = {"resume_state": dict, "load_resume_state": lambda *_: None}


@pytest.mark.parametrize(
    ("module", "callbacks", "why"),
    [
        ({}, [], "no resume_state"),
        (RESUMABLE | {"automatic_optimization": False}, [], "optimizes by itself"),
        (RESUMABLE | {"on_train_batch_end": lambda *_: 0}, [], "comes after the checkpoint"),
        (RESUMABLE, [], "its loader has no state_dict"),
        (RESUMABLE, [type("Counting", (L.Callback,), {})()], f"Counting {LOST}"),
        (RESUMABLE, [StochasticWeightAveraging(0.1)], f"StochasticWeightAveraging {LOST}"),
    ],
)
def test_why_it_cannot_resume(module: Any, callbacks: list[Any], why: str, tmp_path: Path) -> None:
    """A module, a loader or a callback whose state would be lost."""
    trainer = trainer_in(tmp_path, callbacks=callbacks, limit_val_batches=None)
    assert why in str(why_not(trainer, type("Own", (BoringModel,), module)()))


def test_two_ends_in_one_epoch_lose_no_epoch_of_the_record(run: Runs) -> None:
    """Nor its times; what was lost is known within moments."""
    run(OFTEN, stop_after=STEPS + 3)
    _, between = run(OFTEN, stop_after=2)
    assert between.epochs[0].steps == STEPS
    _, record = run(OFTEN)
    assert [epoch.steps for epoch in record.epochs] == [STEPS] * EPOCHS
    assert sum(epoch.time["epoch_s"] for epoch in record.epochs) < record.wall_s
    assert len(record.resumed) == 2
    assert all(0 <= one["lost_s"] < 20 for one in record.resumed)


def test_one_that_is_not_written(run: Runs, monkeypatch: Any, caplog: Any) -> None:
    """A warning says why, and the training continues."""
    save = torch.save

    def until_full(content: Any, file: Any, **settings: Any) -> None:
        if str(file).endswith(".resume.part"):
            raise OSError(errno.ENOSPC, "No space left on device")
        save(content, file, **settings)

    monkeypatch.setattr(torch, "save", until_full)
    rest, record = run(OFTEN)
    assert (len(rest), record.status) == (STEPS * EPOCHS, "completed")
    assert "no resume checkpoint was written: [Errno 28] No space left" in caplog.text


def test_a_complete_run_is_neither_trained_again_nor_over(run: Runs) -> None:
    """By none that is like it, by no other one, by no evaluation; but with `resume=never`."""
    _, record = run()
    checkpoint, file = run.folder / "checkpoints" / "last.ckpt", run.folder / "record.json"
    before = checkpoint.read_bytes(), file.read_bytes()
    assert run() == ([], record)
    others = "seed=1|seed=1 resume=null|resume=null|resume=null trainer.fast_dev_run=true"
    for words in (*others.split("|"), f"evaluate={checkpoint}"):
        with pytest.raises(UserError, match=r"holds a completed run: give another hydra\.run\.dir"):
            run(*words.split())
    assert before == (checkpoint.read_bytes(), file.read_bytes())
    assert len(run("resume=never")[0]) == STEPS * EPOCHS


def test_an_evaluation_leaves_an_unfinished_run_alone(run: Runs) -> None:
    """Whatever `resume` is: the run's record would become the evaluation's."""
    run(OFTEN, stop_after=STEPS + 1)
    before = (run.folder / "record.json").read_bytes()
    evaluates = f"evaluate={run.folder / 'checkpoints' / 'last.ckpt'}"
    for resume in ("auto", "null"):
        with pytest.raises(UserError, match=r"holds an unfinished run: give another hydra\.run"):
            run(evaluates, f"resume={resume}")
    assert (run.folder / "record.json").read_bytes() == before


def test_a_damaged_one_is_passed_over(run: Runs, caplog: Any, monkeypatch: Any) -> None:
    """With a warning that names it and the one before; where none is whole, the user decides."""
    run(OFTEN, stop_after=5)
    last, before = run.kept
    last.write_bytes(last.read_bytes()[:-100])
    assert len(run(OFTEN, stop_after=2)[0]) == 2
    assert f"{last} is damaged; resuming from {before}" in caplog.text
    for path in run.kept:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    before = run.record, run.kept
    why = r"is damaged; .* is damaged; resume=never begins at the start, in their place"
    with pytest.raises(UserError, match=why):
        run(OFTEN)
    assert (run.record, run.kept) == before
    monkeypatch.setenv("HPML_SWEPT", "seed")
    rest, record = run(OFTEN)
    assert "is damaged; the run begins at its start" in caplog.text
    assert (len(rest), record.resumed) == (STEPS * EPOCHS, [])


def test_what_cannot_resume(run: Runs, tmp_path: Path, caplog: Any, monkeypatch: Any) -> None:
    """And nothing is lost of it; in a sweep it begins at its start, and says so."""
    run(OFTEN, stop_after=5)
    (tmp_path / "kept").mkdir()
    kept, done = Path(shutil.copy(run.kept[0], tmp_path / "kept")), run.batches[0]
    for value, message in (
        (kept, r"was made with data.batch_size=8 \(now 4\); it cannot resume exactly"),
        (kept.parent, "was made with data.batch_size=8"),
        (tmp_path, "holds no resume checkpoint"),
        ("none.ckpt", "there is no such file"),
        (Path(__file__), r"is no resume checkpoint of hpml \(resume-\*\.ckpt\)"),
    ):
        with pytest.raises(UserError, match=message):
            run(f"resume={value}", "data.batch_size=4")
    assert len(run(f"resume={kept}")[0]) == STEPS * EPOCHS - done
    run(OFTEN, "resume=never", stop_after=5)
    before, record = run.kept, (run.folder / "record.json").read_bytes()
    with pytest.raises(UserError, match="resume=never begins at the start, in their place"):
        run(OFTEN, "seed=1")
    assert (run.folder / "record.json").read_bytes() == record
    with pytest.raises(UserError, match="holds an unfinished run: resume=auto resumes it"):
        run("resume=null")
    facts = torch.load(before[0], weights_only=True)["hpml_resume"]["ranks"][0]["facts"]
    assert facts["device"] == "cpu"  # `device=auto` is another one on another machine
    with pytest.raises(UserError, match="was made with another device; resume=never begins"):
        choose(run.folder, "auto", facts | {"device": "cuda"})
    assert run.kept == before
    monkeypatch.setenv("HPML_SWEPT", "seed")
    assert len(run(OFTEN, "seed=1")[0]) == STEPS * EPOCHS
    assert "was made with data.seed=0 (now 1), seed=0 (now 1); the run begins at" in caplog.text


def test_one_of_another_code_is_refused(tmp_path: Path) -> None:
    """And what is none: a file that would run code when it is loaded stays unread."""
    folder = tmp_path / "checkpoints"
    folder.mkdir()

    def kept(content: Any, batches: int) -> str:
        torch.save({"hpml_resume": {"ranks": [{"facts": content}]}}, folder / "p")
        return str((folder / "p").rename(folder / file_name(batches, folder / "p")))

    whole = kept({"code": "a"}, 1)
    assert choose(tmp_path, whole, {"code": "a"}) is not None
    with pytest.raises(UserError, match="another code"):
        choose(tmp_path, whole, {"code": "b"})
    for wrong, why in (
        (kept(StopError(), 2), "cannot be loaded: it holds helpers.own.StopError, which d"),
        (str(shutil.copy(whole, folder / "copy.ckpt")), "is no resume checkpoint of hpml"),
    ):
        with pytest.raises(UserError, match=why):
            choose(tmp_path, wrong, {"code": "a"})


def test_when_it_resumes(monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself in sweeps and under SLURM."""
    for name in ("HPML_SWEPT", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    assert (mode(None), mode("auto")) == ("never", "auto")
    for name in ("HPML_SWEPT", "SLURM_JOB_ID"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "")
            assert (mode(None), mode("never")) == ("auto", "never")
