"""From a configuration to the objects that train: module, Trainer, checkpoints."""

import logging
from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.callbacks.checkpoint import Checkpoint as AnyCheckpoint
from omegaconf import DictConfig, OmegaConf

from hpml.callbacks.hparams import OF_ONE_EPOCH
from hpml.checkpointing.resume_checkpoints import ResumeCheckpoints
from hpml.checkpointing.stop_on_signal import StopOnSignal
from hpml.config.conf import resolve
from hpml.config.group_choices import name_of
from hpml.config.instantiate import instantiate_target, probe, with_typed_paths
from hpml.data.image_data_module import ImageDataModule
from hpml.errors import UserError
from hpml.models.image_classifier import EPOCH_METRICS, TTA_METRICS, ImageClassifier

log = logging.getLogger("hpml")


def build_module(cfg: DictConfig, data: L.LightningDataModule) -> L.LightningModule:
    """The module of `model`: a LightningModule as it is, a network inside an ImageClassifier.

    A `num_classes` of null is filled in from the data.
    """
    model = instantiate_target(cfg.model, "model", **_classes(cfg, data))
    if isinstance(model, L.LightningModule):
        log.info(f"model={name_of(cfg.model)} brings its own optimizer: `optimizer` has no effect")
        for key in ("channels_last", "label_smoothing", "tta"):
            if cfg[key]:
                log.warning(f"{key} has no effect on your own LightningModule")
        module: L.LightningModule = model
    elif isinstance(model, torch.nn.Module):
        module = _image_classifier(cfg, model, data)
        if cfg.monitor not in _logged(cfg):
            raise UserError(f"monitor={cfg.monitor}: give one of {', '.join(_logged(cfg))}")
        _check_monitors(cfg)
    else:
        raise UserError(f"model._target_={cfg.model._target_}: is no torch.nn.Module")
    if cfg.compile:
        mode = "default" if cfg.compile is True else cfg.compile
        model.compile(mode=mode)  # in place: the checkpoint's names stay those of the plain network
    return module


def _logged(cfg: DictConfig) -> tuple[str, ...]:
    """The metrics of an ImageClassifier."""
    return (*EPOCH_METRICS, *TTA_METRICS) if cfg.tta else EPOCH_METRICS


def _check_monitors(cfg: DictConfig) -> None:
    """Raises UserError for a callback that asks for a metric which the run will not have.

    One of the user's own might log it.
    """
    callbacks = {name: node for name, node in (cfg.callbacks or {}).items() if node}
    targets = [str(node.get("_target_")) for node in callbacks.values()]
    if not all(target.startswith(("hpml.", "lightning.")) for target in targets):
        return
    if any(target.endswith("LearningRateMonitor") for target in targets):  # which logs its own
        return
    validates = cfg.trainer.limit_val_batches != 0
    logged = [name for name in _logged(cfg) if validates or not name.startswith("val/")]
    for name, node in callbacks.items():
        names = [*logged, "epoch", "step"] if "Checkpoint" in node._target_ else logged
        monitor = node.get("monitor")
        if monitor in (*names, None) or node.get("strict") is False:
            continue
        if not str(monitor).startswith(OF_ONE_EPOCH):  # which our timers log
            allowed = ", ".join(names) + ("" if validates else "; there is no validation")
            raise UserError(f"callbacks.{name}.monitor={monitor}: give one of {allowed}")


def _classes(cfg: DictConfig, data: L.LightningDataModule) -> dict[str, Any]:
    """The number of classes where the data has to tell it. Raises UserError for too few."""
    wanted, classes = cfg.model.get("num_classes"), getattr(data, "num_classes", None)
    if isinstance(classes, int) and isinstance(wanted, int) and wanted < classes:
        raise UserError(f"model.num_classes={wanted}: the data has {classes}; give null")
    if wanted is not None or "num_classes" not in cfg.model:
        return {}
    if not hasattr(data, "num_classes"):
        raise UserError("model.num_classes=null: the data module does not say; give a number")
    return {"num_classes": data.num_classes}


def _image_classifier(
    cfg: DictConfig, network: torch.nn.Module, data: L.LightningDataModule
) -> ImageClassifier:
    scales = str(cfg.trainer.precision) in ("16", "16-mixed")
    # to clip gradients that a fused optimizer unscales itself is more than Lightning can
    no_fused = scales and cfg.trainer.gradient_clip_val and cfg.optimizer.get("fused")
    make_optimizer = instantiate_target(
        cfg.optimizer, "optimizer", **({"fused": False} if no_fused else {})
    )
    optimizer = probe("optimizer", lambda: make_optimizer(network.parameters()))
    settings = resolve(cfg.scheduler) if cfg.scheduler else {}
    interval = settings.pop("interval", "epoch")
    make_scheduler = None
    if settings:
        if settings.get("cycle_momentum") and not _has_momentum(optimizer):
            settings["cycle_momentum"] = False
        make_scheduler = instantiate_target(OmegaConf.create(settings), "scheduler")
        steps = {key: 2 for key, value in settings.items() if value is None}
        probe("scheduler", lambda: make_scheduler(optimizer, **steps))
    shape = (cfg.data.batch_size, *data.image_shape) if isinstance(data, ImageDataModule) else None
    return ImageClassifier(
        network,
        make_optimizer,
        make_scheduler,
        scheduler_interval=interval,
        channels_last=cfg.channels_last,
        label_smoothing=cfg.label_smoothing,
        compiled_for=shape if cfg.compile else None,
        tta=cfg.tta,
    )


def _has_momentum(optimizer: torch.optim.Optimizer) -> bool:
    """Whether it has one above 0: OneCycleLR would give one to plain SGD, which lists it as 0."""
    first_beta, *_ = optimizer.defaults.get("betas", [0])
    return bool(optimizer.defaults.get("momentum") or first_beta)


def build_trainer(
    cfg: DictConfig, callbacks: Sequence[L.Callback] = (), purge_step: int | None = None
) -> L.Trainer:
    """The Trainer of `trainer`, with the loggers and callbacks of their groups.

    TensorBoard shows nothing that earlier files of the run hold from `purge_step` on.
    """
    own = [
        instantiate_target(callback, f"callbacks.{name}")
        for name, callback in (cfg.callbacks or {}).items()
        if callback is not None
    ]
    loggers = [
        instantiate_target(logger, f"logger.{name}", **_purging(logger, purge_step))
        for name, logger in (cfg.logger or {}).items()
        if logger is not None
    ]
    arguments = with_typed_paths(resolve(cfg.trainer))
    if arguments.get("enable_checkpointing") is False:
        callbacks = [one for one in callbacks if not isinstance(one, AnyCheckpoint)]
    if arguments.get("enable_progress_bar") is False:
        own = [one for one in own if not isinstance(one, ProgressBar)]
    elif arguments.get("enable_progress_bar") is None:  # of which the Trainer would make a bar
        arguments["enable_progress_bar"] = any(isinstance(one, ProgressBar) for one in own)
    resume_checkpoints = next((c for c in callbacks if isinstance(c, ResumeCheckpoints)), None)
    every = [StopOnSignal(resume_checkpoints), *callbacks, *own]
    return probe("trainer", lambda: L.Trainer(**arguments, callbacks=every, logger=loggers))


def _purging(logger: DictConfig, purge_step: int | None) -> dict[str, int]:
    is_tensorboard = str(logger.get("_target_")).endswith(".TensorBoardLogger")
    return {"purge_step": purge_step} if is_tensorboard and purge_step is not None else {}


def end_processes() -> None:
    """Ends the group of processes that a Trainer has made, if it has made one.

    Left to the interpreter's exit, gloo's threads now and then abort the process.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
