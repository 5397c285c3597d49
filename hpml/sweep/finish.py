"""The end of a sweep: its report, what failed, and how it resumes."""

import logging
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from hpml.config import command_line
from hpml.config.fingerprint import key_of
from hpml.config.lab_advice import advised
from hpml.formatting import counted
from hpml.system import exit_codes, tensorboard
from hpml.system.interference import Interference
from hpml.system.signals import RunInterrupted

log = logging.getLogger("hpml")

IN_WORDS = 5


def conclude(
    directory: Path,
    failed_jobs: Sequence[str],
    disturbed_jobs: Mapping[str, Interference],
    may_rerun: bool,
) -> int:
    """Makes the report, names what was disturbed and what failed, and returns the exit code.

    `may_rerun` says that the disturbed jobs can run again, by another command.
    """
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
    if next(directory.glob(f"*/{tensorboard.EVENTS}"), None) is not None:
        log.info(f"curves: {tensorboard.command(directory, directory)}")
    _report_disturbed(disturbed_jobs, may_rerun)
    _report_failures(failed_jobs)
    return exit_codes.FAILED if failed_jobs else exit_codes.COMPLETED


def _report_disturbed(jobs: Mapping[str, Interference], may_rerun: bool) -> None:
    """The worst of them with what disturbed them, then the names of the others."""
    if not jobs:
        return
    names = sorted(jobs, key=lambda name: -jobs[name].share)
    words = [f"{name}: {jobs[name].in_words('it')}" for name in names[:IN_WORDS]]
    if others := names[IN_WORDS:]:
        words.append(f"also {', '.join(others)}")
    if may_rerun:
        by = advised("sweep.on_disturbance=rerun, with the same sweep.name,")
        words.append(f"{by} runs them again")
    log.warning(f"disturbed: {counted(len(jobs), 'job')}: {'; '.join(words)}")


def _report_failures(names: Sequence[str]) -> None:
    names = list(dict.fromkeys(names))  # a sweeper may have asked for one again
    if names:
        log.error(f"failed: {counted(len(names), 'job')}: {', '.join(names)}")


def resume_command(directory: Path) -> str:
    """The command line that starts a sweep again where it stopped."""
    is_given = "hydra.sweep.dir" in map(key_of, sys.argv[1:])
    return command_line.typed(*([] if is_given else [f"sweep.name={directory.name}"]))
