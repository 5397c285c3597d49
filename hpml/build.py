"""From a configuration to the objects that train: data module, module, Trainer, checkpoints."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from hpml.config import first_line, resolve
from hpml.errors import UserError

if TYPE_CHECKING:
    import lightning as L

log = logging.getLogger("hpml")


def quiet_lightning() -> None:
    """Leaves out what nobody can act on: greetings, a deprecation inside Lightning, and that an
    epoch has fewer steps than its loggers' interval, since we log once an epoch.
    """
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\)")
    warnings.filterwarnings("ignore", message=".*smaller than the logging interval")


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
    model = _instantiate(cfg.model, "model", **settings)
    if isinstance(model, L.LightningModule):
        log.info(f"model={name_of(cfg.model)} brings its own optimizer: `optimizer` has no effect")
        module: L.LightningModule = model
    elif isinstance(model, torch.nn.Module):
        optimizer = _instantiate(cfg.optimizer, "optimizer")
        _probe("optimizer", lambda: optimizer(model.parameters()))
        scheduler = dict(cfg.scheduler or {})
        interval = scheduler.pop("interval", "epoch")
        module = ImageClassifier(
            model,
            optimizer,
            _instantiate(OmegaConf.create(scheduler), "scheduler") if scheduler else None,
            scheduler_interval=interval,
            channels_last=cfg.channels_last,
        )
        if cfg.monitor not in EPOCH_METRICS:
            raise UserError(f"monitor={cfg.monitor}: give one of {', '.join(EPOCH_METRICS)}")
    else:
        raise UserError(f"model._target_={cfg.model._target_}: is no torch.nn.Module")
    if cfg.compile:
        model.compile()  # in place: the checkpoint's names stay those of the plain network
    return module


def build_trainer(cfg: DictConfig, callbacks: list[L.Callback]) -> L.Trainer:
    """The Trainer of `trainer`, with the loggers and callbacks of their groups."""
    import lightning as L

    own = [
        _instantiate(callback, f"callbacks.{name}")
        for name, callback in (cfg.callbacks or {}).items()
        if callback is not None
    ]
    loggers = [
        _instantiate(logger, f"logger.{name}")
        for name, logger in (cfg.logger or {}).items()
        if logger is not None
    ]
    arguments = dict(resolve(cfg)["trainer"])
    if arguments["enable_checkpointing"] is False:
        callbacks = [c for c in callbacks if not isinstance(c, L.pytorch.callbacks.Checkpoint)]
    if arguments["enable_progress_bar"] is False:
        own = [c for c in own if not isinstance(c, L.pytorch.callbacks.ProgressBar)]
    elif arguments["enable_progress_bar"] is None:  # of which the Trainer would make a bar
        arguments["enable_progress_bar"] = any(
            isinstance(c, L.pytorch.callbacks.ProgressBar) for c in own
        )
    return _probe(
        "trainer", lambda: L.Trainer(**arguments, callbacks=callbacks + own, logger=loggers)
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
        mode="min" if "loss" in cfg.monitor else "max",
    )
    return [last, best]


def require_device(cfg: DictConfig) -> None:
    """Raises UserError where `device` asks for an accelerator that is not there."""
    import torch

    if cfg.device == "gpu" and not torch.cuda.is_available():
        raise UserError("device=gpu: PyTorch sees no GPU here; give device=cpu or device=auto")
    if cfg.device == "mps" and not torch.backends.mps.is_available():
        raise UserError("device=mps: PyTorch sees no Apple GPU here; give device=cpu")


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
        extra = {"logger.wandb": "wandb", "logger.mlflow": "mlflow"}.get(key)
        if extra and isinstance(cause, ModuleNotFoundError):
            raise UserError(f'{key}: needs the extra; pip install "hpml[{extra}]"') from error
        if isinstance(cause, UserError) or not _raised_in(cause, THEIRS):
            raise cause from error
        raise UserError(f"{key}: {cause}") from error
    except TypeError as error:  # Hydra's word for a wrong _partial_, _args_ or the like
        raise UserError(f"{key}: {first_line(error)}") from error


def _probe(key: str, make: Any) -> Any:
    """Calls what a configuration's values are handed to; names the key where it refuses them."""
    try:
        return make()
    except Exception as error:
        if not _raised_in(error, THEIRS):
            raise
        raise UserError(f"{key}: {first_line(error)}") from error


# The packages to which a configuration's values are handed: what they raise is about the values.
THEIRS = ("hydra", "hpml", "lightning", "torch", "torchvision")


def _raised_in(error: BaseException, packages: tuple[str, ...]) -> bool:
    """Whether an exception comes from the code of one of these packages."""
    trace = error.__traceback__
    name = ""
    while trace is not None:
        name = trace.tb_frame.f_globals.get("__name__", "")
        trace = trace.tb_next
    return name.partition(".")[0] in packages


def raised_by_lightning(error: BaseException) -> bool:
    """Whether Lightning itself raised an exception, and no hook that it called."""
    return _raised_in(error, ("lightning",))


def name_of(node: DictConfig) -> str:
    """What was chosen of a group, or the last part of its `_target_` where Hydra does not say."""
    from hydra.core.hydra_config import HydraConfig

    key = str(node._key())
    if HydraConfig.initialized():
        choice = HydraConfig.get().runtime.choices.get(key)
        if choice:
            return str(choice)
    return str(node.get("_target_")).rpartition(".")[2].lower()
