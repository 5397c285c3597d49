"""A sweep's directory: one sweep at a time in it, and left as it was by one that never starts."""

import logging
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, flag_override

from hpml.cli.run_directory import errors_end_the_program, fresh_dir, is_given, refuse_run_dir
from hpml.config.checks import check_keys
from hpml.errors import UserError
from hpml.records.run_record import FILE_NAME
from hpml.sweep.finish import conclude
from hpml.sweep.reruns import RERUN, WAIT
from hpml.system import files
from hpml.system.interference import Interference

log = logging.getLogger("hpml")

HYDRAS_FILE = "multirun.yaml"  # which Hydra writes before the launcher is asked
NOT_IN_A_NAME = set("/\\'\"${}:*?<>|\n\t")
# Keys of `sweep` that need one value of `sweep.on_disturbance`.
NEEDED_BY = {"max_wait_s": WAIT, "max_reruns": RERUN}
# Keys of `sweep` that need our launcher.
OURS = (
    *("order", "timeout_s", "fail_fast", "on_code_change", "on_disturbance", *NEEDED_BY),
    *("parallel", "skip_missing_devices"),
)


def check_name(name: str, key: str = "sweep.name") -> None:
    """Raises UserError for a name that would lead elsewhere, or that some system cannot hold."""
    if name.strip() in ("", ".", "..") or NOT_IN_A_NAME & set(name):
        raise UserError(f"{key}={name}: give a plain name, such as norm or 2026-01-01_a")


class SweepDirectory(Callback):
    """The directory of a sweep: fresh, or the one of its name, and then for one sweep at a time.

    It works with any launcher. When all jobs are done it makes the report; Hydra's own launchers
    do not come to that after a failure.
    """

    def __init__(self) -> None:
        # names; a sweeper may call our launcher several times, and each time it adds to them
        self.failed_jobs: list[str] = []
        self.disturbed_jobs: dict[str, Interference] = {}
        self._before: tuple[Path, bool, bytes | None] | None = None

    @classmethod
    def among(cls, callbacks: Sequence[Callback]) -> "SweepDirectory":
        """The one that a configuration has; one that knows nothing where it has none."""
        return next((callback for callback in callbacks if isinstance(callback, cls)), cls())

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Finds the name and takes the lock; the launcher checks the jobs."""
        with errors_end_the_program(), flag_override(config, "readonly", False):
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
            if "hpml" not in str((config.hydra.launcher or {}).get("_target_")):
                _refuse_what_needs_our_launcher(config, directory)
            for key, policy in NEEDED_BY.items():
                if is_given(config, f"sweep.{key}") and config.sweep.on_disturbance != policy:
                    log.warning(f"sweep.{key} has no effect without sweep.on_disturbance={policy}")
            if not config.sweep.dry_run:
                at_work = f"another sweep is at work in {directory}"
                hint = "wait for its end, or give another name"
                in_use = f"sweep.name={directory.name}: {at_work}; {hint}"
                self.lock = files.locked(directory, "hydra.sweep.dir", in_use)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        with errors_end_the_program():
            if not config.sweep.dry_run:
                sys.exit(self.conclude(config))

    def conclude(self, config: DictConfig) -> int:
        """Makes the report, names what failed or was disturbed, and returns the exit code."""
        may_rerun = config.sweep.on_disturbance != RERUN and config.sweep.parallel is None
        directory = Path(config.hydra.sweep.dir)
        return conclude(directory, self.failed_jobs, self.disturbed_jobs, may_rerun)

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
                directory.rmdir()


def _refuse_what_needs_our_launcher(config: DictConfig, directory: Path) -> None:
    """Another launcher knows no ledger: it would write over what is complete."""
    if config.sweep.dry_run:
        raise UserError("sweep.dry_run=true: needs hydra/launcher=hpml, the default")
    if next(directory.rglob(FILE_NAME), None) is not None:
        raise UserError(f"sweep.name={directory.name}: {directory} holds runs; give another name")
    for key in OURS:
        if is_given(config, f"sweep.{key}"):
            log.warning(f"sweep.{key} has no effect with this hydra/launcher")
