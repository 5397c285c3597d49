"""A sweep's directory: one sweep at a time in it, and left as it was by one that never starts."""

import logging
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, flag_override

from hpml.cli.error_hooks import call_on_error
from hpml.cli.program import JobFailed
from hpml.cli.run_directory import errors_end_the_program, fresh_dir, is_given, refuse_run_dir
from hpml.config.checks import check_keys
from hpml.config.lab_advice import in_the_lab
from hpml.errors import RunFailedError, UserError, first_line
from hpml.records.run_record import FILE_NAME
from hpml.sweep.finish import conclude, resume_command
from hpml.sweep.reruns import RERUN, WAIT
from hpml.sweep.sweeper import arrange, searches
from hpml.system import files
from hpml.system.interference import Interference
from hpml.system.signals import RunInterrupted

log = logging.getLogger("hpml")

HYDRAS_FILE = "multirun.yaml"  # which Hydra writes before the launcher is asked
NOT_IN_A_NAME = set("/\\'\"${}:*?<>|\n\t")
OUR_SUBDIR = "${hydra.job.num}"  # as in conf/train.yaml
# Keys of `sweep` that need one value of `sweep.on_disturbance`.
NEEDED_BY = {"max_wait_s": WAIT, "max_reruns": RERUN}
# Keys of `sweep` that need our launcher.
OURS = (
    *("order", "timeout_s", "fail_fast", "on_code_change", "on_disturbance", *NEEDED_BY),
    *("parallel", "skip_missing_devices"),
)


def check_name(name: str, key: str = "sweep.name") -> None:
    """Raises UserError for a name that would lead elsewhere, or that some system cannot hold."""
    if not name.strip() or name.startswith(".") or NOT_IN_A_NAME & set(name):
        raise UserError(f"{key}={name}: give a plain name, such as norm or 2026-01-01_a")


class SweepDirectory(Callback):
    """The directory of a sweep: fresh, or the one of its name, and then for one sweep at a time.

    It works with any launcher and any sweeper. When all jobs are done it makes the report, and
    where an error or a signal ends them early.
    """

    def __init__(self) -> None:
        # names; a sweeper may call our launcher several times, and each time it adds to them
        self.failed_jobs: list[str] = []
        self.disturbed_jobs: dict[str, Interference] = {}
        # of our launcher: whether it has run jobs, and how many of them gave the sweeper a value
        self.has_begun, self.values = False, 0
        self._before: tuple[Path, bool, bytes | None] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Without the lock: other launchers take Hydra's callbacks along to their jobs."""
        return {name: value for name, value in vars(self).items() if name != "lock"}

    @classmethod
    def among(cls, callbacks: Sequence[Callback]) -> "SweepDirectory":
        """The one that a configuration has; one that knows nothing where it has none."""
        return next((callback for callback in callbacks if isinstance(callback, cls)), cls())

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Finds the name and takes the lock; the launcher checks the jobs."""
        with (
            errors_end_the_program(),
            flag_override(config, "readonly", False),
            ExitStack() as refused,
        ):
            refused.callback(self.leave_as_it_was)
            check_keys(config)
            refuse_run_dir(config)
            has_dir = is_given(config, "hydra.sweep.dir")
            # the default is the time
            has_name = has_dir or not OmegaConf.is_interpolation(config.sweep, "name")
            if not has_dir:
                check_name(str(config.sweep.name))
            directory = Path(config.hydra.sweep.dir).expanduser()
            if not (has_name or config.sweep.dry_run):
                directory = Path(fresh_dir(str(directory)))
            config.sweep.name = directory.name
            config.hydra.sweep.dir = str(directory)
            hydras = directory / HYDRAS_FILE
            is_used = directory.is_dir() and any(directory.iterdir())
            self._before = directory, is_used, hydras.read_bytes() if hydras.is_file() else None
            if not _is_ours(config):
                _refuse_what_needs_our_launcher(config, directory)
            elif _has_subdir(config):
                named = "a job's folder is named by what varies in the sweep"
                log.warning(f"hydra.sweep.subdir has no effect: {named}")
            if searches(config):
                arrange(config)
            for key, policy in NEEDED_BY.items():
                if is_given(config, f"sweep.{key}") and config.sweep.on_disturbance != policy:
                    log.warning(f"sweep.{key} has no effect without sweep.on_disturbance={policy}")
            if not config.sweep.dry_run:
                at_work = f"another sweep is at work in {directory}"
                hint = "wait for its end, or give another name"
                in_use = f"sweep.name={directory.name}: {at_work}; {hint}"
                self.lock = files.locked(directory, "hydra.sweep.dir", in_use)
            call_on_error(partial(self._end_on_error, config))
            refused.pop_all()

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        with errors_end_the_program():
            if not config.sweep.dry_run:
                sys.exit(self.conclude(config))

    def conclude(self, config: DictConfig) -> int:
        """Makes the report, names what failed or was disturbed, and returns the exit code."""
        may_rerun = config.sweep.on_disturbance != RERUN and config.sweep.parallel is None
        directory = Path(config.hydra.sweep.dir)
        return conclude(directory, self.failed_jobs, self.disturbed_jobs, may_rerun)

    def _end_on_error(self, config: DictConfig, error: BaseException) -> None:
        """The report of what has run, after a signal or an error, be it the sweeper's own.

        Raises RunFailedError in place of an error that does not name the sweep.
        """
        directory = Path(config.hydra.sweep.dir)
        begun = self.has_begun if _is_ours(config) else any(directory.rglob(FILE_NAME))
        if not begun:
            self.leave_as_it_was()
            return
        if isinstance(error, RunInterrupted) and _is_ours(config) and not in_the_lab():
            # first of all: the report may be interrupted, too; of the lab the same command resumes
            log.error("to resume: %s", resume_command(directory))
        self.conclude(config)
        if isinstance(error, Exception) and not isinstance(error, UserError | JobFailed):
            cause = f"{type(error).__name__}: {first_line(error)}"
            if isinstance(error, RunFailedError):
                cause = str(error)
            elif self.failed_jobs and not self.values:  # Optuna: "Record does not exist."
                cause = f"no job gave a value of {config.monitor} ({cause})"
            raise RunFailedError(f"the sweep ended early: {cause}") from error

    def leave_as_it_was(self) -> None:
        """Takes back what was written for a sweep that starts no job."""
        if self._before is None:
            return
        directory, was_used, content = self._before
        with suppress(OSError):  # gone, or something else lies there by now
            if content is not None:
                (directory / HYDRAS_FILE).write_bytes(content)
            else:
                (directory / HYDRAS_FILE).unlink(missing_ok=True)
            if not was_used:
                (directory / files.LOCK).unlink(missing_ok=True)
                files.remove_empty(directory)


def _has_subdir(config: DictConfig) -> bool:
    sweep: Any = OmegaConf.to_container(config.hydra.sweep, resolve=False)
    return sweep["subdir"] != OUR_SUBDIR


def _is_ours(config: DictConfig) -> bool:
    """Whether the launcher is one of ours."""
    return "hpml" in str((config.hydra.launcher or {}).get("_target_"))


def _refuse_what_needs_our_launcher(config: DictConfig, directory: Path) -> None:
    """Another launcher knows no ledger: it would write over what is complete."""
    if config.sweep.dry_run:
        raise UserError("sweep.dry_run=true: needs hydra/launcher=hpml, the default")
    if next(directory.rglob(FILE_NAME), None) is not None:
        raise UserError(f"sweep.name={directory.name}: {directory} holds runs; give another name")
    for key in OURS:
        if is_given(config, f"sweep.{key}"):
            log.warning(f"sweep.{key} has no effect with this hydra/launcher")
