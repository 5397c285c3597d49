"""The end of a sweep: its report, what failed, and how it resumes."""

import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from hpml.config import command_line
from hpml.config.fingerprint import key_of
from hpml.formatting import counted
from hpml.system.signals import RunInterrupted

log = logging.getLogger("hpml")


def conclude(directory: Path, failed_jobs: Sequence[str]) -> int:
    """Makes the report, names what failed, and returns the exit code."""
    try:
        from hpml.report.make import make_report

        make_report([directory], directory, f"Sweep {directory.name}")
    except RunInterrupted:
        log.error(f"interrupted; the report: python -m hpml.report {shlex.quote(str(directory))}")  # noqa: TRY400
        _report_failures(failed_jobs)
        raise
    except (BrokenPipeError, SystemExit):  # rich's word for a pipe that nobody reads any more
        pass
    except Exception as error:  # a full disk, say: what failed is reported nevertheless
        log.error(f"no report: {type(error).__name__}: {error}")  # noqa: TRY400
    if next(directory.glob("*/events.out.tfevents.*"), None) is not None:
        log.info(f"curves: tensorboard --logdir {shlex.quote(str(directory))}")
    _report_failures(failed_jobs)
    return 1 if failed_jobs else 0


def _report_failures(names: Sequence[str]) -> None:
    if names:
        log.error(f"failed: {counted(len(names), 'job')}: {', '.join(names)}")


def resume_command(directory: Path) -> str:
    """The command line that starts a sweep again where it stopped."""
    keys = {key_of(word) for word in sys.argv[1:]}
    if keys & {"sweep.name", "hydra.sweep.dir"}:
        return command_line.typed()
    return command_line.typed(f"sweep.name={directory.name}")
