"""From a configuration to the objects that train: data module, module, Trainer, checkpoints."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from hpml.config.choices import name_of
from hpml.config.conf import resolve
from hpml.config.instantiate import instantiate_target, probe
from hpml.errors import UserError
from hpml.training.job_facts import facts_of_config

if TYPE_CHECKING:
    import lightning as L

    from hpml.callbacks import EpochTimer

log = logging.getLogger("hpml")

MOMENTUM = {"momentum", "betas"}  # what an optimizer that has one calls it


def quiet_lightning() -> None:
    """Leaves out what nobody can act on: greetings, a deprecation inside Lightning, and that an
    epoch has fewer steps than its loggers' interval, since we log once an epoch.
    """
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("lightning.pytorch.profilers").setLevel(logging.INFO)  # its report
    # of each that compiles, without a GPU: there is none
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\)")
    warnings.filterwarnings("ignore", message=".*smaller than the logging interval")
    warnings.filterwarnings("ignore", message="torch.distributed.nn.functional.all_gather is depre")
    # a run that goes on does so exactly, or not at all
    warnings.filterwarnings("ignore", message=".*ended before the epoch ended and your dataloader")
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
    warnings.filterwarnings("ignore", message="The dirpath has changed from")
    # a batch script may start its one process as it likes
    warnings.filterwarnings("ignore", message="The `srun` command is available on your system")


def build_module(cfg: DictConfig, data: L.LightningDataModule) -> L.LightningModule:
    """The module of `model`: a LightningModule as it is, a network inside an ImageClassifier.

    A `num_classes` of null is filled in from the data.
    """
    import lightning as L
    import torch

    from hpml.models.image_classifier import EPOCH_METRICS, ImageClassifier

    settings: dict[str, Any] = {}
    if "num_classes" in cfg.model and cfg.model.num_classes is None:
        if not hasattr(data, "num_classes"):
            raise UserError("model.num_classes=null: the data module does not say; give a number")
        settings["num_classes"] = data.num_classes
    classes, wanted = getattr(data, "num_classes", None), cfg.model.get("num_classes")
    if isinstance(classes, int) and isinstance(wanted, int) and wanted < classes:
        raise UserError(f"model.num_classes={wanted}: the data has {classes}; give null")
    model = instantiate_target(cfg.model, "model", **settings)
    if isinstance(model, L.LightningModule):
        log.info(f"model={name_of(cfg.model)} brings its own optimizer: `optimizer` has no effect")
        for key in ("channels_last", "label_smoothing"):
            if cfg[key]:
                log.warning(f"{key} has no effect on your own LightningModule")
        module: L.LightningModule = model
    elif isinstance(model, torch.nn.Module):
        scales = str(cfg.trainer.precision) in ("16", "16-mixed")
        # to clip gradients that a fused optimizer unscales itself is more than Lightning can
        no_fused = scales and cfg.trainer.gradient_clip_val and cfg.optimizer.get("fused")
        instead = {"fused": False} if no_fused else {}
        make_optimizer = instantiate_target(cfg.optimizer, "optimizer", **instead)
        optimizer = probe("optimizer", lambda: make_optimizer(model.parameters()))
        settings = dict(resolve(cfg)["scheduler"] or {})
        interval = settings.pop("interval", "epoch")
        make_scheduler = None
        if settings:
            if settings.get("cycle_momentum") and not MOMENTUM & optimizer.defaults.keys():
                settings["cycle_momentum"] = False
            make_scheduler = instantiate_target(OmegaConf.create(settings), "scheduler")
            steps = {key: 2 for key, value in settings.items() if value is None}
            probe("scheduler", lambda: make_scheduler(optimizer, **steps))
        module = ImageClassifier(
            model,
            make_optimizer,
            make_scheduler,
            scheduler_interval=interval,
            channels_last=cfg.channels_last,
            label_smoothing=cfg.label_smoothing,
            compiled_for=_batch_shape(cfg, data) if cfg.compile else None,
        )
        if cfg.monitor not in EPOCH_METRICS:
            raise UserError(f"monitor={cfg.monitor}: give one of {', '.join(EPOCH_METRICS)}")
    else:
        raise UserError(f"model._target_={cfg.model._target_}: is no torch.nn.Module")
    if cfg.compile:
        mode = "default" if cfg.compile is True else cfg.compile
        model.compile(mode=mode)  # in place: the checkpoint's names stay those of the plain network
    return module


def _batch_shape(cfg: DictConfig, data: L.LightningDataModule) -> tuple[int, ...] | None:
    """Of a full training batch; None for data of the user's own."""
    from hpml.data import ImageDataModule

    return (cfg.data.batch_size, *data.image_shape) if isinstance(data, ImageDataModule) else None


def build_trainer(
    cfg: DictConfig, callbacks: list[L.Callback], purge_step: int | None = None
) -> L.Trainer:
    """The Trainer of `trainer`, with the loggers and callbacks of their groups.

    TensorBoard shows nothing that earlier files of the run hold from `purge_step` on.
    """
    import lightning as L

    from hpml.checkpointing.resume_checkpoints import ResumeCheckpoints
    from hpml.checkpointing.stop_on_signal import StopOnSignal

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
    arguments = dict(resolve(cfg)["trainer"])
    if arguments.get("enable_checkpointing") is False:
        callbacks = [c for c in callbacks if not isinstance(c, L.pytorch.callbacks.Checkpoint)]
    if arguments.get("enable_progress_bar") is False:
        own = [c for c in own if not isinstance(c, L.pytorch.callbacks.ProgressBar)]
    elif arguments.get("enable_progress_bar") is None:  # of which the Trainer would make a bar
        arguments["enable_progress_bar"] = any(
            isinstance(c, L.pytorch.callbacks.ProgressBar) for c in own
        )
    points = next((c for c in callbacks if isinstance(c, ResumeCheckpoints)), None)
    callbacks = [StopOnSignal(points), *callbacks, *own]
    return probe("trainer", lambda: L.Trainer(**arguments, callbacks=callbacks, logger=loggers))


def end_processes() -> None:
    """Ends the group of processes that a Trainer has made, if it has made one.

    Left to the interpreter's exit, gloo's threads now and then abort the process.
    """
    import torch

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _purging(logger: DictConfig, purge_step: int | None) -> dict[str, int]:
    is_tensorboard = str(logger.get("_target_")).endswith(".TensorBoardLogger")
    return {"purge_step": purge_step} if is_tensorboard and purge_step is not None else {}


def build_epoch_timer(cfg: DictConfig, flops_per_sample: float | None) -> EpochTimer:
    """The timer of epochs, which prints to the log, and whose advice names our keys."""
    from hpml.callbacks import EpochTimer

    return EpochTimer(
        every_n_steps=cfg.timing.every_n_steps,
        sync=cfg.timing.sync,
        say=log.info,
        setting=facts_of_config(cfg),
        flops_per_sample=flops_per_sample,
    )


def checkpoints(cfg: DictConfig, directory: Path) -> list[L.Callback]:
    """`last.ckpt` after each epoch; `best.ckpt` too where validation data was kept apart.

    Without it, the best would be chosen on the test set.
    """
    from hpml.checkpointing.last_and_best import Checkpoint

    names = {group: name_of(cfg[group]) for group in ("data", "model", "optimizer")}
    contents = {"hpml_config": resolve(cfg), "hpml_names": names}
    folder = directory / "checkpoints"
    last = Checkpoint(contents, dirpath=folder, filename="last", save_on_train_epoch_end=True)
    if not cfg.data.get("val_split"):
        return [last]
    best = Checkpoint(
        contents,
        dirpath=folder,
        filename="best",
        monitor=cfg.monitor,
        mode=_mode(cfg),
    )
    return [last, best]


def _mode(cfg: DictConfig) -> str:
    if cfg.monitor_mode != "auto":
        return str(cfg.monitor_mode)
    return "min" if "loss" in cfg.monitor or "error" in cfg.monitor else "max"
