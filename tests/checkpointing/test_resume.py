"""A run that was cut short goes on, and ends as if it never was."""

import errno
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from helpers.configurations import Compose
from lightning.pytorch.callbacks import StochasticWeightAveraging
from lightning.pytorch.demos.boring_classes import BoringModel

from hpml.checkpointing.resumable import why_not
from hpml.checkpointing.resume import choose, file_name, mode, resume_checkpoints
from hpml.checkpointing.resume_checkpoints import ResumeCheckpoints
from hpml.data import ImageDataModule
from hpml.errors import UserError
from hpml.records.run_record import RunRecord
from hpml.system.signals import RunInterrupted
from hpml.train import train

STEPS, EPOCHS = 8, 2
JOB = (
    *("data=synthetic", "model=small", "model.width=4", "device=cpu", "logger=none"),
    *("callbacks=none", "data.train_samples=64", "data.test_samples=16", "data.batch_size=8"),
    *(f"trainer.max_epochs={EPOCHS}", "resume=auto"),
)
SETTINGS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "workers": ("data.num_workers=2", "data.pipeline=per_sample"),
    "workers that do not persist": ("data.num_workers=2", "data.persistent_workers=false"),
    "on the device": ("data.pipeline=device", "optimizer=adam"),
    "one cycle": ("scheduler=one_cycle", "optimizer=nesterov"),
    "cosine": ("scheduler=cosine", "optimizer=adadelta"),
    "accumulated": ("trainer.accumulate_grad_batches=3", "optimizer=adagrad"),
    "validated in between": ("trainer.val_check_interval=3", "optimizer=rmsprop"),
    "best": ("data.val_split=0.25", "optimizer=adamw"),
}


class StopError(Exception):
    """Stands for whatever ends a process."""


class Seen(L.Callback):
    """Notes which images a run trains, and ends it after some batches."""

    stop_after: int | None = None
    sums: list[float]

    def state_dict(self) -> dict[str, Any]:
        """It has none that a point would have to keep."""
        return {}

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, *_: Any):  # type: ignore[no-untyped-def]
        Seen.sums.append(float(batch[0].double().sum()))
        if len(Seen.sums) == Seen.stop_after:
            raise StopError


@pytest.fixture
def run(compose: Compose, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Trains in one directory; what the batches held, and the record."""
    monkeypatch.setattr("hpml.checkpointing.resume_checkpoints.MOST_SHARE", 0.0)

    def trained(*overrides: str, stop_after: int | None = None) -> tuple[list[float], RunRecord]:
        Seen.stop_after, Seen.sums = stop_after, []
        own = f"+callbacks.seen._target_={__name__}.Seen"
        cfg = compose(*JOB, own, *overrides)
        try:
            train(cfg)
        except StopError:
            assert stop_after is not None
        return Seen.sums, RunRecord.read(Path(cfg.run_dir))

    return trained


def weights(tmp_path: Path) -> dict[str, bytes]:
    checkpoint = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    found = {name: value.numpy().tobytes() for name, value in checkpoint["state_dict"].items()}
    for index, state in checkpoint["optimizer_states"][0]["state"].items():
        found |= {
            f"{index} {name}": torch.as_tensor(v).numpy().tobytes() for name, v in state.items()
        }
    return found


@pytest.mark.parametrize("name", SETTINGS)
def test_it_ends_as_if_it_had_not_been_stopped(
    name: str, run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same batches, none twice or left out; weights, optimizer, metrics bit for bit."""
    more = ("checkpoint.every_s=1e-9", *SETTINGS[name])
    whole, record = run(*more)
    expected = weights(tmp_path)
    assert resume_checkpoints(tmp_path / "run") == []  # what is complete needs none
    (tmp_path / "run" / "record.json").unlink()
    before, _ = run(*more, stop_after=5)
    last = resume_checkpoints(tmp_path / "run")[0]
    done = int(last.name.split("-")[1])
    assert 0 < done <= 5
    middle, _ = run(*more, stop_after=6)
    assert middle == whole[done : done + 6]
    done = int(resume_checkpoints(tmp_path / "run")[0].name.split("-")[1])
    rest, resumed = run(*more)
    assert before == whole[:5]
    assert rest == whole[done:]
    assert weights(tmp_path) == expected
    assert [e.metrics for e in resumed.epochs] == [e.metrics for e in record.epochs]
    assert [(e.steps, e.samples) for e in resumed.epochs] == [
        (e.steps, e.samples) for e in record.epochs
    ]
    assert [epoch.resumed for epoch in resumed.epochs].count(True) >= 1
    assert not any(epoch.partial for epoch in resumed.epochs)
    assert [one["batches"] for one in resumed.resumed][-1] == done
    assert len(resumed.resumed) == 2


def test_an_epochs_times_have_both_of_its_parts(run: Callable[..., Any], tmp_path: Path) -> None:
    """They add up, and fit and epochs do; what was lost is apart."""
    run("checkpoint.every_s=1e-9", stop_after=5)
    _, record = run("checkpoint.every_s=1e-9")
    epoch = record.epochs[0]
    assert epoch.resumed
    phases = ("data_s", "transfer_s", "train_s", "validation_s", "other_s")
    assert sum(epoch.time[name] or 0.0 for name in phases) == pytest.approx(epoch.time["epoch_s"])
    assert record.finish_s is not None
    assert 0 <= record.finish_s < 60
    assert epoch.step_ms is not None
    assert record.resumed[0]["lost_s"] >= 0


def test_the_last_point_shows_until_when_the_run_went_on(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its file's time, from which the work that is lost is told."""
    touched: list[Path] = []
    monkeypatch.setattr("hpml.checkpointing.resume_checkpoints.SIGN_EVERY_S", 0.0)
    monkeypatch.setattr("hpml.checkpointing.resume_checkpoints.os.utime", touched.append)
    run(stop_after=STEPS + 4)
    (resume_checkpoint,) = resume_checkpoints(tmp_path / "run")
    assert set(touched) == {resume_checkpoint}


def test_a_signal_waits_for_the_next_point(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inside a window of accumulated gradients there is none."""

    def send(callback: Any, trainer: Any, *_: Any) -> None:
        if len(Seen.sums) == 3:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Seen, "on_train_batch_start", send, raising=False)
    with pytest.raises(RunInterrupted) as interrupted:
        run("trainer.accumulate_grad_batches=3", "checkpoint.every_s=null")
    assert interrupted.value.signal_number == signal.SIGTERM
    assert len(Seen.sums) == 6  # all that others do after a batch is done
    assert RunRecord.read(tmp_path / "run").status == "interrupted"
    (resume_checkpoint,) = resume_checkpoints(tmp_path / "run")
    assert resume_checkpoint.name.startswith("resume-0000000006-")
    monkeypatch.setattr(Seen, "on_train_batch_start", lambda *_: None)
    rest, record = run("trainer.accumulate_grad_batches=3", "checkpoint.every_s=null")
    assert len(rest) == STEPS * EPOCHS - 6
    assert record.status == "completed"


def test_a_signal_that_ends_the_loaders_processes_loses_nothing(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster sends it to all of a job: the next batch does not come, but all is at rest."""
    whole, record = run("checkpoint.every_s=null")
    expected = weights(tmp_path)
    (tmp_path / "run" / "record.json").unlink()
    own = ImageDataModule.on_before_batch_transfer

    def die(data: ImageDataModule, batch: Any, dataloader_idx: int) -> Any:
        if len(Seen.sums) == 5:
            signal.raise_signal(signal.SIGTERM)
            raise RuntimeError("DataLoader worker (pid 1) is killed by signal: Terminated.")
        return own(data, batch, dataloader_idx)

    monkeypatch.setattr(ImageDataModule, "on_before_batch_transfer", die)
    with pytest.raises(RunInterrupted):
        run("checkpoint.every_s=null")
    (resume_checkpoint,) = resume_checkpoints(tmp_path / "run")
    assert resume_checkpoint.name.startswith("resume-0000000005-")
    monkeypatch.setattr(ImageDataModule, "on_before_batch_transfer", own)
    rest, resumed = run("checkpoint.every_s=null")
    assert rest == whole[5:]
    assert weights(tmp_path) == expected
    assert [e.metrics for e in resumed.epochs] == [e.metrics for e in record.epochs]
    assert [(e.steps, e.partial) for e in resumed.epochs] == [(STEPS, False)] * EPOCHS


def test_what_another_run_left_is_not_taken_for_its_own(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    """In one directory a run that begins anew has its points, however few batches it has done."""
    run("checkpoint.every_s=1e-9", stop_after=12)
    run("checkpoint.every_s=1e-9", "resume=never", "seed=1", stop_after=4)
    assert [
        int(resume_checkpoint.name.split("-")[1])
        for resume_checkpoint in resume_checkpoints(tmp_path / "run")
    ] == [3, 2]


def test_a_signal_does_not_wait_for_ever(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hung loader comes to no resume_checkpoint."""
    monkeypatch.setattr("hpml.system.signals.PATIENCE_S", 0.2)

    def hang(callback: Any, trainer: Any, *_: Any) -> None:
        signal.raise_signal(signal.SIGTERM)
        time.sleep(60)

    monkeypatch.setattr(Seen, "on_train_batch_start", hang, raising=False)
    begun = time.monotonic()
    with pytest.raises(RunInterrupted):
        run()
    assert time.monotonic() - begun < 30
    assert RunRecord.read(tmp_path / "run").status == "interrupted"


def test_a_signal_in_the_last_epochs_validation_loses_nothing(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no point to come; the last one stays, and the run ends from there."""

    def send(callback: Any, trainer: Any, *_: Any) -> None:
        if trainer.current_epoch == EPOCHS - 1:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Seen, "on_validation_start", send, raising=False)
    with pytest.raises(RunInterrupted):
        run("checkpoint.every_s=1e-9")
    assert resume_checkpoints(tmp_path / "run")
    monkeypatch.setattr(Seen, "on_validation_start", lambda *_: None)
    rest, record = run("checkpoint.every_s=1e-9")
    assert 0 < len(rest) < STEPS
    assert record.status == "completed"
    assert [epoch.steps for epoch in record.epochs] == [STEPS] * EPOCHS


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"automatic_optimization": False}, "optimizes by itself"),
        ({"on_train_batch_end": lambda *_: None}, "comes after the checkpoint"),
    ],
)
def test_what_has_no_points_is_told(
    change: dict[str, Any], why: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A module, or a loader, with which a run could not go on exactly."""
    change = change | {"resume_state": dict, "load_resume_state": lambda *_: None}
    module = type("Own", (BoringModel,), change)()
    trainer = L.Trainer(logger=False, enable_checkpointing=False, default_root_dir=tmp_path)
    assert why in str(why_not(trainer, module))
    assert "no resume_state" in str(why_not(trainer, BoringModel()))


def test_a_callback_without_a_state_is_told(tmp_path: Path) -> None:
    """One of the user's own, whose attributes would be lost; and averaged weights."""
    own = type("Own", (BoringModel,), {"resume_state": dict})()
    for callback, name in (
        (type("Counting", (L.Callback,), {})(), "Counting"),
        (StochasticWeightAveraging(0.1), "StochasticWeightAveraging"),
    ):
        trainer = L.Trainer(
            logger=False,
            enable_checkpointing=False,
            callbacks=[callback],
            default_root_dir=tmp_path,
        )
        assert why_not(trainer, own) == f"{name} has no state_dict that would bring it back"
    trainer = L.Trainer(logger=False, enable_checkpointing=False, default_root_dir=tmp_path)
    assert "its loader has no state_dict" in str(why_not(trainer, own))


def test_two_ends_in_one_epoch_lose_no_epoch_of_the_record(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    """Nor its times; what was lost is known within moments."""
    run("checkpoint.every_s=1e-9", stop_after=STEPS + 3)
    run("checkpoint.every_s=1e-9", stop_after=2)
    assert RunRecord.read(tmp_path / "run").epochs[0].steps == STEPS
    _, record = run("checkpoint.every_s=1e-9")
    assert [epoch.steps for epoch in record.epochs] == [STEPS] * EPOCHS
    epochs_s = sum(epoch.time["epoch_s"] or 0.0 for epoch in record.epochs)
    assert record.wall_s is not None
    assert epochs_s < record.wall_s
    assert len(record.resumed) == 2
    assert all(0 <= one["lost_s"] < 20 for one in record.resumed)


def test_a_point_that_cannot_be_written_ends_nothing(
    run: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is told, and the training goes on."""

    def full(points: ResumeCheckpoints, part: Path, batches: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ResumeCheckpoints, "_give_name", full)
    rest, record = run("checkpoint.every_s=1e-9")
    assert len(rest) == STEPS * EPOCHS
    assert record.status == "completed"
    assert "no resume checkpoint was written: [Errno 28] No space left" in caplog.text


def test_a_complete_run_is_not_trained_again(run: Callable[..., Any], tmp_path: Path) -> None:
    """With `resume=auto`, in a directory of its own; `never` does."""
    _, record = run()
    rest, again = run()
    assert rest == []
    assert again == record
    rest, _ = run("resume=never")
    assert len(rest) == STEPS * EPOCHS


def test_a_completed_run_is_not_trained_over(run: Callable[..., Any], tmp_path: Path) -> None:
    """Nor does another one, or an evaluation, take its directory, unless `never` asks for it."""
    run()
    checkpoint = tmp_path / "run" / "checkpoints" / "last.ckpt"
    before = checkpoint.read_bytes(), (tmp_path / "run" / "record.json").read_bytes()
    for words in (
        ["seed=1"],
        ["seed=1", "resume=null"],
        ["resume=null"],
        [f"evaluate={checkpoint}"],
        ["resume=null", "trainer.fast_dev_run=true"],
    ):
        with pytest.raises(UserError, match=r"holds a completed run: give another hydra\.run\.dir"):
            run(*words)
    assert before == (checkpoint.read_bytes(), (tmp_path / "run" / "record.json").read_bytes())


def test_an_evaluation_leaves_an_unfinished_run_alone(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    """Whatever `resume` is: the run's record would become the evaluation's."""
    run("checkpoint.every_s=1e-9", stop_after=STEPS + 1)
    before = (tmp_path / "run" / "record.json").read_bytes()
    for resume in ("auto", "null"):
        with pytest.raises(
            UserError, match=r"holds an unfinished run: give another hydra\.run\.dir"
        ):
            run(f"evaluate={tmp_path / 'run' / 'checkpoints' / 'last.ckpt'}", f"resume={resume}")
    assert (tmp_path / "run" / "record.json").read_bytes() == before


def test_a_damaged_point_is_passed_over(
    run: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With a warning that names it and the one before; of none that is whole it begins anew."""
    run("checkpoint.every_s=1e-9", stop_after=5)
    last, before = resume_checkpoints(tmp_path / "run")
    last.write_bytes(last.read_bytes()[:-100])
    rest, _ = run("checkpoint.every_s=1e-9", stop_after=2)
    assert f"{last} is damaged; resuming from {before}" in caplog.text
    assert len(rest) == 2
    for resume_checkpoint in resume_checkpoints(tmp_path / "run"):
        content = bytearray(resume_checkpoint.read_bytes())
        content[len(content) // 2] ^= 1
        resume_checkpoint.write_bytes(content)
    rest, record = run("checkpoint.every_s=1e-9")
    assert "are damaged; the run begins at its start" in caplog.text
    assert len(rest) == STEPS * EPOCHS
    assert record.resumed == []


def test_what_cannot_go_on_exactly_is_refused(
    run: Callable[..., Any],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And nothing is lost of it; in a sweep it begins at its start, and says so."""
    run("checkpoint.every_s=1e-9", stop_after=5)
    resume_checkpoint = resume_checkpoints(tmp_path / "run")[0]
    kept = tmp_path / "kept" / resume_checkpoint.name
    kept.parent.mkdir()
    kept.write_bytes(resume_checkpoint.read_bytes())
    for value, message in (
        (
            kept,
            r"was made with data.batch_size=8 \(now 4\); it cannot resume exactly",
        ),
        (kept.parent, "was made with data.batch_size=8"),
        (tmp_path, "holds no resume checkpoint"),
        ("none.ckpt", "there is no such file"),
        (Path(__file__), "is no resume checkpoint of hpml .*, or damaged"),
    ):
        with pytest.raises(UserError, match=message):
            run(f"resume={value}", "data.batch_size=4")
    rest, _ = run(f"resume={kept}")
    assert len(rest) == STEPS * EPOCHS - int(resume_checkpoint.name.split("-")[1])
    run("checkpoint.every_s=1e-9", "resume=never", stop_after=5)
    kept_points = resume_checkpoints(tmp_path / "run")
    with pytest.raises(UserError, match="resume=never begins at the start, in their place"):
        run("checkpoint.every_s=1e-9", "seed=1")
    with pytest.raises(UserError, match="holds an unfinished run: resume=auto resumes it"):
        run("resume=null")
    with monkeypatch.context() as elsewhere:  # `auto` is another device on another machine
        elsewhere.setattr("hpml.training.prepare.device_type", lambda cfg: "cuda")
        with pytest.raises(UserError, match="was made with another device; resume=never begins"):
            run("checkpoint.every_s=1e-9")
    assert resume_checkpoints(tmp_path / "run") == kept_points
    monkeypatch.setenv("HPML_SWEPT", "seed")
    rest, _ = run("checkpoint.every_s=1e-9", "seed=1")
    assert "was made with data.seed=0 (now 1), seed=0 (now 1); the run begins at" in caplog.text
    assert len(rest) == STEPS * EPOCHS


def test_a_point_of_another_code_is_refused(tmp_path: Path) -> None:
    """And one that is none: a file that would run code when it is loaded stays unread."""
    folder = tmp_path / "checkpoints"
    folder.mkdir()

    def kept(content: Any, batches: int) -> str:
        torch.save({"hpml_resume": {"ranks": [{"facts": content}]}}, folder / "p")
        return str((folder / "p").rename(folder / file_name(batches, folder / "p")))

    resume_checkpoint = kept({"code": "a"}, 1)
    assert choose(tmp_path, resume_checkpoint, {"code": "a"}) is not None
    with pytest.raises(UserError, match="another code"):
        choose(tmp_path, resume_checkpoint, {"code": "b"})
    for wrong in (kept(Seen(), 2), str(shutil.copy(resume_checkpoint, folder / "copy.ckpt"))):
        with pytest.raises(UserError, match="no resume checkpoint of hpml"):
            choose(tmp_path, wrong, {"code": "a"})


@pytest.mark.parametrize(
    ("environment", "given", "what"),
    [
        ({}, None, "never"),
        ({"HPML_SWEPT": ""}, None, "auto"),
        ({"SLURM_JOB_ID": "1"}, None, "auto"),
        ({"SLURM_JOB_ID": "1"}, "never", "never"),
        ({}, "auto", "auto"),
    ],
)
def test_when_a_run_goes_on(
    environment: dict[str, str], given: str | None, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By itself in sweeps and under SLURM."""
    for name in ("HPML_SWEPT", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert mode(given) == what
