"""Trains a network as configured: `train(cfg) -> RunRecord`, and the program around it."""

# torch and Lightning take seconds to import: `--help`, a mistyped key and a sweep's check of its
# jobs do without them, and a run says where it goes before it imports them.
from __future__ import annotations

import errno
import logging
import os
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

import hpml
from hpml import command_line, environment, resume
from hpml.build import (
    build_data,
    build_epoch_timer,
    build_module,
    build_trainer,
    checkpoints,
    is_about_values,
    name_of,
    quiet_lightning,
    require_device,
    settings,
)
from hpml.cli import causes, run_hydra
from hpml.config import check, first_line, has_curves, resolve, without_effect
from hpml.errors import RunFailedError, UserError
from hpml.fingerprint import code_fingerprint, fingerprint
from hpml.interrupt import Interrupted, ended_by_signals, raise_if_arrived, signals_held
from hpml.records import FILE_NAME, RecordError, RunRecord, now

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
    if environment.rank():
        log.setLevel(logging.ERROR)  # the first rank says it for all
    log.info(f"hpml {hpml.__version__} in {_from_here(Path(cfg.run_dir))}")
    try:
        record = train(cfg)
    except Interrupted:
        _say_what_is_left(Path(cfg.run_dir))
        raise
    logged = {name: None for epoch in record.epochs for name in epoch.metrics}
    if record.epochs and cfg.monitor not in logged:
        among = f"not among {', '.join(logged)}" if logged else "the module logs no metrics"
        log.warning(f"warning: monitor={cfg.monitor}: {among}")
    return record.last_metric(cfg.monitor)


def train(cfg: DictConfig) -> RunRecord:
    """Trains (or with `evaluate`, evaluates) as `cfg` says, and keeps the record in `cfg.run_dir`.

    Raises UserError for wrong input, RunFailedError where the loss is not finite, Interrupted on
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
        overrides=_overrides(),
        choices=_choices(),
        config=config,
        environment={},
    )
    goes_on = cfg.resume == resume.AUTO and cfg.evaluate is None
    if goes_on and (complete := _complete_already(record, directory)) is not None:
        log.info(f"complete already: {_from_here(directory)}; resume=never trains it again")
        return complete
    with _outcome(record, directory):
        for sentence in without_effect(cfg):
            log.warning(f"warning: {sentence}")
        if cfg.evaluate is None:
            _fit(cfg, record, directory, last_sign_s)
        else:
            _evaluate(cfg, record)
    return record


def _complete_already(record: RunRecord, directory: Path) -> RunRecord | None:
    """The record of this very run, where it has completed in this directory."""
    try:
        known = RunRecord.read(directory)
    except RecordError:
        return None
    same = known.fingerprint == record.fingerprint
    same &= known.code_fingerprint == record.code_fingerprint
    return known if same and known.status == "completed" else None


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
        failure = _of_the_disk(error, directory) or error
        record.status = "interrupted" if isinstance(error, Interrupted) else "failed"
        record.error = {"type": type(failure).__name__, "message": str(failure)}
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


def _of_the_disk(error: BaseException | None, directory: Path) -> RunFailedError | None:
    """What happened in one line, where the disk is full or the run's files have gone."""
    if isinstance(error, UserError | RunFailedError) or not isinstance(error, Exception):
        return None
    gone: RunFailedError | None = None
    for cause in reversed(list(causes(error))):  # the others followed from the first one
        if isinstance(cause, OSError):
            path = Path(os.fsdecode(cause.filename2 or cause.filename or ""))
            ours = path.is_relative_to(directory)
            failure = RunFailedError(f"{path if ours else directory}: {cause.strerror}")
            if cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                return failure
            if ours and gone is None:
                gone = failure
    return gone


def _fit(cfg: DictConfig, record: RunRecord, directory: Path, last_sign_s: float | None) -> None:
    with signals_held():
        import lightning as L
        import torch
        from tqdm.contrib.logging import logging_redirect_tqdm

        from hpml.callbacks import DataLoadTimer, HParams, ResumePoints, RunRecorder, TrainTimer
        from hpml.data import ImageDataModule
        from hpml.model import describe

    quiet_lightning()
    record.environment = environment.describe()
    require_device(cfg)
    L.seed_everything(cfg.seed, workers=True, verbose=False)
    data = build_data(cfg)
    module = build_module(cfg, data)
    record.model = describe(module, name_of(cfg.model))
    record.model["flops_per_sample"] = _flops(module, data)
    timer = build_epoch_timer(cfg, record.model["flops_per_sample"])
    recorder = RunRecorder(directory, timer, record)
    timers = [DataLoadTimer(), TrainTimer(), timer, recorder, HParams(settings(cfg))]
    facts = {"configuration": record.fingerprint, "code": record.code_fingerprint}
    facts |= {"torch": str(torch.__version__)}
    point, state = resume.choose(directory, cfg.resume, facts) or (None, None)
    goes_on = resume.wanted(cfg.resume) != resume.NEVER
    every_s = cfg.checkpoint.every_s
    points = ResumePoints(directory, facts, timer, recorder, every_s, goes_on, point, state)
    trainer = build_trainer(
        cfg,
        [*timers, *checkpoints(cfg, directory), points],
        state["logging_step"] if state is not None else None,
    )
    if point is not None and state is not None:
        if len(state["ranks"]) != trainer.world_size:
            raise UserError(
                f"{point}: was made by {len(state['ranks'])} processes, this run has "
                f"{trainer.world_size}: it cannot go on exactly; give resume=never"
            )
        if isinstance(data, ImageDataModule):
            data.begin_at(*state["begins_at"])
        own = point.is_relative_to(directory.resolve())
        _goes_on(record, point, state, last_sign_s if own else None)
    if cfg.resume == resume.AUTO and points not in trainer.callbacks:  # type: ignore[attr-defined]
        log.warning("warning: resume=auto: trainer.enable_checkpointing=false leaves no points")
    record.environment["device"] = trainer.strategy.root_device.type
    if trainer.is_global_zero:
        record.write(directory)
        _announce(cfg, record, data, module)
    raise_if_arrived()
    recorder.fit_called()
    try:
        with logging_redirect_tqdm():  # the bar steps aside for each line
            trainer.fit(module, datamodule=data, ckpt_path=point, weights_only=True)
    except torch.OutOfMemoryError as error:
        raise RunFailedError(
            f"out of memory on {trainer.strategy.root_device} "
            f"with data.batch_size={cfg.data.get('batch_size')}: give a smaller one"
        ) from error
    except Exception as error:
        # Lightning looks at some of its arguments only once it has a loader at hand.
        if not timer.begun and is_about_values(error):
            raise UserError(f"trainer: {first_line(error)}") from error
        raise
    finally:
        recorder.fit_returned()
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        # left to the interpreter's exit, gloo's threads now and then abort the process
        torch.distributed.destroy_process_group()
    if trainer.is_global_zero:
        _conclude(cfg, directory)


def _goes_on(
    record: RunRecord, point: Path, state: dict[str, Any], last_sign_s: float | None
) -> None:
    """Says, and keeps in the record, from where a run goes on."""
    earlier = state["record"]
    lost_s = None if last_sign_s is None else max(0.0, last_sign_s - earlier["saved_at"])
    record.resumed = [{"at": now(), "batches": state["batches"], "lost_s": lost_s}]
    lost = "" if lost_s is None else f"; {lost_s:.0f} s of work after it are lost"
    if environment.rank() == 0:
        log.info(f"going on after {state['batches']:,} batches, from {_from_here(point)}{lost}")


def _evaluate(cfg: DictConfig, record: RunRecord) -> None:
    """Evaluates a checkpoint on the test set, with the model and data that it was trained with.

    What the command line says of `model` or `data` goes before what the checkpoint says.
    """
    with signals_held():
        import lightning as L
        import torch

        from hpml.model import describe

    quiet_lightning()
    record.environment = environment.describe()
    require_device(cfg)
    path = Path(str(cfg.evaluate))
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        trained_with, names = checkpoint["hpml_config"], checkpoint["hpml_names"]
        weights = checkpoint["state_dict"]
    except FileNotFoundError as error:
        raise UserError(f"evaluate={path}: there is no such file") from error
    except Exception as error:
        raise UserError(f"evaluate={path}: no checkpoint of hpml") from error
    given = {override.lstrip("+~").partition("=")[0] for override in record.overrides}
    for group in {"data", "model"} - given:
        asked = cfg[group]
        cfg[group] = OmegaConf.create(trained_with[group])
        for key in given:
            if key.startswith(f"{group}."):
                OmegaConf.update(cfg, key, OmegaConf.select(asked, key.removeprefix(f"{group}.")))
    check(cfg)
    record.config = resolve(cfg)  # the fingerprint remains that of what was asked
    L.seed_everything(cfg.seed, workers=True, verbose=False)
    data = build_data(cfg)
    module = build_module(cfg, data)
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(f"evaluate={path}: does not fit model={name_of(cfg.model)}") from error
    if type(module).test_step is L.LightningModule.test_step:
        raise UserError(f"evaluate={path}: model={name_of(cfg.model)} has no test_step")
    trainer = build_trainer(cfg, [])
    record.environment["device"] = trainer.strategy.root_device.type
    record.model = describe(module, name_of(cfg.model))
    if "model" not in given:
        record.model["name"] = names["model"]
    size = _sizes(data).get("test") if cfg.trainer.limit_test_batches is None else None
    on = f" on {size:,} test samples" if size is not None else ""
    log.info(f"{path}: model={record.model['name']}{on}")
    metrics = trainer.test(module, datamodule=data, verbose=False)[0]
    record.evaluation = {"checkpoint": str(path), "metrics": dict(metrics)}
    for name, value in metrics.items():
        log.info(f"{name} {value:.4f}")


def _flops(module: L.LightningModule, data: L.LightningDataModule) -> float | None:
    """Of one sample; None for modules and data of the user's own, whose inputs are not known."""
    from hpml.data import ImageDataModule
    from hpml.model import flops_per_sample
    from hpml.module import ImageClassifier

    if not (isinstance(module, ImageClassifier) and isinstance(data, ImageDataModule)):
        return None
    try:
        return flops_per_sample(module.network, data.image_shape)
    except Exception:  # a network of their own that cannot be copied, or not be run without data
        return None


def _announce(
    cfg: DictConfig, record: RunRecord, data: L.LightningDataModule, module: L.LightningModule
) -> None:
    from hpml.module import ImageClassifier

    machine, model = record.environment, record.model or {}
    parts = [f"model={model['name']} ({model['trainable_parameters']:,} parameters)"]
    sizes = [f"{size:,} {name}" for name, size in _sizes(data).items()]
    parts.append(f"data={name_of(cfg.data)}" + (f" ({', '.join(sizes)})" if sizes else ""))
    if isinstance(module, ImageClassifier) and cfg.optimizer.get("lr"):
        parts.append(f"optimizer={name_of(cfg.optimizer)} (lr {cfg.optimizer.lr:g})")
    used = machine["accelerators"] if machine["device"] != "cpu" else None
    parts.append(used[0] if used else f"{machine['cpu']}, {machine['cpu_cores']} cores")
    for part in parts:
        log.info(part)
    processes = cfg.trainer.devices
    if machine["device"] == "cpu" and type(processes) is int and processes > machine["cpu_cores"]:
        log.warning(f"warning: trainer.devices={processes} on {machine['cpu_cores']} usable cores")


def _sizes(data: L.LightningDataModule) -> dict[str, int]:
    """Samples by split, as far as a data module tells."""
    splits: dict[str, Any] = {n: getattr(data, n, None) for n in ("train", "val", "test")}
    return {name: len(split) for name, split in splits.items() if hasattr(split, "__len__")}


def _conclude(cfg: DictConfig, directory: Path) -> None:
    shown = _from_here(directory)
    log.info(f"record: {shown / FILE_NAME}")
    for trace in sorted(directory.rglob("*.pt.trace.json")):
        log.info(f"trace: {_from_here(trace)}")
    if has_curves(cfg):
        log.info(f"curves: tensorboard --logdir {shlex.quote(str(shown))}")


def _say_what_is_left(directory: Path) -> None:
    paths = {
        "record": directory / FILE_NAME,
        "checkpoint": directory / "checkpoints" / "last.ckpt",
    }
    left = [f"{name} {_from_here(path)}" for name, path in paths.items() if path.exists()]
    if resume.points(directory):
        left.append(f"resume={_from_here(directory / resume.FOLDER)} goes on")
    if environment.rank() == 0:
        log.error(f"interrupted: {'; '.join(left)}")


def _from_here(path: Path) -> Path:
    """A path as one types it: relative where it lies below the working directory."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _overrides() -> list[str]:
    from hydra.core.hydra_config import HydraConfig

    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def _choices() -> dict[str, str]:
    """What was chosen of each group of ours."""
    from hydra.core.hydra_config import HydraConfig

    choices = HydraConfig.get().runtime.choices if HydraConfig.initialized() else {}
    chosen = {str(group): str(option) for group, option in choices.items() if option is not None}
    return {group: option for group, option in chosen.items() if not group.startswith("hydra/")}


if __name__ == "__main__":
    main()
