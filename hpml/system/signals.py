"""Ends a run in order on Ctrl-C, termination, a closed terminal, and a cluster's warnings.

A sweep's job also ends with the sweep's launcher, whatever ended that.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

# What SLURM sends before a job's end, as its `--signal` says.
WARNINGS = tuple(getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signal, name))
SIGNALS = (
    *(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)),
    *WARNINGS,
)
JOB = "HPML_JOB"  # names its directory to each process of a sweep's job
# How long a signal waits for a point from which the run can go on exactly.
PATIENCE_S = 20.0
WARNED_PATIENCE_S = 45.0  # SLURM warns minutes before the end
_arrived: list[int] = []
_noted: list[int] = []  # with those that came after the first
_holding: list[bool] = []
_waiting: list[bool] = []
_handlers: list[Callable[[int, FrameType | None], None]] = []


class RunInterrupted(BaseException):
    """A signal asked the run to end.

    No KeyboardInterrupt, which Lightning would swallow and turn into exit code 1, and no
    Exception, which Hydra would take for a job that failed.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.signal_number = signal_number


def has_arrived() -> bool:
    """Whether a signal has asked the run to end."""
    return bool(_arrived)


def was_warned() -> int | None:
    """Which of WARNINGS has arrived, be it after another signal."""
    return next((number for number in _noted if number in WARNINGS), None)


def raise_if_arrived(at_checkpoint: bool = False) -> None:
    """Raises RunInterrupted again where an import or a callback has swallowed the first one.

    While signals wait for a point, only there.
    """
    if _arrived and (at_checkpoint or not _waiting):
        wait_no_longer()
        raise RunInterrupted(_arrived[0])


def wait_for_checkpoint() -> None:
    """From now on a signal raises nothing at once: the training ends at its next point.

    If none comes within PATIENCE_S, it raises all the same: a hung loader comes to no point.
    """
    if not hasattr(signal, "setitimer") or _waiting:
        return
    with suppress(ValueError):  # not the main thread
        for number in SIGNALS:
            # Lightning has put a handler of its own around ours, which ends at the next batch
            if _handlers and signal.getsignal(number) not in (signal.SIG_IGN, signal.SIG_DFL):
                signal.signal(number, _handlers[-1])
        _waiting.append(True)


def wait_no_longer() -> None:
    """From now on a signal raises at once; one that has arrived raises at its next chance."""
    if _waiting:
        _waiting.clear()
        with suppress(ValueError):  # not the main thread
            signal.setitimer(signal.ITIMER_REAL, 0)


def end_with_launcher() -> None:
    """In the first process of a sweep's job: ends all of the job's once the launcher has ended.

    The launcher holds the other end of standard input, and never writes to it.
    """
    if JOB in os.environ and hasattr(os, "getsid") and os.getsid(0) == os.getpid():
        threading.Thread(target=_end_with_launcher, name="launcher", daemon=True).start()


def _end_with_launcher() -> None:
    while os.read(0, 1):
        pass
    os.killpg(0, signal.SIGKILL)


@contextmanager
def signals_held() -> Iterator[None]:
    """Within it a signal raises nothing; its end does.

    For imports of compiled modules, some of which end the process on any exception.
    """
    _holding.append(True)
    try:
        yield
    finally:
        _holding.pop()
    raise_if_arrived()


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Within it SIGNALS raise RunInterrupted; a second one ends the process at once.

    A second one does nothing to a sweep's job, which ends with its launcher, nor under SLURM, which
    sends several and ends a job that takes too long.

    Where the first is swallowed, `raise_if_arrived` and the end of the block raise it again. A
    handler that somebody else had for one of WARNINGS is called when all has ended in order:
    submitit's puts the job back into the queue.

    Whatever else a signal causes on its way becomes RunInterrupted too. A terminal and a cluster
    send it to the loader's processes as well, and torch may report their death before Python
    gets to run our handler; but Python notes each signal in a pipe the moment it arrives.
    """
    process = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        if os.getpid() != process:
            return  # Ctrl-C reaches a forked loader process too; the training process ends it
        _noted.append(number)
        typed_again = _arrived and number == signal.SIGINT and JOB not in os.environ
        if typed_again or not {JOB, "SLURM_JOB_ID"} & os.environ.keys():
            for other in SIGNALS:
                signal.signal(other, signal.SIG_DFL)
            if _arrived:
                signal.raise_signal(number)
        if _arrived:
            return
        _arrived.append(number)
        if _waiting:
            signal.signal(signal.SIGALRM, _lose_patience)
            patience_s = WARNED_PATIENCE_S if number in WARNINGS else PATIENCE_S
            signal.setitimer(signal.ITIMER_REAL, patience_s)
        elif not _holding:
            raise RunInterrupted(number)

    before: dict[int, Any] = {}
    if not _handlers:
        _noted.clear()
    _handlers.append(handle)
    try:
        for number in SIGNALS:
            before[number] = signal.signal(number, handle)
            if before[number] == signal.SIG_IGN and number not in SIGNALS[:2]:
                signal.signal(number, signal.SIG_IGN)  # nohup asked for it
    except ValueError:  # not the main thread: Python delivers signals to that one alone
        _handlers.pop()
        yield
        return
    try:
        with _noted_signals() as noted:
            try:
                yield
            except Exception as error:
                # A child's death may arrive before the signal behind it, and another meanwhile.
                for _ in range(10):
                    with suppress(Exception):
                        time.sleep(0.01)
                for number in SIGNALS:
                    if number in noted():
                        raise RunInterrupted(number) from error
                raise
            raise_if_arrived()
    finally:
        wait_no_longer()
        _handlers.pop()
        for caught, handler in before.items():
            signal.signal(caught, handler)
        if not _handlers:  # this was the outermost block
            _arrived.clear()
            if was_warned() and "SLURM_JOB_ID" in os.environ:
                for caught in before:  # it is put back into the queue now, whatever else comes
                    signal.signal(caught, signal.SIG_IGN)
            for warning in set(WARNINGS).intersection(_noted):
                if callable(before[warning]):
                    before[warning](warning, None)


def _lose_patience(number: int, frame: FrameType | None) -> None:
    """Ends the run, and at once what it may wait for: processes of a loader."""
    for child in multiprocessing.active_children():
        child.kill()
    raise_if_arrived(at_checkpoint=True)


@contextmanager
def _noted_signals() -> Iterator[Any]:
    """Gives a function that returns the numbers of the signals that have arrived so far."""
    if os.name == "nt":  # Windows notes them in sockets only, and sends none to groups
        yield bytes
        return
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    seen = bytearray()

    def noted() -> bytearray:
        with suppress(BlockingIOError):
            seen.extend(os.read(reader, 65536))
        return seen

    try:
        yield noted
    finally:
        signal.set_wakeup_fd(before)
        os.close(reader)
        os.close(writer)
