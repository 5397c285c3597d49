"""What a run prints of itself: when it starts, when it is over, and when it is cut short.

An epoch's line is a row of `hpml/records/epoch_lines.py`; the verdict, with which a fit ends, comes
from `hpml/callbacks/verdict_lines.py`.
"""

from __future__ import annotations

import logging
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from hpml.checkpointing import resume_choice
from hpml.config import command_line
from hpml.config.command_line import from_here
from hpml.config.conf import has_curves, spelled
from hpml.records.run_record import FILE_NAME, RunRecord
from hpml.system import environment, tensorboard
from hpml.system.signals import JOB

if TYPE_CHECKING:
    from hpml.training.prepare import Job

log = logging.getLogger("hpml")


def announce(job: Job, record: RunRecord) -> None:
    """Prints what will be trained, on what, by which means."""
    cfg, machine, model = job.cfg, record.environment, record.model or {}
    parts = [f"model={model['name']} ({model['trainable_parameters']:,} parameters)"]
    sizes = ", ".join(f"{size:,} {split}" for split, size in job.sizes.items())
    parts.append(f"data={job.names['data']}" + (f" ({sizes})" if sizes else ""))
    if job.is_image_classifier and cfg.optimizer.get("lr"):
        parts.append(f"optimizer={job.names['optimizer']} (lr {cfg.optimizer.lr:g})")
    if record.chosen:
        parts.append(f"auto: {', '.join(f'{k}={spelled(v)}' for k, v in record.chosen.items())}")
    used = machine["accelerators"] if machine["device"] != "cpu" else None
    parts.append(used[0] if used else f"{machine['cpu']}, {machine['cpu_cores']} cores")
    for part in parts:
        log.info(part)
    processes = cfg.trainer.devices
    if machine["device"] == "cpu" and type(processes) is int and processes > machine["cpu_cores"]:
        log.warning(f"trainer.devices={processes} on {machine['cpu_cores']} usable cores")


def print_tta(record: RunRecord) -> None:
    """Prints the last accuracy with test-time augmentation, if there is one, and the plain one."""
    with_mirror, plain = map(record.last_metric, ("val/tta_accuracy", "val/accuracy"))
    if with_mirror is not None and plain is not None:
        log.info(f"val/tta_accuracy {with_mirror:.2%} with mirror images, {plain:.2%} without")


def print_result_paths(cfg: DictConfig, directory: Path) -> None:
    """Prints where a completed run's record, trace and curves are."""
    shown = from_here(directory)
    log.info(f"record: {shlex.quote(str(shown / FILE_NAME))}")
    for trace in sorted(directory.rglob("*.pt.trace.json")):
        log.info(f"trace: {shlex.quote(str(from_here(trace)))}")
    if has_curves(cfg):
        log.info(f"curves: {tensorboard.command(directory, shown)}")


def print_resume_hint(directory: Path) -> None:
    """Prints what an interrupted run leaves, and the command that resumes it."""
    paths = {"record": directory / FILE_NAME, "checkpoint": directory / "checkpoints" / "last.ckpt"}
    there = {name: from_here(path) for name, path in paths.items() if path.exists()}
    left = [f"{name} {shlex.quote(str(path))}" for name, path in there.items()]
    # a sweep says how all of it resumes
    if resume_choice.resume_checkpoints(directory) and JOB not in os.environ:
        here = command_line.as_override("hydra.run.dir", str(from_here(directory)))
        left.append(f"to resume: {command_line.typed('resume=auto', here)}")
    if environment.rank() == 0:
        log.error(f"interrupted: {'; '.join(left)}")
