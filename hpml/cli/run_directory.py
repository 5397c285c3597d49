"""Hydra's callback that gives a run a directory of its own; a sweep's is `sweep.directory`."""

import os
import shutil
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, flag_override, open_dict
from omegaconf.errors import OmegaConfBaseException

from hpml.cli.wrong_input import refuse
from hpml.config.checks import check, refuse_lists
from hpml.config.fingerprint import key_of
from hpml.errors import UserError, first_line
from hpml.records.run_record import FILE_NAME
from hpml.system import exit_codes, files
from hpml.system.environment import SWEPT, rank

# In this callback's part of the configuration: of the folders above the run's, the nearest that
# was there before; None where the run's own was.
BEFORE = "before"


class RunDirectory(Callback):
    """A fresh directory for a run, after the check of its configuration.

    It is taken as it is where the command line names it, or with `fresh_dir=False`.
    """

    def __init__(self, fresh_dir: bool) -> None:
        self.fresh_dir = fresh_dir

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        with errors_end_the_program():
            check(config)
            refuse_run_dir(config)
            sweeps = config.hydra.job.config_name == "train"
            refuse_lists(_overrides(config.hydra), sweeps)
            directory = Path(str(config.hydra.run.dir)).expanduser()
            before = _there_above(directory) if self.fresh_dir else None
            if is_given(config, "hydra.run.dir"):
                is_new = not (directory.exists() or SWEPT in os.environ)
                before = _there_above(directory) if is_new else None
                if not rank():  # for this run's other ranks too, as long as Hydra keeps us
                    in_use = f"hydra.run.dir={directory}: another run is at work there"
                    self.lock = files.locked(directory, "hydra.run.dir", in_use)
            elif self.fresh_dir:
                with flag_override(config, "readonly", False):
                    config.hydra.run.dir = fresh_dir(config.hydra.run.dir)
            with flag_override(config, ["readonly", "struct"], False):
                config.hydra.callbacks.run_directory[BEFORE] = before


def is_given(config: DictConfig, key: str) -> bool:
    """Whether the command line names a key."""
    return key in map(key_of, _overrides(config.hydra))


def _overrides(hydra: Any) -> list[str]:
    """As they were typed: what they interpolate is not known yet."""
    overrides = OmegaConf.to_container(hydra.overrides, resolve=False)
    assert isinstance(overrides, dict)
    return [*overrides["hydra"], *overrides["task"]]


@contextmanager
def errors_end_the_program() -> Iterator[None]:
    """Of an exception in a callback Hydra would make a warning."""
    try:
        yield
    except UserError as error:
        refuse(str(error))
    except OmegaConfBaseException as error:
        refuse(f"{error.full_key}: {first_line(error)}")
    except Exception:
        traceback.print_exc()
        sys.exit(exit_codes.FAILED)


def fresh_dir(path: str) -> str:
    """A fresh directory. Raises UserError where none can be made."""
    try:
        return str(files.fresh_directory(Path(path).expanduser()))
    except OSError as error:
        raise UserError(f"output_dir: {error.filename} cannot be made: {error.strerror}") from error
    except ValueError as error:  # `.` and `/` have no name
        raise UserError(f"hydra.run.dir={path}: is there already; give a folder to make") from error


def leave_nothing() -> None:
    """Removes the folder that was made for a run which then did not begin, and so has no record."""
    hydra = HydraConfig.get()
    directory = Path(hydra.runtime.output_dir)
    ours = hydra.callbacks.get("run_directory")
    given = "hydra.run.dir" in map(key_of, _overrides(hydra))
    # a --config-name may be without us
    before = ours.get(BEFORE) if ours else None if given else hydra.runtime.cwd
    if rank() or hydra.mode != RunMode.RUN or not before or (directory / FILE_NAME).exists():
        return
    os.chdir(hydra.runtime.cwd)
    shutil.rmtree(directory, ignore_errors=True)
    files.remove_empty(directory.parent, Path(before))


def _there_above(directory: Path) -> str:
    """The nearest folder above one that is there."""
    above = (parent for parent in directory.resolve().parents if parent.exists())
    return str(next(above))


def with_run_dir(cfg: DictConfig) -> DictConfig:
    """A configuration with a directory: a fresh one where only a Hydra program would know it."""
    try:
        unknown = cfg.get("run_dir") is None
    except OmegaConfBaseException:
        unknown = True
    if not unknown:
        return cfg
    output_dir = Path(str(cfg.get("output_dir") or "outputs")).expanduser()
    cfg = cfg.copy()
    started = datetime.now()  # the user's time, as in a command's directories
    wanted = output_dir / "runs" / f"{started:%Y-%m-%d}" / f"{started:%H-%M-%S}"
    with open_dict(cfg):
        cfg.run_dir = fresh_dir(str(wanted))
    return cfg


def refuse_run_dir(config: DictConfig) -> None:
    if is_given(config, "run_dir"):
        raise UserError("run_dir: follows Hydra's directory; give output_dir or hydra.run.dir")
