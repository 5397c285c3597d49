"""One training, from its configuration to the end of its record."""

import json
import logging
import sys
from pathlib import Path
from typing import Any

import lightning as L
import torch
from omegaconf import DictConfig
from tqdm.contrib.logging import logging_redirect_tqdm

from hpml.callbacks import DataLoadTimer, EpochTimer, HParams, PhaseTrace, RunRecorder, TrainTimer
from hpml.checkpointing import resume_choice, safe_load
from hpml.checkpointing.plain_files import hand_over
from hpml.checkpointing.resume_checkpoints import ResumeCheckpoints
from hpml.config.auto import on_device
from hpml.config.command_line import from_here
from hpml.config.conf import resolve
from hpml.config.fingerprint import identifying
from hpml.config.instantiate import is_about_values
from hpml.data.image_data_module import ImageDataModule
from hpml.data.worker_watchdog import ended_if_hung
from hpml.errors import UserError, first_line
from hpml.models.counts import describe, flops_per_sample
from hpml.models.image_classifier import ImageClassifier
from hpml.records.run_record import RunRecord
from hpml.system import environment, failure_messages
from hpml.system.signals import process_signals
from hpml.training.build import build_trainer, end_processes
from hpml.training.csv_rows import keep_rows
from hpml.training.hparams import hparams_of
from hpml.training.prepare import Job, prepare
from hpml.training.run_messages import announce, print_result_paths, print_tta

log = logging.getLogger("hpml")


def fit(cfg: DictConfig, record: RunRecord, directory: Path, last_sign_s: float | None) -> None:
    """Trains as `cfg` says; resumes from a checkpoint in `directory` where it has one.

    `record` is kept up to date in `directory`; `last_sign_s` is when an earlier process last wrote
    there, as `time.time` counts.
    """
    record.environment = environment.describe()
    cfg, record.chosen = on_device(cfg)  # kept also where data or module fail
    job = prepare(cfg)
    record.chosen |= job.chosen
    record.environment["threads"]["intra_op"] = torch.get_num_threads()  # which it has set
    cfg = job.cfg
    if job.is_ours and cfg.trainer.num_sanity_val_steps is None:
        # Lightning's two tell whether a validation works; on a CPU they are half of the start-up
        cfg.trainer.num_sanity_val_steps = 0
    record.model = describe(job.module, job.names["model"])
    record.model["num_classes"] = getattr(job.data, "num_classes", None)
    record.model["flops_per_sample"] = flops = _flops(job)
    timer = EpochTimer(
        every_n_steps=cfg.timing.every_n_steps,
        sync=cfg.timing.sync,
        say=log.info,
        facts=job.facts(),
        flops_per_sample=flops,
    )
    recorder = RunRecorder(directory, timer, record)
    facts = _facts_to_resume(job, record)
    found = resume_choice.choose(directory, cfg.resume, facts, environment.rank())
    every_s, warns = cfg.checkpoint.every_s, resume_choice.mode(cfg.resume) != resume_choice.NEVER
    resume_checkpoints = ResumeCheckpoints(directory, facts, timer, recorder, every_s, warns, found)
    callbacks = [DataLoadTimer(), TrainTimer(), timer, recorder]
    callbacks += [HParams(hparams_of(cfg), recorder)]
    callbacks += [PhaseTrace(recorder, say=log.info)] if cfg.timing.trace else []
    callbacks += [*job.checkpoints(directory), resume_checkpoints]
    first_step = found.state["logging_step"] if found else 0
    trainer = build_trainer(cfg, callbacks, purge_step=first_step)
    resume_checkpoints.imported = frozenset(sys.modules)
    if found:
        own = found.path.is_relative_to(directory.resolve())
        _resume_data(trainer, job, record, found, last_sign_s if own else None)
        _resume_states(trainer, found)
        keep_rows(trainer.loggers, first_step)
    is_kept = resume_checkpoints in trainer.callbacks  # type: ignore[attr-defined]
    if cfg.resume == resume_choice.AUTO and not is_kept:
        log.warning("resume=auto: trainer.enable_checkpointing=false leaves no checkpoints")
    record.environment["device"] = trainer.strategy.root_device.type
    if trainer.is_global_zero:
        record.write(directory)
        announce(job, record)
    process_signals.raise_if_arrived()
    _call_fit(trainer, job, found.path if found else None, recorder)
    if trainer.is_global_zero:
        print_tta(record)
        print_result_paths(cfg, directory)


def _facts_to_resume(job: Job, record: RunRecord) -> dict[str, Any]:
    """What a run has in common with a checkpoint from which it resumes."""
    return {
        resume_choice.CONFIGURATION: json.loads(
            json.dumps(identifying(resolve(job.cfg)), default=str)
        ),
        "code": record.code_fingerprint,
        "torch": str(torch.__version__),
        "device": job.device,
    }


def _resume_data(
    trainer: L.Trainer,
    job: Job,
    record: RunRecord,
    found: resume_choice.Found,
    last_sign_s: float | None,
) -> None:
    """Has the data begin where a checkpoint was made; says so, and keeps it in the record."""
    checkpoint, state, _ = found
    if len(state["ranks"]) != trainer.world_size:
        raise UserError(
            f"{checkpoint}: was made by {len(state['ranks'])} processes, this run has "
            f"{trainer.world_size}: it cannot resume exactly; give resume=never"
        )
    if isinstance(job.data, ImageDataModule):
        job.data.begin_at(*state["begins_at"])
    lost_s = None if last_sign_s is None else max(0.0, last_sign_s - state["record"]["saved_at"])
    record.resumed = [{"at": record.started_at, "batches": state["batches"], "lost_s": lost_s}]
    lost = f"; {lost_s:.0f} s of work after it are lost" if lost_s and lost_s >= 1 else ""
    if environment.rank() == 0:
        log.info(f"resumes after {state['batches']:,} batches, from {from_here(checkpoint)}{lost}")


def _resume_states(trainer: L.Trainer, found: resume_choice.Found) -> None:
    """Hands them to the Trainer: by now all classes that they may hold are imported."""
    try:
        hand_over(trainer.strategy, found.content)
    except Exception as error:  # of any type's constructor
        raise UserError(
            f"{found.path}: cannot be loaded: {safe_load.reason(error)}; give resume=never"
        ) from error


def _call_fit(trainer: L.Trainer, job: Job, checkpoint: Path | None, recorder: RunRecorder) -> None:
    hung_s = job.data.timeout_s if isinstance(job.data, ImageDataModule) else None
    recorder.fit_called()
    try:
        # the bar steps aside for each line
        with logging_redirect_tqdm(_printing()), ended_if_hung(hung_s):
            trainer.fit(job.module, datamodule=job.data, ckpt_path=checkpoint, weights_only=True)
    except Exception as error:
        # Lightning looks at some of its arguments only once it has a loader at hand.
        known = failure_messages.explain(error, recorder.directory)
        if known is None and not recorder.timer.begun and is_about_values(error):
            raise UserError(f"trainer: {first_line(error)}") from error
        raise
    finally:
        recorder.fit_returned()
    end_processes()


def _printing() -> list[logging.Logger]:
    """The loggers that print: the root of a command, ours in a call from Python."""
    return [logger for logger in (logging.root, log) if logger.handlers]


def _flops(job: Job) -> float | None:
    """Of one sample; None for modules and data of the user's own, whose inputs are not known."""
    if not (isinstance(job.module, ImageClassifier) and isinstance(job.data, ImageDataModule)):
        return None
    try:
        return flops_per_sample(job.module.network, job.data.image_shape)
    except Exception:  # a network of their own that cannot be copied, or not be run without data
        return None
