"""Hydra's callbacks that give a run, and a sweep, a directory of its own."""

import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, flag_override

from hpml.config import check, refuse_lists
from hpml.errors import UserError
from hpml.records import fresh_directory

HYDRAS_FILE = "multirun.yaml"  # which Hydra writes before the launcher is asked


class RunDirectory(Callback):
    """A fresh directory for a run, after the check of its configuration.

    It is taken as it is where the command line names it, or with `fresh_dir=False`.
    """

    def __init__(self, fresh_dir: bool) -> None:
        self.fresh_dir = fresh_dir

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Ends the program where something is wrong: of an Exception Hydra makes a warning."""
        try:
            check(config)
            _refuse_run_dir(config)
            refuse_lists(config.hydra.overrides.task)
            if self.fresh_dir and not given(config, "hydra.run.dir"):
                with flag_override(config, "readonly", False):
                    config.hydra.run.dir = fresh_dir(config.hydra.run.dir)
        except UserError as error:
            refuse(str(error))


class SweepDirectory(Callback):
    """The directory of a sweep: fresh, or the one of its name, and then for one sweep at a time.

    It works with any launcher: at the end stands the report. A dry run leaves all as it was.
    """

    def __init__(self) -> None:
        self._there_before: bytes | None = None

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Finds the name and takes the lock; the launcher checks the jobs."""
        from hpml.sweep.lock import lock

        try:
            _refuse_run_dir(config)
            with flag_override(config, "readonly", False):
                named = given(config, "sweep.name") or given(config, "hydra.sweep.dir")
                if not (named or config.sweep.dry_run):
                    config.hydra.sweep.dir = fresh_dir(config.hydra.sweep.dir)
                    config.sweep.name = Path(config.hydra.sweep.dir).name
            directory = Path(config.hydra.sweep.dir)
            if not config.sweep.dry_run:
                lock(directory)
            elif (directory / HYDRAS_FILE).exists():
                self._there_before = (directory / HYDRAS_FILE).read_bytes()
        except UserError as error:
            refuse(str(error))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Makes the report, and ends the program with exit code 1 if jobs have failed."""
        from hpml.sweep.conclusion import conclude

        directory = Path(config.hydra.sweep.dir)
        if not config.sweep.dry_run:
            sys.exit(conclude(directory))
        if self._there_before is not None:
            (directory / HYDRAS_FILE).write_bytes(self._there_before)
            return
        (directory / HYDRAS_FILE).unlink(missing_ok=True)
        with suppress(OSError):  # something else lies there
            directory.rmdir()


def given(config: DictConfig, key: str) -> bool:
    """Whether the command line names a key."""
    overrides = [*config.hydra.overrides.hydra, *config.hydra.overrides.task]
    return any(override.lstrip("+").startswith(f"{key}=") for override in overrides)


def fresh_dir(path: str) -> str:
    """A fresh directory, as fresh_directory makes it. Raises UserError where none can be made."""
    try:
        return str(fresh_directory(Path(path).expanduser()))
    except OSError as error:
        raise UserError(f"output_dir: {error.filename} cannot be made: {error.strerror}") from error


def refuse(message: str) -> NoReturn:
    """Ends the program as wrong input does."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def _refuse_run_dir(config: DictConfig) -> None:
    if given(config, "run_dir"):
        raise UserError("run_dir: follows Hydra's directory; give output_dir or hydra.run.dir")
