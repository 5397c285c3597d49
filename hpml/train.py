"""Trains a network as configured: `train(cfg) -> RunRecord`, and the program around it."""

# torch and Lightning take seconds to import: `--help`, a mistyped key and a sweep's check of its
# jobs do without them, and a run says where it goes before it imports them.
from __future__ import annotations

import logging
import os
import shlex
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

import hpml
from hpml.cli import run_hydra
from hpml.config import check, fingerprint, first_line, resolve, without_effect
from hpml.errors import UserError
from hpml.interrupt import Interrupted, ended_by_signals
from hpml.records import RunRecord, now

if TYPE_CHECKING:
    import lightning as L

log = logging.getLogger("hpml")


def main() -> None:
    """The program `python -m hpml.train`."""
    run_hydra(job, config_name="train")


def job(cfg: DictConfig) -> float | None:
    """One run; returns the metric named by `monitor`, for Hydra's sweepers.

    None where the run's module does not log it.
    """
    if os.environ.get("LOCAL_RANK", "0") != "0":
        log.setLevel(logging.ERROR)  # the first rank says it for all
    log.info(f"hpml {hpml.__version__} in {cfg.run_dir}")
    record = train(cfg)
    metrics = record.epochs[-1].metrics if record.epochs else {}
    if record.epochs and cfg.monitor not in metrics:
        log.warning(
            f"warning: monitor={cfg.monitor}: not among {', '.join(metrics) or 'no metrics'}"
        )
    return metrics.get(cfg.monitor)


def train(cfg: DictConfig) -> RunRecord:
    """Trains (or with `evaluate`, evaluates) as `cfg` says, and keeps the record in `cfg.run_dir`.

    Raises UserError for wrong input, RunFailedError where the loss is not finite, Interrupted on
    SIGINT and SIGTERM, and whatever a module or callback of the user's own raises. The record on
    the disk says which.
    """
    check(cfg)
    directory = Path(cfg.run_dir)
    record = RunRecord(
        started_at=now(),
        fingerprint=fingerprint(cfg),
        command=_command(),
        overrides=_overrides(),
        config=resolve(cfg),
        environment={},
    )
    with ended_by_signals(), _outcome(record, directory):
        for sentence in without_effect(cfg):
            log.warning(f"warning: {sentence}")
        if cfg.evaluate is None:
            _fit(cfg, record, directory)
        else:
            _evaluate(cfg, record, directory)
    return record


@contextmanager
def _outcome(record: RunRecord, directory: Path) -> Iterator[None]:
    """Writes the record when a run starts, and when it ends, however it ends."""
    started = time.perf_counter()
    writes = "LOCAL_RANK" not in os.environ or os.environ["LOCAL_RANK"] == "0"
    if writes:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            record.write(directory)
        except OSError as error:
            raise UserError(f"run_dir={directory}: cannot be written ({error.strerror})") from error
    try:
        yield
    except BaseException as error:
        record.status = "interrupted" if isinstance(error, Interrupted) else "failed"
        record.error = {"type": type(error).__name__, "message": str(error)}
        raise
    else:
        record.status = "completed"
    finally:
        record.wall_s = time.perf_counter() - started
        if writes:
            record.write(directory)


def _fit(cfg: DictConfig, record: RunRecord, directory: Path) -> None:
    import lightning as L

    from hpml import environment
    from hpml.callbacks import RunRecorder

    _quiet_lightning()
    _require_device(cfg)
    L.seed_everything(cfg.seed, workers=True, verbose=False)
    data = build_data(cfg)
    module = build_module(cfg, data)
    recorder = RunRecorder(record, directory)
    trainer = build_trainer(cfg, [recorder, *_checkpoints(cfg, directory)])
    device = trainer.strategy.root_device.type
    record.environment = environment.describe(device)
    record.model = _describe_model(cfg, module)
    if trainer.is_global_zero:
        record.write(directory)
        _announce(cfg, record, data)
    recorder.fit_called()
    trainer.fit(module, datamodule=data)
    recorder.fit_returned()
    if trainer.is_global_zero:
        _conclude(directory)


def _evaluate(cfg: DictConfig, record: RunRecord, directory: Path) -> None:
    """Evaluates a checkpoint on the test set, with the model and data that it was trained with.

    What the command line says of `model` or `data` goes before what the checkpoint says.
    """
    import lightning as L
    import torch

    from hpml import environment

    _quiet_lightning()
    _require_device(cfg)
    path = Path(cfg.evaluate)
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        trained_with = checkpoint["hpml_config"]
        weights = checkpoint["state_dict"]
    except FileNotFoundError as error:
        raise UserError(f"evaluate={path}: there is no such file") from error
    except Exception as error:
        raise UserError(f"evaluate={path}: no checkpoint of hpml ({first_line(error)})") from error
    for group in ("model", "data"):
        given = [override.lstrip("+~") for override in record.overrides]
        if not any(key == group for key in (item.split("=")[0].split(".")[0] for item in given)):
            cfg[group] = OmegaConf.create(trained_with[group])
    record.config = resolve(cfg)
    L.seed_everything(cfg.seed, workers=True, verbose=False)
    data = build_data(cfg)
    module = build_module(cfg, data)
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(f"evaluate={path}: does not fit model={_name(cfg.model)}") from error
    trainer = build_trainer(cfg, [])
    record.environment = environment.describe(trainer.strategy.root_device.type)
    record.model = _describe_model(cfg, module)
    metrics = trainer.test(module, datamodule=data, verbose=False)[0]
    record.evaluation = {"checkpoint": str(path), "metrics": dict(metrics)}
    for name, value in metrics.items():
        log.info(f"{name} {value:.4f}")


def _quiet_lightning() -> None:
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

    from hpml.module import ImageClassifier

    settings: dict[str, Any] = {}
    if "num_classes" in cfg.model and cfg.model.num_classes is None:
        if not hasattr(data, "num_classes"):
            raise UserError("model.num_classes=null: the data module does not say; give a number")
        settings["num_classes"] = data.num_classes
    model = _instantiate(cfg.model, "model", **settings)
    if isinstance(model, L.LightningModule):
        log.info(f"model={_name(cfg.model)} brings its own optimizer: `optimizer` has no effect")
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


def _checkpoints(cfg: DictConfig, directory: Path) -> list[L.Callback]:
    """`last.ckpt` after each epoch; `best.ckpt` too where validation data was kept apart.

    Without it, the best would be chosen on the test set.
    """
    from hpml.callbacks.checkpoint import Checkpoint

    config = resolve(cfg)
    last = Checkpoint(
        config, dirpath=directory / "checkpoints", filename="last", save_on_train_epoch_end=True
    )
    if not cfg.data.get("val_split"):
        return [last]
    best = Checkpoint(
        config,
        dirpath=directory / "checkpoints",
        filename="best",
        monitor=cfg.monitor,
        mode="min" if "loss" in cfg.monitor else "max",
    )
    return [last, best]


def _require_device(cfg: DictConfig) -> None:
    import torch

    if cfg.device == "gpu" and not torch.cuda.is_available():
        raise UserError("device=gpu: PyTorch sees no GPU here; give device=cpu or device=auto")
    if cfg.device == "mps" and not torch.backends.mps.is_available():
        raise UserError("device=mps: PyTorch sees no Apple GPU here; give device=cpu")


def _instantiate(node: Any, key: str, **settings: Any) -> Any:
    """What a configuration's `_target_` makes. Raises UserError that names the key."""
    from hydra.utils import instantiate

    if node is None or "_target_" not in node:
        raise UserError(f"{key}: says no _target_")
    return _probe(key, lambda: instantiate(node, _convert_="all", **settings))


def _probe(key: str, make: Any) -> Any:
    """Calls what a configuration's values are handed to; names the key where it refuses them."""
    from hydra.errors import InstantiationException
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    try:
        return make()
    except InstantiationException as error:
        cause = error.__cause__ or error
        if isinstance(cause, UserError):
            raise cause from error
        extra = {"logger.wandb": "wandb", "logger.mlflow": "mlflow"}.get(key)
        if isinstance(cause, ModuleNotFoundError) and extra:
            raise UserError(f'{key}: needs the extra; pip install "hpml[{extra}]"') from error
        raise UserError(f"{key}: {cause}") from error
    except (MisconfigurationException, TypeError, ValueError) as error:
        raise UserError(f"{key}: {first_line(error)}") from error


def _describe_model(cfg: DictConfig, module: L.LightningModule) -> dict[str, Any]:
    """The record's `model`: what is counted without running it."""
    from torch import nn

    linear = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    return {
        "name": _name(cfg.model),
        "conv_layers": sum(
            isinstance(layer, nn.modules.conv._ConvNd) for layer in module.modules()
        ),
        "linear_in_features": linear[-1].in_features if linear else None,
        "trainable_parameters": sum(p.numel() for p in module.parameters() if p.requires_grad),
        "gradients": None,
        "flops_per_sample": None,
    }


def _announce(cfg: DictConfig, record: RunRecord, data: L.LightningDataModule) -> None:
    environment, model = record.environment, record.model or {}
    parts = [f"model={model['name']} ({model['trainable_parameters']:,} parameters)"]
    sizes = [
        f"{len(split):,} {name}"
        for name in ("train", "val", "test")
        if (split := getattr(data, name, None)) is not None and hasattr(split, "__len__")
    ]
    parts.append(f"data={_name(cfg.data)}" + (f" ({', '.join(sizes)})" if sizes else ""))
    if cfg.optimizer.get("lr"):
        parts.append(f"optimizer={_name(cfg.optimizer)} (lr {cfg.optimizer.lr:g})")
    used = environment["accelerators"] if environment["device"] != "cpu" else None
    parts.append(used[0] if used else f"{environment['cpu']}, {environment['cpu_cores']} cores")
    for part in parts:
        log.info(part)


def _conclude(directory: Path) -> None:
    log.info(f"record: {directory / 'record.json'}")
    log.info(f"curves: tensorboard --logdir {directory}")


def _name(node: DictConfig) -> str:
    """What was chosen of a group, or the last part of its `_target_` where Hydra does not say."""
    from hydra.core.hydra_config import HydraConfig

    key = str(node._key())
    if HydraConfig.initialized():
        choice = HydraConfig.get().runtime.choices.get(key)
        if choice:
            return str(choice)
    return str(node.get("_target_")).rpartition(".")[2].lower()


def _overrides() -> list[str]:
    from hydra.core.hydra_config import HydraConfig

    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def _command() -> str:
    """The command line, as it can be typed again."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    program = ["python", "-m", spec.name] if spec else [sys.argv[0]]
    return shlex.join([*program, *sys.argv[1:]])


if __name__ == "__main__":
    main()
