"""Runs a function as a Hydra program that answers wrong input in one line and with exit code 2."""

import atexit
import logging
import multiprocessing.util  # whose own end comes after ours, then
import os
import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from hpml import faults, slurm
from hpml.command_line import arranged
from hpml.completion import script
from hpml.config import check_keys, closest_key, find_conf, first_line
from hpml.directories import refuse
from hpml.environment import rank
from hpml.errors import RunFailedError, UserError, causes
from hpml.fingerprint import key_of
from hpml.interrupt import Interrupted, end_with_launcher, ended_by_signals, was_warned

log = logging.getLogger("hpml")

# Whether the user wants Hydra's tracebacks; while Hydra runs, the variable is ours.
FULL_ERROR = os.environ.get("HYDRA_FULL_ERROR", "0")
CHILD_ENDS_S = 1.0  # for a loader's process that was told to end


class JobFailed(Exception):  # noqa: N818 - carries an exit code, is no error of its own
    """A sweep's job has ended, its error is told already; the next job can start."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


class BelowError(logging.Filter):
    """Lets through what belongs on stdout; errors go to stderr."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is no error."""
        return record.levelno < logging.ERROR


def run_hydra(task: Callable[[DictConfig], Any], config_name: str, sweeps: bool = True) -> None:
    """Runs `task` on the configuration that the command line asks for, then exits.

    `sweeps` tells whether -m may ask for more than one.

    Exit codes: 0 completed, 1 failed, 2 wrong input, 129 terminal closed, 130 interrupted, 143
    terminated; after SLURM's warnings 138 (SIGUSR1) and 140 (SIGUSR2) on Linux, and the job is put
    back into the queue.
    """

    def job(cfg: DictConfig) -> Any:
        try:
            check_keys(cfg)
        except UserError as error:  # a configuration of their own, perhaps without our log
            refuse(str(error))
        try:
            return task(cfg)
        except UserError as error:
            if rank() == 0 or not error.on_all_ranks:
                log.error(f"error: {error}")  # noqa: TRY400 - a person's mistake, told in one line
            exit_code = 2
        except RunFailedError as error:
            log.error(f"failed: {error}")  # noqa: TRY400 - what happened is known
            exit_code = 1
        except Exception as error:
            words = faults.in_words(error, Path(cfg.run_dir), cfg.data.get("batch_size"))
            if words is None:
                log.exception("failed:")
            else:
                log.error(f"failed: {words}")  # noqa: TRY400 - what happened is known
            exit_code = 1
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            raise JobFailed(exit_code)
        return sys.exit(exit_code)

    if not sweeps and not {"-m", "--multirun"}.isdisjoint(sys.argv):
        refuse("-m: this program does not sweep; leave it out")
    end_with_launcher()
    atexit.register(_end_children)
    slurm.start_ranks_here()
    sys.argv[1:] = arranged(sys.argv[1:])
    if shell_script := script(sys.argv[1:]):
        print(shell_script)
        return
    job.__module__ = task.__module__  # where Hydra looks for the program's name
    program = hydra.main(version_base="1.3", config_path=str(find_conf()), config_name=config_name)(
        job
    )
    logging.raiseExceptions = False  # a log on a full disk would print a traceback for each line
    threading.excepthook = _thread_failed
    # Hydra reads these from Python's own warnings; its users see none of them.
    warnings.filterwarnings("ignore", message=".*hydra.mode=MULTIRUN", category=UserWarning)
    try:
        with ended_by_signals(), _hydra_raises():
            program()
    except JobFailed as error:
        sys.exit(error.exit_code)
    except Interrupted as stopped:
        warning = was_warned()
        if warning is not None:
            slurm.requeue()
        sys.exit(128 + (warning or stopped.signal_number))
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # of what is composed; the task's own are told above
        if FULL_ERROR == "1":
            raise
        refuse(_in_words(error, config_name))


def _end_children() -> None:
    """Ends the loader's processes: for one that hangs, Python would wait for ever."""
    for child in multiprocessing.active_children():
        child.terminate()
        child.join(timeout=CHILD_ENDS_S)
        child.kill()


def _thread_failed(failure: threading.ExceptHookArgs) -> None:
    """Leaves out what TensorBoard's writer meets, which raises it again in the main thread."""
    if not isinstance(failure.exc_value, OSError):
        threading.__excepthook__(failure)


@contextmanager
def _hydra_raises() -> Iterator[None]:
    """Lets Hydra's errors come through as exceptions, where it would print them and exit with 1."""
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        os.environ["HYDRA_FULL_ERROR"] = FULL_ERROR


def _in_words(error: BaseException, config_name: str) -> str:
    """An error of Hydra's, OmegaConf's or ours, told to the person at the keyboard."""
    chain = list(causes(error))
    for cause in chain:
        if isinstance(cause, UserError):
            return str(cause)
    for cause in chain:
        if isinstance(cause, ConfigKeyError | ConfigAttributeError) and cause.full_key:
            key = cause.full_key
            defaults = _defaults(config_name, without=key)
            close = closest_key(defaults, key)
            if close:
                hint = f"did you mean {close}?"
            else:
                hint = f"+{key}=… adds a key of your own"
                group = key.partition(".")[0]
                if isinstance(defaults.get(group), DictConfig):
                    known = [name for name in defaults[group] if not name.startswith("_")]
                    hint = f"{group} has {', '.join(known)}; {hint}"
            return f"{key}: there is no such key; {hint}"
        if isinstance(cause, MissingConfigException) and cause.options is not None:
            group, _, option = str(cause.missing_cfg_file).rpartition("/")
            options = [name for name in cause.options if not name.startswith("base_")]
            return f"{group}={option}: there is no such option; give one of {', '.join(options)}"
        if isinstance(cause, OmegaConfBaseException) and cause.full_key:
            return f"{cause.full_key}: {first_line(cause)}"
        if isinstance(cause, OverrideParseException):
            if "=" not in cause.override and not cause.override.startswith("~"):
                return f"{cause.override}: give KEY=VALUE"
            key, _, value = str(cause.override).partition("=")
            quoted = ",".join(f"'{part}'" for part in value.split(","))
            return f'{cause.override}: put what has signs in it into quotes: "{key}={quoted}"'
    if ambiguous := re.match("Ambiguous value for argument '(.*)'", str(error)):
        return f"{ambiguous[1]}: add -m to sweep over these values; a list has brackets"
    if "Config group override must be" in str(error) and (word := _of_no_option()):
        return f"{word}: give the name of an option"
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    told = str(error).strip().partition("\n\n")[0]
    if told and isinstance(error, HydraException | OmegaConfBaseException | OSError | ValueError):
        return told
    return f"{type(error).__name__}: {told}".rstrip(": ") + "; HYDRA_FULL_ERROR=1 shows where"


def _of_no_option() -> str | None:
    """The first override that gives a group something else than the name of an option."""
    parser, groups = OverridesParser.create(), {folder.name for folder in find_conf().iterdir()}
    words = [word for word in sys.argv[1:] if "=" in word and key_of(word) in groups]
    values = ((word, parser.parse_override(word).value()) for word in words)
    return next((word for word, value in values if not isinstance(value, str | list)), None)


def _defaults(config_name: str, without: str) -> DictConfig:
    """The configuration with the groups that the command line chose, as far as it composes."""
    chosen = [
        word
        for word in sys.argv[1:]
        if "=" in word and "," not in word and not {"-", "."} & set(word.partition("=")[0])
    ]
    chosen = [word for word in chosen if not word.startswith(without)]
    for word, following in zip(sys.argv[1:], [*sys.argv[2:], ""], strict=True):
        option, _, value = word.partition("=")
        if option in ("--config-dir", "-cd"):
            folder = Path(value or following).resolve()
            chosen.append(f"hydra.searchpath=['{folder}']")
    with hydra.initialize_config_dir(str(find_conf()), version_base="1.3"):
        try:
            return hydra.compose(config_name, chosen)
        except (HydraException, OmegaConfBaseException):
            return hydra.compose(config_name)
