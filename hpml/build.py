"""From a configuration to the objects that train: data module, module, Trainer, checkpoints."""

from __future__ import annotations

import logging
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from hpml.config import first_line, resolve
from hpml.errors import UserError
from hpml.run_facts import name_of, setting_of

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


def build_data(cfg: DictConfig) -> L.LightningDataModule:
    """The data module of `data`, loaded. Raises UserError for bad data."""
    import lightning as L

    data = _instantiate(cfg.data, "data")
    if not isinstance(data, L.LightningDataModule):
        raise UserError(f"data._target_={cfg.data._target_}: is no LightningDataModule")
    data.prepare_data()
    data.setup("fit")
    return data


def build_module(cfg: DictConfig, data: L.LightningDataModule) -> L.LightningModule:
    """The module of `model`: a LightningModule as it is, a network inside an ImageClassifier.

    A `num_classes` of null is filled in from the data.
    """
    import lightning as L
    import torch

    from hpml.module import EPOCH_METRICS, ImageClassifier

    settings: dict[str, Any] = {}
    if "num_classes" in cfg.model and cfg.model.num_classes is None:
        if not hasattr(data, "num_classes"):
            raise UserError("model.num_classes=null: the data module does not say; give a number")
        settings["num_classes"] = data.num_classes
    classes, wanted = getattr(data, "num_classes", None), cfg.model.get("num_classes")
    if isinstance(classes, int) and isinstance(wanted, int) and wanted < classes:
        raise UserError(f"model.num_classes={wanted}: the data has {classes}; give null")
    model = _instantiate(cfg.model, "model", **settings)
    if isinstance(model, L.LightningModule):
        log.info(f"model={name_of(cfg.model)} brings its own optimizer: `optimizer` has no effect")
        for key in ("channels_last", "label_smoothing"):
            if cfg[key]:
                log.warning(f"warning: {key} has no effect on your own LightningModule")
        module: L.LightningModule = model
    elif isinstance(model, torch.nn.Module):
        scales = str(cfg.trainer.precision) in ("16", "16-mixed")
        # to clip gradients that a fused optimizer unscales itself is more than Lightning can
        no_fused = scales and cfg.trainer.gradient_clip_val and cfg.optimizer.get("fused")
        instead = {"fused": False} if no_fused else {}
        make_optimizer = _instantiate(cfg.optimizer, "optimizer", **instead)
        optimizer = _probe("optimizer", lambda: make_optimizer(model.parameters()))
        settings = dict(resolve(cfg)["scheduler"] or {})
        interval = settings.pop("interval", "epoch")
        make_scheduler = None
        if settings:
            if settings.get("cycle_momentum") and not MOMENTUM & optimizer.defaults.keys():
                settings["cycle_momentum"] = False
            make_scheduler = _instantiate(OmegaConf.create(settings), "scheduler")
            steps = {key: 2 for key, value in settings.items() if value is None}
            _probe("scheduler", lambda: make_scheduler(optimizer, **steps))
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

    from hpml.callbacks import HonoursSignals, ResumePoints

    own = [
        _instantiate(callback, f"callbacks.{name}")
        for name, callback in (cfg.callbacks or {}).items()
        if callback is not None
    ]
    loggers = [
        _instantiate(logger, f"logger.{name}", **_purging(logger, purge_step))
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
    points = next((c for c in callbacks if isinstance(c, ResumePoints)), None)
    callbacks = [HonoursSignals(points), *callbacks, *own]
    return _probe("trainer", lambda: L.Trainer(**arguments, callbacks=callbacks, logger=loggers))


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
        setting=setting_of(cfg),
        flops_per_sample=flops_per_sample,
    )


def checkpoints(cfg: DictConfig, directory: Path) -> list[L.Callback]:
    """`last.ckpt` after each epoch; `best.ckpt` too where validation data was kept apart.

    Without it, the best would be chosen on the test set.
    """
    from hpml.callbacks import Checkpoint

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


def _instantiate(node: Any, key: str, **settings: Any) -> Any:
    """What a configuration's `_target_` makes. Raises UserError that names the key.

    What a class of the user's own raises comes through as it is: they need its traceback.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    if not OmegaConf.is_dict(node) or "_target_" not in node:
        raise UserError(f"{key}: needs a _target_")
    try:
        return instantiate(node, _convert_="all", **settings)
    except InstantiationException as error:
        cause = error.__cause__ or error
        package = {"logger.wandb": "wandb", "logger.mlflow": "mlflow"}.get(key)
        if package and isinstance(cause, ModuleNotFoundError):
            raise UserError(f"{key}: is not installed; pip install {package}") from error
        if isinstance(cause, UserError) or not is_about_values(cause):
            raise cause from error
        if isinstance(cause, ImportError) and cause.__cause__ is not None:
            raise UserError(
                f"{key}._target_={node._target_}: cannot be loaded ({first_line(cause.__cause__)})"
            ) from error
        raise UserError(f"{key}: {first_line(cause)}") from error
    except TypeError as error:  # Hydra's word for a wrong _partial_, _args_ or the like
        raise UserError(f"{key}: {first_line(error)}") from error


def _probe(key: str, make: Any) -> Any:
    """Calls what a configuration's values are handed to; names the key where it refuses them."""
    try:
        return make()
    except Exception as error:
        if not is_about_values(error):
            raise
        raise UserError(f"{key}: {first_line(error)}") from error


# The packages to which a configuration's values are handed: what they raise is about the values.
# A frame of any other package's code, the user's above all, needs its traceback.
HANDED_TO = sys.stdlib_module_names | {"hydra", "lightning", "tensorboard", "torch", "torchvision"}


def is_about_values(error: BaseException) -> bool:
    """Whether only code of HANDED_TO, called from here, had a part in an exception."""
    trace = error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_globals.get("__name__", "")
        ours = name in ("hpml.build", "hpml.train", "__main__")
        if not ours and name.partition(".")[0] not in HANDED_TO:
            return False
        trace = trace.tb_next
    return True


def sizes_of(data: L.LightningDataModule) -> dict[str, int]:
    """Samples by split, as far as a data module tells."""
    splits: dict[str, Any] = {n: getattr(data, n, None) for n in ("train", "val", "test")}
    return {name: len(split) for name, split in splits.items() if hasattr(split, "__len__")}
