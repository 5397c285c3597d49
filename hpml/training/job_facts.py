"""Facts of a configuration: for the advice, and for TensorBoard's HParams."""

import os
from collections.abc import Sequence

from omegaconf import DictConfig, OmegaConf

from hpml.config import command_line
from hpml.config.choices import name_of
from hpml.config.fingerprint import is_left_out, key_of
from hpml.system.environment import SWEPT, usable_cores
from hpml.timing.advice import JobFacts

# Keys that the entry of a run by itself in TensorBoard's HParams always has.
COMPARED = (
    "optimizer.lr",
    "data.batch_size",
    "data.num_workers",
    "data.pipeline",
    "device",
    "seed",
)


def facts_of_config(
    cfg: DictConfig, device: str, overrides: Sequence[str] | None = None
) -> JobFacts:
    """What the advice has to know of a configuration.

    Args:
        cfg: with a value for each `auto`.
        device: as torch calls it.
        overrides: that made it; None for the command line's.
    """
    return JobFacts(
        keys=True,
        on_gpu=device != "cpu",
        data_keys="pipeline" in cfg.data,
        cores=usable_cores(),
        num_workers=cfg.data.get("num_workers"),
        persistent_workers=cfg.data.get("persistent_workers", False) is not False,
        pin_memory=cfg.data.get("pin_memory", False) is not False,
        pipeline=cfg.data.get("pipeline"),
        in_memory=cfg.data.get("in_memory"),
        reduced_precision="16" in str(cfg.trainer.precision),
        channels_last=cfg.channels_last,
        compiled=bool(cfg.compile),
        experiments=_experiments(command_line.overrides() if overrides is None else overrides),
    )


def _experiments(overrides: Sequence[str]) -> tuple[str, ...]:
    """Those that were chosen: the last override goes before the others."""
    chosen = [one.partition("=")[2] for one in overrides if key_of(one) == "experiment"]
    return tuple(name for name in (chosen or [""])[-1].strip("[]").split(",") if name)


def hparams_of(cfg: DictConfig) -> dict[str, bool | int | float | str]:
    """What a run is compared by in TensorBoard's HParams: the keys that its sweep varies.

    Of a single run those in COMPARED, and those that the command line gives.
    """
    swept = [key for key in os.environ.get(SWEPT, "").split(",") if key]
    given = map(key_of, command_line.overrides())
    found: dict[str, bool | int | float | str] = {}
    for key in swept or dict.fromkeys([*COMPARED, *given]):
        value = OmegaConf.select(cfg, key)
        if OmegaConf.is_dict(value) and "_target_" in value:
            value = name_of(value)
        if not is_left_out(key) and isinstance(value, bool | int | float | str):
            found[key] = value
    return found
