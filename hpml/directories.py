"""Hydra's callbacks that give a run, and a sweep, a directory of its own."""

import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, flag_override
from omegaconf.errors import OmegaConfBaseException

from hpml.config import check, check_keys, first_line, refuse_lists
from hpml.environment import rank
from hpml.errors import UserError
from hpml.fingerprint import key_of
from hpml.records import FILE_NAME, fresh_directory

log = logging.getLogger("hpml")

OF_OUR_LAUNCHER = (
    *("sweep.order", "sweep.timeout_s", "sweep.fail_fast", "sweep.on_code_change"),
    *("sweep.parallel", "sweep.skip_missing_devices"),
)


class RunDirectory(Callback):
    """A fresh directory for a run, after the check of its configuration.

    It is taken as it is where the command line names it, or with `fresh_dir=False`.
    """

    def __init__(self, fresh_dir: bool) -> None:
        self.fresh_dir = fresh_dir

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Checks the configuration, and makes the directory."""
        with _ending_the_program():
            check(config)
            _refuse_run_dir(config)
            refuse_lists(_overrides(config))
            if given(config, "hydra.run.dir"):
                _lock(Path(str(config.hydra.run.dir)).expanduser())
            elif self.fresh_dir:
                with flag_override(config, "readonly", False):
                    config.hydra.run.dir = fresh_dir(config.hydra.run.dir)


class SweepDirectory(Callback):
    """The directory of a sweep: fresh, or the one of its name, and then for one sweep at a time.

    It works with any launcher. When all jobs are done it makes the report; Hydra's own launchers
    do not come to that after a failure.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Finds the name and takes the lock; the launcher checks the jobs."""
        from hpml.sweep import folder

        with _ending_the_program(), flag_override(config, "readonly", False):
            check_keys(config)
            _refuse_run_dir(config)
            has_dir = given(config, "hydra.sweep.dir")
            # the default is the time
            named = has_dir or not OmegaConf.is_interpolation(config.sweep, "name")
            if not has_dir:
                folder.check_name(str(config.sweep.name))
            directory = Path(config.hydra.sweep.dir).expanduser()
            if not (named or config.sweep.dry_run):
                directory = Path(fresh_dir(str(directory)))
            config.sweep.name = directory.name
            config.hydra.sweep.dir = str(directory)
            folder.remember(directory)
            if not _is_ours(config):
                _refuse_what_is_ours(config, directory)
            if not config.sweep.dry_run:
                folder.lock(directory)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Makes the report, and ends the program with exit code 1 if jobs have failed."""
        from hpml.sweep.conclusion import conclude

        with _ending_the_program():
            if not config.sweep.dry_run:
                sys.exit(conclude(Path(config.hydra.sweep.dir)))


def given(config: DictConfig, key: str) -> bool:
    """Whether the command line names a key."""
    return key in map(key_of, _overrides(config))


def _overrides(config: DictConfig) -> list[str]:
    """As they were typed: what they interpolate is not known yet."""
    overrides = OmegaConf.to_container(config.hydra.overrides, resolve=False)
    assert isinstance(overrides, dict)
    return [*overrides["hydra"], *overrides["task"]]


def _is_ours(config: DictConfig) -> bool:
    return "hpml" in str((config.hydra.launcher or {}).get("_target_"))


def _refuse_what_is_ours(config: DictConfig, directory: Path) -> None:
    """Another launcher knows no ledger: it would write over what is complete."""
    if config.sweep.dry_run:
        raise UserError("sweep.dry_run=true: needs hydra/launcher=hpml, the default")
    if next(directory.rglob(FILE_NAME), None) is not None:
        raise UserError(f"sweep.name={directory.name}: {directory} holds runs; give another name")
    for key in OF_OUR_LAUNCHER:
        if given(config, key):
            log.warning(f"warning: {key} has no effect with this hydra/launcher")


def _lock(directory: Path) -> None:
    """Takes the directory of a run for it and its other ranks."""
    from hpml import files

    if rank():
        return
    try:
        is_free = files.lock(directory)
    except OSError as error:
        raise UserError(f"hydra.run.dir: {error.filename}: {error.strerror}") from error
    if not is_free:
        raise UserError(f"hydra.run.dir={directory}: another run is at work there")


@contextmanager
def _ending_the_program() -> Iterator[None]:
    """Ends it where something is wrong: of an exception in a callback Hydra makes a warning."""
    try:
        yield
    except UserError as error:
        refuse(str(error))
    except OmegaConfBaseException as error:
        refuse(f"{error.full_key}: {first_line(error)}")
    except Exception:
        traceback.print_exc()
        sys.exit(1)


def fresh_dir(path: str) -> str:
    """A fresh directory, as fresh_directory makes it. Raises UserError where none can be made."""
    try:
        return str(fresh_directory(Path(path).expanduser()))
    except OSError as error:
        raise UserError(f"output_dir: {error.filename} cannot be made: {error.strerror}") from error
    except ValueError as error:  # `.` and `/` have no name
        raise UserError(f"hydra.run.dir={path}: is there already; give a folder to make") from error


def refuse(message: str) -> NoReturn:
    """Ends the program as wrong input does: in one line, whatever was given."""
    print(f"error: {' '.join(message.splitlines())}", file=sys.stderr)
    sys.exit(2)


def _refuse_run_dir(config: DictConfig) -> None:
    if given(config, "run_dir"):
        raise UserError("run_dir: follows Hydra's directory; give output_dir or hydra.run.dir")
