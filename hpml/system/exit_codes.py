"""The exit codes of all programs: completed, failed, wrong input, or ended by a signal."""

import signal

from hpml.errors import UserError

COMPLETED, FAILED, WRONG_INPUT = 0, 1, 2
UNDECIDED = 3  # of compare, whose FAILED says slower


def of_error(error: Exception) -> int:
    """That of a program which an error has ended."""
    return WRONG_INPUT if isinstance(error, UserError) else FAILED


def of_signal(number: int) -> int:
    """As shells have it: 129 terminal closed, 130 interrupted, 143 terminated.

    After SLURM's warnings 138 (SIGUSR1) and 140 (SIGUSR2) on Linux.
    """
    return 128 + number


INTERRUPTED = of_signal(signal.SIGINT)
