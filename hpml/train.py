"""Trains a network as configured: `train(cfg) -> RunRecord`, and the program around it."""

# torch and Lightning take seconds to import: `--help`, a mistyped key and a sweep's check of its
# jobs do without them, and a run says where it goes before it imports them.
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from omegaconf import DictConfig

import hpml
from hpml.checkpointing import resume_choice
from hpml.cli.program import run_hydra
from hpml.cli.run_directory import with_run_dir
from hpml.config import command_line
from hpml.config.checks import check
from hpml.config.command_line import from_here
from hpml.config.conf import resolve
from hpml.config.cpu import set_waiting
from hpml.config.fingerprint import code_fingerprint, fingerprint
from hpml.config.group_choices import choices
from hpml.errors import RunFailedError, UserError
from hpml.records.run_record import FILE_NAME, RunRecord, now
from hpml.system import environment, failure_messages
from hpml.system.environment import SWEPT
from hpml.system.garbage_collection import gc_paused
from hpml.system.signals import RunInterrupted, ended_by_signals, signals_held
from hpml.training.run_messages import print_resume_hint

log = logging.getLogger("hpml")

DIRECTORY = "hydra.run.dir (from Python: run_dir)"
# What a run does between the first writing of its record and the last one.
Work = Callable[[DictConfig, RunRecord, Path, float | None], None]


def main() -> None:
    """The program `python -m hpml.train`."""
    run_hydra(job, config_name="train")


def job(cfg: DictConfig, work: Work | None = None) -> float | None:
    """One run; returns the metric named by `monitor`, for Hydra's sweepers.

    None where the run's module does not log it.
    """
    with announced(cfg):
        record = train(cfg, work)
    warn_of_monitor(record, cfg.monitor)
    return record.last_metric(cfg.monitor)


@contextmanager
def announced(cfg: DictConfig) -> Iterator[None]:
    """Prints where a run goes; where it is interrupted, what it leaves and how it resumes."""
    if environment.rank():
        log.setLevel(logging.ERROR)  # the first rank says it for all
    log.info(f"hpml {hpml.__version__} in {from_here(Path(cfg.run_dir))}")
    try:
        yield
    except RunInterrupted:
        print_resume_hint(Path(cfg.run_dir))
        raise


def warn_of_monitor(record: RunRecord, monitor: str) -> None:
    """Warns where no epoch has the metric."""
    logged = {name: None for epoch in record.epochs for name in epoch.metrics}
    if record.epochs and monitor not in logged:
        among = f"not among {', '.join(logged)}" if logged else "the module logs no metrics"
        log.warning(f"monitor={monitor}: {among}")


def train(cfg: DictConfig, work: Work | None = None) -> RunRecord:
    """Trains (or with `evaluate`, evaluates) as `cfg` says, and keeps the record in `cfg.run_dir`.

    Raises UserError for wrong input, RunFailedError where the loss is not finite, RunInterrupted on
    SIGINT, SIGTERM and SIGHUP, and whatever a module or callback of the user's own raises. The
    record on the disk says which. `work` is done instead of training or evaluating. A configuration
    that was composed without a directory gets a fresh one below `output_dir`.
    """
    cfg = with_run_dir(cfg)
    check(cfg)
    resume_choice.check(cfg.resume, cfg.evaluate)
    directory = Path(cfg.run_dir)
    last_sign_s = resume_choice.last_sign_s(directory)
    record = _new_record(cfg)
    completed = _completed(directory)
    if completed is not None and _is_what_is_asked(completed, record, cfg):
        log.info(f"complete already: {from_here(directory)}; resume=never trains it again")
        return completed
    _refuse_to_overwrite(directory, cfg, completed)
    to_resume = _to_resume(directory, cfg)
    with _unless_refused(record, directory), _recorded(record, directory, to_resume):
        if work is None:
            set_waiting(cfg)
            with signals_held(), gc_paused():
                from hpml.training.run import run as fit
            work = fit
        work(cfg, record, directory, last_sign_s)
    if environment.rank() == 0 and cfg.evaluate is None:
        resume_choice.remove(directory)
    return record


def _new_record(cfg: DictConfig) -> RunRecord:
    config = resolve(cfg)
    return RunRecord(
        started_at=now(),
        fingerprint=fingerprint(config),
        code_fingerprint=code_fingerprint(config),
        command=command_line.typed(),
        overrides=command_line.overrides(),
        choices=choices(),
        config=config,
        environment={},
    )


def _completed(directory: Path) -> RunRecord | None:
    """The record of the training that has completed in a directory."""
    record = RunRecord.read_if_any(directory)
    is_one = record and record.status == "completed" and record.evaluation is None
    return record if is_one else None


def _is_what_is_asked(completed: RunRecord, record: RunRecord, cfg: DictConfig) -> bool:
    """Whether a completed run is the one that is asked for, and need not run again."""
    resumes = resume_choice.mode(cfg.resume) == resume_choice.AUTO and cfg.evaluate is None
    same = completed.fingerprint == record.fingerprint
    return resumes and same and completed.code_fingerprint == record.code_fingerprint


def _refuse_to_overwrite(directory: Path, cfg: DictConfig, completed: RunRecord | None) -> None:
    """Raises UserError where a run would write over another one that nobody gave up."""
    unfinished, hint = resume_choice.resume_checkpoints(directory), ""
    if cfg.evaluate is not None:
        hint = f"give another {DIRECTORY}" if completed or unfinished else ""
    elif completed and cfg.resume != resume_choice.NEVER:
        hint = f"give another {DIRECTORY}, or resume=never to train over it"
    elif unfinished and cfg.resume is None and resume_choice.mode(None) != resume_choice.AUTO:
        hint = "resume=auto resumes it, resume=never begins at the start, in its place"
    if hint:
        kind = "a completed" if completed else "an unfinished"
        raise UserError(f"{from_here(directory)}: holds {kind} run: {hint}")


def _to_resume(directory: Path, cfg: DictConfig) -> bytes | None:
    """The record of an unfinished run that is to be resumed; None where there is no such run.

    In a sweep, whose launcher reads how its jobs have ended, it is the job's that comes.
    """
    resumes = resume_choice.mode(cfg.resume) != resume_choice.NEVER and SWEPT not in os.environ
    if not (resumes and resume_choice.resume_checkpoints(directory)):
        return None
    file = directory / FILE_NAME
    return file.read_bytes() if file.is_file() else None


@contextmanager
def _unless_refused(record: RunRecord, directory: Path) -> Iterator[None]:
    """Puts the record back that was there before, or none, for what was refused before it began.

    A job of a sweep keeps its own: the launcher reads in it how the job has ended.
    """
    file = directory / FILE_NAME
    before = file.read_bytes() if file.is_file() else None
    try:
        yield
    except UserError:
        has_begun = bool(record.startup_s or record.epochs or record.evaluation)
        if environment.rank() == 0 and not has_begun and SWEPT not in os.environ:
            if before is not None:
                file.write_bytes(before)
            else:
                file.unlink(missing_ok=True)
                with suppress(OSError):  # it holds something
                    directory.rmdir()
        raise


def _holds(file: Path, content: bytes | None) -> bool:
    return content is not None and file.is_file() and file.read_bytes() == content


@contextmanager
def _recorded(record: RunRecord, directory: Path, earlier: bytes | None) -> Iterator[None]:
    """Writes the record when a run starts, and when it ends, however it ends.

    The record of a run that is to be resumed, `earlier`, stays until `fit` writes over it: what
    a resume checkpoint refuses, say, has not changed that run.
    """
    started = time.perf_counter()
    writes = environment.rank() == 0
    if writes and earlier is None:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            record.write(directory)
        except OSError as error:
            raise UserError(f"run_dir={directory}: cannot be written ({error.strerror})") from error
    try:
        with ended_by_signals():
            yield
    except BaseException as error:
        batch_size = record.config["data"].get("batch_size")
        failure = failure_messages.explain(error, directory, batch_size) or error
        interrupted = isinstance(error, RunInterrupted)
        record.status = "interrupted" if interrupted else "failed"
        kind = "Interrupted" if interrupted else type(failure).__name__
        record.error = {"type": kind, "message": str(failure)}
        if failure is not error:
            raise failure from error
        raise
    else:
        record.status = "completed"
    finally:
        earlier_s = record.resumed[-1].get("earlier_s", 0.0) if record.resumed else 0.0
        record.wall_s = earlier_s + time.perf_counter() - started
        begun = record.status == "completed" or not _holds(directory / FILE_NAME, earlier)
        if writes and begun:
            try:
                record.write_last(directory)
            except OSError as error:
                if record.status == "completed":  # else an error is reported already
                    path = directory / FILE_NAME
                    raise RunFailedError(f"{path}: {error.strerror}") from error


if __name__ == "__main__":
    main()
