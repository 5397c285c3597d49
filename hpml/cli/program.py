"""Runs a function as a Hydra program that answers wrong input in one line and with exit code 2.

Of a signal, or a warning before a job's end, it ends with the exit code too.
"""

import atexit
import logging
import multiprocessing.util  # whose own end comes after ours, then
import os
import re
import sys
import threading
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from hpml.cli import help
from hpml.cli.completion import script
from hpml.cli.error_hooks import error_hooks_called
from hpml.cli.run_directory import leave_nothing
from hpml.cli.wrong_input import explain, refuse, refuse_unknown_options
from hpml.config.checks import check_keys
from hpml.config.command_line import arranged, config_dir
from hpml.config.conf import find_conf
from hpml.errors import RunFailedError, UserError
from hpml.system import exit_codes, failure_messages
from hpml.system.environment import rank
from hpml.system.signals import RunInterrupted, end_with_launcher, ended_by_signals, process_signals
from hpml.system.slurm_requeue import requeue

log = logging.getLogger("hpml")

FULL_ERROR = "HYDRA_FULL_ERROR"
USERS_FULL_ERROR = "HPML_FULL_ERROR"  # what the user has given for it, while it is ours
# Options of Hydra's with which it prints, and runs nothing.
PRINTING = frozenset({"--help", "-h", "--hydra-help", "--cfg", "-c", "--info", "-i"})
SWEEPING = re.compile(r"-m|--multirun|\+*hydra\.mode=MULTIRUN", re.IGNORECASE)
RUNS = "train"  # the program whose runs may have a folder of their own to work in
CHILD_ENDS_S = 1.0  # for a loader's process that was asked to end


class JobFailed(Exception):  # noqa: N818 - carries an exit code, is no error of its own
    """A job of a sweep by another launcher has failed, and said so; the next job can start."""


def run_hydra(task: Callable[[DictConfig], Any], config_name: str, sweeps: bool = True) -> None:
    """Runs `task` on the configuration that the command line asks for; `sweeps` allows -m.

    It ends with one of `exit_codes`; after SLURM's warnings the job is put back into the queue.
    """

    def job(cfg: DictConfig) -> Any:
        if config_name != RUNS:  # whatever hydra.job.chdir says
            os.chdir(HydraConfig.get().runtime.cwd)
        try:
            check_keys(cfg)
        except UserError as error:  # a configuration of their own, perhaps without our log
            leave_nothing()
            refuse(str(error))
        try:
            return task(cfg)
        except Exception as error:
            _report(error, cfg)
            exit_code = exit_codes.of_error(error)
            if exit_code == exit_codes.WRONG_INPUT:
                leave_nothing()
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            raise JobFailed(exit_code)
        return sys.exit(exit_code)

    if not sweeps and (word := next(filter(SWEEPING.fullmatch, sys.argv), None)):
        refuse(f"{word}: this program does not sweep; leave it out")
    end_with_launcher()
    atexit.register(end_children)
    _start_ranks_here()
    sys.argv[1:] = arranged(sys.argv[1:])
    refuse_unknown_options(sys.argv[1:], config_name)
    if shell_script := script(sys.argv[1:]):
        print(shell_script)
        return
    if (folder := config_dir(sys.argv[1:])) is not None:
        sys.path.append(str(folder))  # for modules that lie beside the options which name them
    help.register()
    job.__module__ = task.__module__  # where Hydra looks for the program's name
    main = hydra.main(version_base="1.3", config_path=str(find_conf()), config_name=config_name)
    logging.raiseExceptions = False  # a log on a full disk would print a traceback for each line
    threading.excepthook = _thread_failed
    # Hydra reads these from Python's own warnings; its users see none of them.
    warnings.filterwarnings("ignore", message=".*hydra.mode=MULTIRUN", category=UserWarning)
    try:
        with ended_by_signals(), _hydra_raises(), error_hooks_called():
            main(job)()
    except JobFailed as error:
        sys.exit(error.args[0])
    except RunInterrupted as stopped:
        warning = process_signals.warning
        if warning is not None:
            requeue()
        sys.exit(exit_codes.of_signal(warning or stopped.signal_number))
    except KeyboardInterrupt:
        sys.exit(exit_codes.INTERRUPTED)
    except Exception as error:  # of what is composed; the task's own are reported above
        if isinstance(error, BrokenPipeError) and not PRINTING.isdisjoint(sys.argv):
            # `--help | head` has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return
        if os.environ[FULL_ERROR] == "1":
            raise
        if isinstance(error, RunFailedError):  # a sweep, as its end says
            log.error(f"failed: {error}")  # noqa: TRY400
            sys.exit(exit_codes.FAILED)
        refuse(explain(error, config_name, sys.argv[1:], sweeps))


def _start_ranks_here() -> None:
    """Has Lightning start the processes of several devices, where SLURM has started one alone.

    It would wait for SLURM to start the others, as `srun --ntasks-per-node` does.
    """
    if os.environ.get("SLURM_NTASKS") == "1":
        del os.environ["SLURM_NTASKS"]


def _report(error: Exception, cfg: DictConfig) -> None:
    """Logs what has ended a run."""
    if isinstance(error, UserError):
        if rank() == 0 or not error.on_all_ranks:
            log.error(f"error: {error}")
        return
    failure = failure_messages.explain(error, Path(cfg.run_dir), cfg.data.get("batch_size"))
    if failure is None:
        log.error("failed:", exc_info=error)
    else:
        log.error(f"failed: {failure}")


def end_children(kept: Collection[multiprocessing.process.BaseProcess] = ()) -> None:
    """Ends the loader's processes: for one that hangs, Python would wait for ever."""
    for child in set(multiprocessing.active_children()).difference(kept):
        child.terminate()
        child.join(timeout=CHILD_ENDS_S)
        child.kill()


def _thread_failed(failure: threading.ExceptHookArgs) -> None:
    """Leaves out what TensorBoard's writer meets, which raises it again in the main thread."""
    if not isinstance(failure.exc_value, OSError):
        threading.__excepthook__(failure)


def users_environment() -> dict[str, str]:
    """Variables as the user has them, for a program that is started while Hydra runs."""
    return {FULL_ERROR: os.environ.get(USERS_FULL_ERROR, "0")}


@contextmanager
def _hydra_raises() -> Iterator[None]:
    """Lets Hydra's errors come through as exceptions, where it would print them and exit with 1."""
    os.environ[USERS_FULL_ERROR] = os.environ.get(FULL_ERROR, "0")
    os.environ[FULL_ERROR] = "1"
    try:
        yield
    finally:
        os.environ[FULL_ERROR] = os.environ.pop(USERS_FULL_ERROR)
