"""The sweeper, which asks for jobs: what it learns of hpml's keys, and of how a job ended."""

import logging
import math
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from importlib import metadata
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from hpml.cli.run_directory import is_given
from hpml.config.conf import lower_is_better, spelled
from hpml.errors import RunFailedError, UserError
from hpml.records.run_record import RunRecord
from hpml.sweep.jobs import Job

log = logging.getLogger("hpml")

# Keys of hydra.sweeper, of Optuna, Nevergrad and Ax: which values seek the lowest and the highest.
DIRECTIONS = {
    "direction": ("minimize", "maximize"),
    "optim.maximize": (False, True),
    "ax_config.experiment.minimize": (True, False),
}
FAILURE_RATES = ("max_failure_rate", "optim.max_failure_rate")
_ABSENT = object()
SEEDS = ("sampler.seed", "optim.seed", "ax_config.client.random_seed")


def searches(config: DictConfig) -> bool:
    """Whether the sweeper chooses jobs by what others gave, and so has to know which ones failed.

    Hydra's own, and what derives from it, gives all jobs that there are; of one that failed it
    would raise the error, and keep silent about the others.
    """
    with suppress(Exception):  # a plugin that is broken: Hydra says so when it makes the sweeper
        kinds = get_class(config.hydra.sweeper._target_).__mro__
        # by name: Hydra loads its plugins anew, after which the same class is another one
        return BasicSweeper.__name__ not in (kind.__name__ for kind in kinds)
    return False


def arrange(config: DictConfig) -> None:
    """Gives a sweeper that searches what `sweep.fail_fast` and `seed` say, where nothing is given.

    Raises UserError where it would seek the worst, or could not keep what it finds.
    """
    lower = lower_is_better(str(config.monitor), config.monitor_mode)
    for key, (lowest, highest) in DIRECTIONS.items():
        value = _of_sweeper(config, key)
        if value == (highest if lower else lowest):
            right, mode = (lowest, "max") if lower else (highest, "min")
            better = f"of {config.monitor} the {'lowest' if lower else 'highest'} is best"
            raise UserError(
                f"hydra.sweeper.{key}={spelled(value)}: {better}; "
                f"give hydra.sweeper.{key}={spelled(right)}, or monitor_mode={mode}"
            )
    _check_storage(str(_of_sweeper(config, "storage")))
    rate = 0.0 if config.sweep.fail_fast else 1.0
    given: list[tuple[str, Any, Any]] = [(key, 0.0, rate) for key in FAILURE_RATES]
    given += [(key, None, config.seed) for key in SEEDS]
    for key, default, value in given:
        if _of_sweeper(config, key) == default and not is_given(config, f"hydra.sweeper.{key}"):
            OmegaConf.update(config, f"hydra.sweeper.{key}", value)


def swept_keys(config: DictConfig) -> list[str]:
    """The keys that the command has the sweeper vary; no job need show that yet."""
    words: Any = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
    params = OmegaConf.select(config, "hydra.sweeper.params") or {}
    words += [f"{key}={value}" for key, value in params.items()]
    parsed = OverridesParser.create().parse_overrides(words)
    return [override.key_or_group for override in parsed if override.is_sweep_override()]


class FailedTrialError(RunFailedError):
    """A job gave no value. A sweeper that does not bear this ends its sweep with it."""


@dataclass
class FailedJob(JobReturn):
    """A job without a value: it raises its failure, which Hydra would print once more."""

    @property
    def return_value(self) -> Any:
        raise self._return_value

    @return_value.setter
    def return_value(self, value: Any) -> None:
        self._return_value = value


def job_return(job: Job, record: RunRecord | None, to_searching: bool) -> JobReturn:
    """What the sweeper learns of a job: the metric that `monitor` names, or that there is none.

    A sweeper that does not search gets NaN for a job that failed.
    """
    completed = record is not None and record.status == "completed"
    value = record.last_metric(job.monitor) if record and completed else math.nan
    if not to_searching or (value is not None and math.isfinite(value)):
        return JobReturn(job.overrides, _return_value=value, status=JobStatus.COMPLETED)
    cause = f"{job.monitor} is {value}" if value is not None else f"it has no {job.monitor}"
    if not completed:
        cause = record.cause if record is not None else "it did not run"
    else:
        log.warning(f"{job.name}: complete, but {cause}: the sweeper takes it for failed")
    error = FailedTrialError(f"{job.name}: {cause}")
    return FailedJob(job.overrides, _return_value=error, status=JobStatus.FAILED)


def _of_sweeper(config: DictConfig, key: str) -> Any:
    value = OmegaConf.select(config, f"hydra.sweeper.{key}", default=_ABSENT)
    return value.name if isinstance(value, Enum) else value


def _check_storage(storage: str) -> None:
    """Optuna 2, which its sweeper asks for, admits every SQLAlchemy, and fails with new ones."""
    with suppress(metadata.PackageNotFoundError):
        optuna, sqlalchemy = metadata.version("optuna"), metadata.version("sqlalchemy")
        if "://" in storage and optuna.startswith("2.") and not sqlalchemy.startswith("1."):
            which = f"Optuna {optuna} cannot store a study with SQLAlchemy {sqlalchemy}"
            pip = "pip install 'sqlalchemy<2' 'alembic<1.20'"
            raise UserError(f"hydra.sweeper.storage={storage}: {which}; {pip}")
