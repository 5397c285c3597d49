"""Ends a run in order on Ctrl-C (SIGINT) and on termination (SIGTERM)."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Interrupted(BaseException):
    """A signal asked the run to end.

    No KeyboardInterrupt, which Lightning would swallow and turn into exit code 1, and no
    Exception, which Hydra would take for a job that failed.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.signal_number = signal_number


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Within it SIGINT and SIGTERM raise Interrupted; a second one ends the process at once."""
    process = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        if os.getpid() != process:
            return  # Ctrl-C reaches a forked loader process too; the training process ends it
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise Interrupted(number)

    before: dict[int, Any] = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, handle)
    except ValueError:  # not the main thread: Python delivers signals to that one alone
        yield
        return
    try:
        yield
    finally:
        for caught, handler in before.items():
            signal.signal(caught, handler)
