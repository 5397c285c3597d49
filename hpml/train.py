"""Trains a network as configured: `train(cfg) -> RunRecord`, and the program around it."""

# torch and Lightning take seconds to import: `--help`, a mistyped key and a sweep's check of its
# jobs do without them, and a run says where it goes before it imports them.
from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

import hpml
from hpml.checkpointing import resume
from hpml.cli.program import run_hydra
from hpml.config import command_line
from hpml.config.auto import device_type, on_device
from hpml.config.checks import check, unused_keys
from hpml.config.choices import choices, name_of
from hpml.config.conf import resolve
from hpml.config.fingerprint import code_fingerprint, fingerprint, identifying
from hpml.config.instantiate import is_about_values
from hpml.data.build import build_data
from hpml.errors import RunFailedError, UserError, first_line
from hpml.records.run_record import FILE_NAME, RecordError, RunRecord, now
from hpml.system import environment, failures
from hpml.system.garbage_collection import gc_paused
from hpml.system.signals import RunInterrupted, ended_by_signals, process_signals, signals_held
from hpml.training.build import (
    build_epoch_timer,
    build_module,
    build_trainer,
    checkpoints,
    end_processes,
    quiet_lightning,
)
from hpml.training.console import announce, conclude, from_here, print_resume_hint
from hpml.training.evaluate import evaluate
from hpml.training.job_facts import hparams_of

if TYPE_CHECKING:
    import lightning as L

    from hpml.callbacks import RunRecorder

log = logging.getLogger("hpml")


def main() -> None:
    """The program `python -m hpml.train`."""
    run_hydra(job, config_name="train")


def job(cfg: DictConfig) -> float | None:
    """One run; returns the metric named by `monitor`, for Hydra's sweepers.

    None where the run's module does not log it.
    """
    if environment.rank():
        log.setLevel(logging.ERROR)  # the first rank says it for all
    log.info(f"hpml {hpml.__version__} in {from_here(Path(cfg.run_dir))}")
    try:
        record = train(cfg)
    except RunInterrupted:
        print_resume_hint(Path(cfg.run_dir))
        raise
    logged = {name: None for epoch in record.epochs for name in epoch.metrics}
    if record.epochs and cfg.monitor not in logged:
        among = f"not among {', '.join(logged)}" if logged else "the module logs no metrics"
        log.warning(f"monitor={cfg.monitor}: {among}")
    return record.last_metric(cfg.monitor)


def train(cfg: DictConfig) -> RunRecord:
    """Trains (or with `evaluate`, evaluates) as `cfg` says, and keeps the record in `cfg.run_dir`.

    Raises UserError for wrong input, RunFailedError where the loss is not finite, RunInterrupted on
    SIGINT, SIGTERM and SIGHUP, and whatever a module or callback of the user's own raises. The
    record on the disk says which.
    """
    check(cfg)
    directory = Path(cfg.run_dir)
    config = resolve(cfg)
    resume.check(cfg.resume)
    last_sign_s = resume.last_sign_s(directory)
    record = RunRecord(
        started_at=now(),
        fingerprint=fingerprint(config),
        code_fingerprint=code_fingerprint(config),
        command=command_line.typed(),
        overrides=command_line.overrides(),
        choices=choices(),
        config=config,
        environment={},
    )
    if cfg.resume != resume.NEVER or cfg.evaluate is not None:
        complete = _completed(directory)
        goes_on = resume.wanted(cfg.resume) == resume.AUTO and cfg.evaluate is None
        if complete is not None and goes_on and _is_the_same(complete, record):
            log.info(f"complete already: {from_here(directory)}; resume=never trains it again")
            return complete
        if cfg.evaluate is not None and (complete is not None or resume.points(directory)):
            kind = "an unfinished" if complete is None else "a completed"
            raise UserError(f"{from_here(directory)}: holds {kind} run: give another hydra.run.dir")
        if complete is not None:
            raise UserError(
                f"{from_here(directory)}: holds a completed run: give another hydra.run.dir, or "
                "resume=never to train over it"
            )
        if cfg.resume is None and not goes_on and resume.points(directory):
            raise UserError(
                f"{from_here(directory)}: holds an unfinished run: resume=auto goes on with it, "
                "resume=never begins at the start, in its place"
            )
    with _outcome(record, directory):
        if cfg.evaluate is None:
            _fit(cfg, record, directory, last_sign_s)
        else:
            evaluate(cfg, record)
            return record
    if environment.rank() == 0:
        resume.remove(directory)
    return record


def _completed(directory: Path) -> RunRecord | None:
    """The record of the training that has completed in a directory."""
    try:
        known = RunRecord.read(directory)
    except RecordError:
        return None
    return known if known.status == "completed" and known.evaluation is None else None


def _is_the_same(known: RunRecord, record: RunRecord) -> bool:
    theirs, ours = (one.fingerprint + one.code_fingerprint for one in (known, record))
    return theirs == ours


@contextmanager
def _outcome(record: RunRecord, directory: Path) -> Iterator[None]:
    """Writes the record when a run starts, and when it ends, however it ends."""
    started = time.perf_counter()
    writes = environment.rank() == 0
    if writes:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            record.write(directory)
        except OSError as error:
            raise UserError(f"run_dir={directory}: cannot be written ({error.strerror})") from error
    try:
        with ended_by_signals():
            yield
    except BaseException as error:
        failure = (
            failures.explain(error, directory, record.config["data"].get("batch_size")) or error
        )
        record.status = "interrupted" if isinstance(error, RunInterrupted) else "failed"
        kind = "Interrupted" if isinstance(error, RunInterrupted) else type(failure).__name__
        record.error = {"type": kind, "message": str(failure)}
        if failure is not error:
            raise failure from error
        raise
    else:
        record.status = "completed"
    finally:
        earlier_s = record.resumed[-1].get("earlier_s", 0.0) if record.resumed else 0.0
        record.wall_s = earlier_s + time.perf_counter() - started
        if writes:
            try:
                record.write_last(directory)
            except OSError as error:
                if record.status == "completed":  # else an error is told already
                    path = directory / FILE_NAME
                    raise RunFailedError(f"{path}: {error.strerror}") from error


def _fit(cfg: DictConfig, record: RunRecord, directory: Path, last_sign_s: float | None) -> None:
    with signals_held(), gc_paused():
        import lightning as L
        import torch

        from hpml.callbacks import DataLoadTimer, HParams, RunRecorder, TrainTimer
        from hpml.checkpointing.resume_checkpoints import ResumeCheckpoints
        from hpml.data import ImageDataModule
        from hpml.models.counts import describe
        from hpml.models.image_classifier import ImageClassifier

    quiet_lightning()
    record.environment = environment.describe()
    cfg, record.chosen = on_device(cfg)
    for sentence in unused_keys(cfg):
        log.warning(sentence)
    L.seed_everything(cfg.seed, workers=True, verbose=False)
    data = build_data(cfg)
    module = build_module(cfg, data)
    ours = isinstance(module, ImageClassifier) and isinstance(data, ImageDataModule)
    if ours and cfg.trainer.num_sanity_val_steps is None:
        # Lightning's two tell whether a validation works; on a CPU they are half of the start-up
        cfg.trainer.num_sanity_val_steps = 0
    record.model = describe(module, name_of(cfg.model))
    record.model["flops_per_sample"] = _flops(module, data)
    timer = build_epoch_timer(cfg, record.model["flops_per_sample"])
    recorder = RunRecorder(directory, timer, record)
    timers = [DataLoadTimer(), TrainTimer(), timer, recorder, HParams(hparams_of(cfg))]
    facts = {resume.CONFIGURATION: json.loads(json.dumps(identifying(resolve(cfg)), default=str))}
    facts |= {"code": record.code_fingerprint, "torch": str(torch.__version__)}
    facts["device"] = device_type(cfg)
    found = resume.choose(directory, cfg.resume, facts, environment.rank())
    goes_on = resume.wanted(cfg.resume) != resume.NEVER
    every_s = cfg.checkpoint.every_s
    points = ResumeCheckpoints(directory, facts, timer, recorder, every_s, goes_on, found)
    logged_to = found[1]["logging_step"] if found else None
    trainer = build_trainer(cfg, [*timers, *checkpoints(cfg, directory), points], logged_to)
    if found:
        own = found[0].is_relative_to(directory.resolve())
        _go_on(trainer, data, record, *found, last_sign_s if own else None)
    if cfg.resume == resume.AUTO and points not in trainer.callbacks:  # type: ignore[attr-defined]
        log.warning("resume=auto: trainer.enable_checkpointing=false leaves no points")
    record.environment["device"] = trainer.strategy.root_device.type
    if trainer.is_global_zero:
        record.write(directory)
        announce(cfg, record, data, module)
    process_signals.raise_if_arrived()
    _call_fit(trainer, module, data, found[0] if found else None, recorder)
    if trainer.is_global_zero:
        conclude(cfg, directory)


def _go_on(
    trainer: L.Trainer,
    data: L.LightningDataModule,
    record: RunRecord,
    point: Path,
    state: dict[str, Any],
    last_sign_s: float | None,
) -> None:
    """Has the data begin where a point was made; says so, and keeps it in the record."""
    from hpml.data import ImageDataModule

    if len(state["ranks"]) != trainer.world_size:
        raise UserError(
            f"{point}: was made by {len(state['ranks'])} processes, this run has "
            f"{trainer.world_size}: it cannot go on exactly; give resume=never"
        )
    if isinstance(data, ImageDataModule):
        data.begin_at(*state["begins_at"])
    earlier = state["record"]
    lost_s = None if last_sign_s is None else max(0.0, last_sign_s - earlier["saved_at"])
    record.resumed = [{"at": record.started_at, "batches": state["batches"], "lost_s": lost_s}]
    lost = f"; {lost_s:.0f} s of work after it are lost" if lost_s and lost_s >= 1 else ""
    if environment.rank() == 0:
        log.info(f"going on after {state['batches']:,} batches, from {from_here(point)}{lost}")


def _call_fit(
    trainer: L.Trainer,
    module: L.LightningModule,
    data: L.LightningDataModule,
    point: Path | None,
    recorder: RunRecorder,
) -> None:
    from tqdm.contrib.logging import logging_redirect_tqdm

    from hpml.data import ImageDataModule
    from hpml.data.watchdog import ended_if_hung

    hung_s = data.timeout_s if isinstance(data, ImageDataModule) else None
    recorder.fit_called()
    try:
        # the bar steps aside for each line
        with logging_redirect_tqdm(), ended_if_hung(hung_s):
            trainer.fit(module, datamodule=data, ckpt_path=point, weights_only=True)
    except Exception as error:
        # Lightning looks at some of its arguments only once it has a loader at hand.
        if not recorder.timer.begun and is_about_values(error):
            raise UserError(f"trainer: {first_line(error)}") from error
        raise
    finally:
        recorder.fit_returned()
    end_processes()


def _flops(module: L.LightningModule, data: L.LightningDataModule) -> float | None:
    """Of one sample; None for modules and data of the user's own, whose inputs are not known."""
    from hpml.data import ImageDataModule
    from hpml.models.counts import flops_per_sample
    from hpml.models.image_classifier import ImageClassifier

    if not (isinstance(module, ImageClassifier) and isinstance(data, ImageDataModule)):
        return None
    try:
        return flops_per_sample(module.network, data.image_shape)
    except Exception:  # a network of their own that cannot be copied, or not be run without data
        return None


if __name__ == "__main__":
    main()
