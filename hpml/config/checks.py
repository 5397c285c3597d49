"""Whether a run can go by its configuration: keys, values, and what they say together."""

import itertools
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from functools import partial
from importlib.util import find_spec
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from hpml.config import command_line
from hpml.config.conf import dotted_keys, find_conf, keys_below, needed_keys, resolve, spelled
from hpml.config.fingerprint import key_of
from hpml.config.key_rules import BATCHES, COUNT, PRECISIONS, RULES
from hpml.errors import UserError, first_line
from hpml.system.environment import SWEPT

# The Hydra groups that a run cannot do without.
REQUIRED = ("data", "model", "optimizer", "trainer")
# Those of which nothing may be chosen, by `none`.
OPTIONAL = ("scheduler", "callbacks", "logger")
# Programs with keys of their own.
PROGRAMS = ("summary", "workers", "diagnose", "tune", "lab")
# Those of them that vary data.num_workers.
VARYING_WORKERS = {"workers", "tune", "lab"}
# Groups that an evaluation has no use for.
ONLY_TO_TRAIN = ("optimizer", "scheduler", "checkpoint")
# Where an option of these groups makes something of the user's own, its keys are theirs too.
EXTENSIBLE = ("data", "model", "optimizer", "scheduler")


def check(cfg: DictConfig) -> None:
    """Raises UserError for the first key whose value is not allowed.

    Checks what can be known without importing torch or looking at a file, so that a sweep can
    check all of its jobs before the first one starts. A key that a configuration of the user's
    own does not have is not asked for.
    """
    _check(partial(_select, cfg), set(dotted_keys(cfg)))


def checked(cfg: DictConfig) -> dict[str, Any]:
    """A configuration that `check` admits as plain dictionaries, its interpolations resolved.

    As `check` and `resolve` one after the other, in a third of their time: a sweep may have ten
    thousand jobs. Raises what they raise.
    """
    try:
        config = resolve(cfg)
    except UserError:
        check(cfg)
        raise
    _check(partial(_get, config), set(dotted_keys(config)))
    return config


def check_keys(cfg: DictConfig) -> None:
    """Raises UserError where a key that runs read is missing, or a group of keys is none."""
    _check_keys(partial(_select, cfg), set(dotted_keys(cfg)))


def _check(value_of: Callable[[str], Any], there: Set[str]) -> None:
    """Checks a configuration with the keys `there`; `value_of` gives _ABSENT for all others."""
    _check_keys(value_of, there)
    theirs = {
        group
        for group in EXTENSIBLE
        if not str(value_of(f"{group}._target_")).startswith(("hpml.", "torch."))
    }
    for key, rule in RULES.items():
        if key.partition(".")[0] in theirs:
            continue
        value = value_of(key)
        if value is not _ABSENT and not rule.admits(value):
            raise UserError(f"{key}={spelled(value)}: give {rule}")
    precision = value_of("trainer.precision")
    if precision not in (None, _ABSENT) and str(precision) not in PRECISIONS:
        raise UserError(f"trainer.precision={precision}: give one of {', '.join(PRECISIONS)}")
    milestones = value_of("scheduler.milestones")
    if "scheduler" not in theirs and milestones is not _ABSENT:
        numbers = list(milestones) if isinstance(milestones, ListConfig | list) else []
        counts = numbers and all(map(COUNT.admits, numbers))
        if not counts or any(now <= before for before, now in itertools.pairwise(numbers)):
            raise UserError(
                f"scheduler.milestones={spelled(milestones)}: give increasing integers of at "
                "least 1, such as [3, 4]"
            )
    for key in ("max_epochs", "max_steps", "limit_train_batches"):
        if value_of("evaluate") is None and value_of(f"trainer.{key}") == 0:
            raise UserError(f"trainer.{key}=0: nothing would be trained; give a number above 0")
    accelerator, device = value_of("trainer.accelerator"), value_of("device")
    if accelerator != device:
        raise UserError(
            f"trainer.accelerator={accelerator}: `device` alone sets it; give device={accelerator}"
        )
    if value_of("optimizer.nesterov") is True and not value_of("optimizer.momentum"):
        raise UserError("optimizer.momentum=0: Nesterov's method needs a momentum above 0")
    _check_numbers(value_of)
    split, monitor = value_of("data.val_split"), value_of("monitor")
    if split not in (None, _ABSENT, 0) and monitor in ("lr", "train/loss", "train/accuracy"):
        raise UserError(
            f"monitor={monitor}: with data.val_split the best epoch is chosen by it; "
            "give val/loss or val/accuracy"
        )
    if "data" not in theirs:
        _check_images(value_of)
    window, graphs = value_of("trainer.accumulate_grad_batches"), value_of("compile")
    if graphs in ("reduce-overhead", "max-autotune") and window not in (1, _ABSENT):
        raise UserError(
            f"compile={graphs}: its CUDA graphs overwrite the gradients that "
            f"trainer.accumulate_grad_batches={window} keeps; give compile=default"
        )
    max_time = value_of("trainer.max_time")
    if isinstance(max_time, int | float):
        raise UserError(
            f"trainer.max_time={max_time}: a file's 10:00:00:00 is read as a number; "
            "give days, hours, minutes and seconds in quotes: '00:12:00:00'"
        )
    is_endless = all(value_of(f"trainer.{key}") == -1 for key in ("max_epochs", "max_steps"))
    if is_endless and not max_time:
        raise UserError(
            "trainer.max_epochs=-1: the run would never end; "
            "give trainer.max_steps or trainer.max_time too"
        )


def _check_numbers(value_of: Callable[[str], Any]) -> None:
    """Raises UserError for a number where the Trainer takes other things too, and not this one."""
    devices = value_of("trainer.devices")
    if isinstance(devices, int | float) and devices != -1 and not COUNT.admits(devices):
        raise UserError(f"trainer.devices={spelled(devices)}: give {COUNT}, or -1 for all")
    tried = value_of("trainer.fast_dev_run")
    if (
        not isinstance(tried, bool)
        and tried is not _ABSENT
        and not (tried == 0 or COUNT.admits(tried))
    ):
        raise UserError(f"trainer.fast_dev_run={spelled(tried)}: give true, false or {COUNT}")
    every = value_of("trainer.val_check_interval")
    if isinstance(every, int | float) and not (every and BATCHES.admits(every)):
        raise UserError(
            f"trainer.val_check_interval={spelled(every)}: give a part of an epoch, above 0 and "
            "below 1, a whole number of batches, a time, or null"
        )


def _check_images(value_of: Callable[[str], Any]) -> None:
    """Raises UserError for keys of one's own images that cannot be together."""
    size, least = value_of("data.image_size"), value_of("data.decode_size")
    if isinstance(least, int) and not isinstance(size, int):
        raise UserError(f"data.decode_size={least}: needs data.image_size")
    if isinstance(least, int) and least < size:
        raise UserError(f"data.decode_size={least}: must be at least data.image_size={size}")
    is_turbo = value_of("data.decoder") == "turbo" and value_of("data.encoded") != "none"
    if is_turbo and find_spec("simplejpeg") is None:  # looked up, not imported
        raise UserError('data.decoder=turbo: no simplejpeg is installed; pip install "hpml[turbo]"')
    if value_of("data.crop") == "resized":
        for key, value, other in (("in_memory", True, "false"), ("pipeline", "device", "batched")):
            if value_of(f"data.{key}") == value:
                raise UserError(
                    f"data.crop=resized: data.{key}={spelled(value)} keeps images that are resized "
                    f"as a whole; give data.{key}={other}"
                )


def _check_keys(value_of: Callable[[str], Any], there: Set[str]) -> None:
    for group in (*REQUIRED, *OPTIONAL):
        chosen, option = value_of(group), "OPTION" if group in REQUIRED else "none"
        if chosen is _ABSENT or (group in REQUIRED and not chosen):
            raise UserError(f"{group}: nothing is chosen; give {group}={option}")
        if not isinstance(chosen, DictConfig | dict | None):
            raise UserError(f"{group}={spelled(chosen)}: is no option; give {group}=OPTION")
    for group, keys in keys_below(PROGRAMS).items():
        value = value_of(group)
        if value is not _ABSENT and not isinstance(value, DictConfig | dict):
            raise UserError(f"{group}={spelled(value)}: give one of its keys: {', '.join(keys)}")
    for key in needed_keys():
        if key not in there:
            own = "an option of your own begins with `defaults: [default]`"
            hint = own if key.startswith("trainer.") else "no run can do without it"
            raise UserError(f"{key}: is missing; {hint}")
    for group in ("callbacks", "logger"):
        for name in value_of(group) or ():
            value = value_of(f"{group}.{name}")
            if not isinstance(value, DictConfig | dict | None):
                raise UserError(f"{group}.{name}={spelled(value)}: give a mapping with a _target_")


def refuse_lists(overrides: Iterable[str], sweeps: bool = False) -> None:
    """Raises UserError for a list of options: Hydra would make one with the keys of all.

    `sweeps` tells whether the program takes -m.
    """
    for override in overrides:
        group, _, choice = override.partition("=")
        if group in EXTENSIBLE and choice.startswith("["):
            hint = f"; -m {group}={choice.strip('[]')} sweeps" * sweeps
            raise UserError(f"{override}: give one{hint}")


def unused_keys(cfg: DictConfig) -> Iterator[str]:
    """A sentence for each option that is set but changes nothing."""
    ours = OmegaConf.load(find_conf() / "train.yaml")
    groups = {key for entry in ours.defaults if isinstance(entry, DictConfig) for key in entry}
    text = OmegaConf.to_yaml(cfg)
    for key in sorted(map(str, cfg.keys() - groups - ours.keys() - set(PROGRAMS))):
        if f"${{{key}" not in text:
            yield f"{key}={spelled(cfg[key])} has no effect: nothing in hpml reads it"
    yield from _never_reached(cfg.trainer)
    data, given = cfg.data, {key_of(word): word for word in command_line.overrides()}
    if data.get("pipeline") == "device":
        why = "has no effect: data.pipeline=device loads nothing"
        yield from (f"{word} {why}" for word in _of_workers(data, given))
    elif data.get("num_workers") == 0 and cfg.keys().isdisjoint(VARYING_WORKERS):
        why = "has no effect without data.num_workers"
        yield from (f"{word} {why}" for word in _of_workers(data, given))
    if cfg.trainer.enable_checkpointing is False and (word := given.get("checkpoint.every_s")):
        yield f"{word} has no effect with trainer.enable_checkpointing=false"
    if cfg.evaluate is not None:
        words = [word for key, word in given.items() if key.partition(".")[0] in ONLY_TO_TRAIN]
        words += [f"resume={cfg.resume}"] if cfg.resume is not None else []
        yield from (f"{word} has no effect with evaluate" for word in words)
    if cfg.tta and cfg.evaluate is None and cfg.trainer.limit_val_batches == 0:
        yield "tta=true has no effect: trainer.limit_val_batches=0"
    if data.get("val_split") and cfg.trainer.limit_val_batches == 0:
        split = f"data.val_split={data.val_split}"
        yield f"{split} only takes samples from training: trainer.limit_val_batches=0"
    if _is_one_training():
        of_sweeps = (word for key, word in given.items() if key.startswith("sweep."))
        yield from (f"{word} has no effect without -m" for word in of_sweeps)
    for key, plain in (("flip", "random"), ("crop", "padded")):
        if data.get("augment") is False and data.get(key) not in (None, plain):
            yield f"data.{key}={data[key]} has no effect without data.augment"
    if data.get("encoded") == "none" and (word := given.get("data.decoder")):
        yield f"{word} has no effect without data.encoded"
    scheduler = cfg.scheduler or {}
    milestones = list(scheduler.get("milestones") or [])
    in_epochs = scheduler.get("interval", "epoch") == "epoch"
    if in_epochs and milestones and milestones[0] >= (cfg.trainer.max_epochs or math.inf) > 0:
        yield f"scheduler.milestones={milestones} has no effect in {cfg.trainer.max_epochs} epochs"
    for key in ("timing.sync", "data.pin_memory"):
        if cfg.device == "cpu" and OmegaConf.select(cfg, key):
            yield f"{key}=true has no effect on the CPU"
    if cfg.trainer.gradient_clip_algorithm and not cfg.trainer.gradient_clip_val:
        yield "trainer.gradient_clip_algorithm has no effect without trainer.gradient_clip_val"


def _of_workers(data: DictConfig, given: Mapping[str, str]) -> Iterator[str]:
    """What is set of loading in workers; `given` are the command line's words by their keys."""
    keys = ("num_workers", "prefetch_factor", "persistent_workers")
    yield from (f"data.{key}={spelled(data[key])}" for key in keys if data.get(key))
    if data.get("workers") == "threads":
        yield "data.workers=threads"
    if word := given.get("data.timeout_s"):
        yield word


def _never_reached(trainer: DictConfig) -> Iterator[str]:
    """Of epochs and steps: what lies beyond the last one."""
    for what in ("epochs", "steps"):
        least, most = trainer.get(f"min_{what}") or 0, trainer.get(f"max_{what}") or 0
        if least > most > 0:
            yield f"trainer.min_{what}={least} has no effect beyond trainer.max_{what}={most}"
    every, epochs = trainer.get("check_val_every_n_epoch") or 0, trainer.max_epochs or 0
    if every > epochs > 0:
        yield f"trainer.check_val_every_n_epoch={every}: no epoch of {epochs} is validated"


def _is_one_training() -> bool:
    """Whether this is one of `hpml.train`, and no job of a sweep."""
    if not HydraConfig.initialized() or SWEPT in os.environ:
        return False
    hydra = HydraConfig.get()
    return hydra.job.config_name == "train" and hydra.mode == RunMode.RUN


_ABSENT = object()


def _get(config: Mapping[str, Any], key: str) -> Any:
    """As `_select`, of plain dictionaries."""
    node: Any = config
    for part in key.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return _ABSENT
        node = node[part]
    return node


def _select(cfg: DictConfig, key: str) -> Any:
    try:
        return OmegaConf.select(cfg, key, default=_ABSENT, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise UserError(f"{key}: {first_line(error)}") from error
