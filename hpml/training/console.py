"""What a run says of itself: when it starts, when it is over, and when it is cut short."""

from __future__ import annotations

import logging
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from hpml.checkpointing import resume
from hpml.config import command_line
from hpml.config.choices import name_of
from hpml.config.conf import has_curves, spelled
from hpml.data.build import sizes_of
from hpml.records.run_record import FILE_NAME, RunRecord
from hpml.system import environment
from hpml.system.signals import JOB

if TYPE_CHECKING:
    import lightning as L

log = logging.getLogger("hpml")


def announce(
    cfg: DictConfig, record: RunRecord, data: L.LightningDataModule, module: L.LightningModule
) -> None:
    """What will be trained, on what, by which means; the record has its facts."""
    from hpml.models.image_classifier import ImageClassifier

    machine, model = record.environment, record.model or {}
    parts = [f"model={model['name']} ({model['trainable_parameters']:,} parameters)"]
    sizes = [f"{size:,} {name}" for name, size in sizes_of(data).items()]
    parts.append(f"data={name_of(cfg.data)}" + (f" ({', '.join(sizes)})" if sizes else ""))
    if isinstance(module, ImageClassifier) and cfg.optimizer.get("lr"):
        parts.append(f"optimizer={name_of(cfg.optimizer)} (lr {cfg.optimizer.lr:g})")
    if record.chosen:
        parts.append(f"auto: {', '.join(f'{k}={spelled(v)}' for k, v in record.chosen.items())}")
    used = machine["accelerators"] if machine["device"] != "cpu" else None
    parts.append(used[0] if used else f"{machine['cpu']}, {machine['cpu_cores']} cores")
    for part in parts:
        log.info(part)
    processes = cfg.trainer.devices
    if machine["device"] == "cpu" and type(processes) is int and processes > machine["cpu_cores"]:
        log.warning(f"trainer.devices={processes} on {machine['cpu_cores']} usable cores")


def conclude(cfg: DictConfig, directory: Path) -> None:
    """Where a completed run's record, trace and curves are."""
    shown = from_here(directory)
    log.info(f"record: {shown / FILE_NAME}")
    for trace in sorted(directory.rglob("*.pt.trace.json")):
        log.info(f"trace: {from_here(trace)}")
    if has_curves(cfg):
        log.info(f"curves: tensorboard --logdir {shlex.quote(str(shown))}")


def print_resume_hint(directory: Path) -> None:
    """What an interrupted run leaves, and how it goes on."""
    paths = {
        "record": directory / FILE_NAME,
        "checkpoint": directory / "checkpoints" / "last.ckpt",
    }
    left = [f"{name} {from_here(path)}" for name, path in paths.items() if path.exists()]
    if resume.points(directory) and JOB not in os.environ:  # a sweep says how all of it goes on
        here = command_line.as_override("hydra.run.dir", str(from_here(directory)))
        left.append(f"to go on: {command_line.typed('resume=auto', here)}")
    if environment.rank() == 0:
        log.error(f"interrupted: {'; '.join(left)}")


def from_here(path: Path) -> Path:
    """A path as one types it: relative where it lies below the working directory."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
