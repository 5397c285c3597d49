"""The end of a sweep: its report, what failed, and how it goes on."""

import logging
import shlex
import sys
from pathlib import Path

from hpml.config import command_line
from hpml.config.fingerprint import key_of
from hpml.formatting import counted
from hpml.system.signals import RunInterrupted

log = logging.getLogger("hpml")

# Names of the jobs that failed in this process's sweep. Hydra's launcher and callbacks do not know
# each other, and a sweeper may call the launcher several times.
failed_jobs: list[str] = []


def conclude(directory: Path) -> int:
    """Makes the report, names what failed, and returns the exit code."""
    try:
        from hpml.report.make import make_report

        make_report([directory], directory, f"Sweep {directory.name}")
    except RunInterrupted:
        log.error(f"interrupted; the report: python -m hpml.report {shlex.quote(str(directory))}")  # noqa: TRY400
        _tell_failures()
        raise
    except (BrokenPipeError, SystemExit):  # rich's word for a pipe that nobody reads any more
        pass
    except Exception as error:  # a full disk, say: what failed has to be told nevertheless
        log.error(f"no report: {type(error).__name__}: {error}")  # noqa: TRY400
    if next(directory.glob("*/events.out.tfevents.*"), None) is not None:
        log.info(f"curves: tensorboard --logdir {shlex.quote(str(directory))}")
    _tell_failures()
    return 1 if failed_jobs else 0


def _tell_failures() -> None:
    if failed_jobs:
        log.error(f"failed: {counted(len(failed_jobs), 'job')}: {', '.join(failed_jobs)}")


def command_to_go_on(directory: Path) -> str:
    """The command line that starts a sweep again where it stopped."""
    keys = {key_of(word) for word in sys.argv[1:]}
    named = keys & {"sweep.name", "hydra.sweep.dir"}
    return command_line.typed() if named else command_line.typed(f"sweep.name={directory.name}")
