"""Ends a run in order on Ctrl-C, termination, a closed terminal, and a cluster's warnings.

A sweep's job also ends with the sweep's launcher, whatever ended that.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import Enum, auto
from types import FrameType
from typing import Any, NoReturn

# What SLURM sends before a job's end, as its `--signal` says.
WARNINGS = tuple(getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signal, name))
SIGNALS = (
    *(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)),
    *WARNINGS,
)
JOB = "HPML_JOB"  # names its directory to each process of a sweep's job
# How long a signal waits for a checkpoint from which the run resumes exactly.
PATIENCE_S = 20.0
WARNED_PATIENCE_S = 45.0  # SLURM warns minutes before the end
TORCHRUN = "TORCHELASTIC_RUN_ID"  # which torchrun gives to the processes that it starts
TORCHRUNS_PATIENCE_S = 25.0  # it kills them 30 s after a signal that it has handed on


class RunInterrupted(BaseException):
    """A signal asked the run to end.

    No KeyboardInterrupt, which Lightning would swallow and turn into exit code 1, and no
    Exception, which Hydra would take for a job that failed.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.signal_number = signal_number


class State(Enum):
    """What one of SIGNALS does when it arrives."""

    IDLE = auto()  # what it did before us
    RAISING = auto()  # it raises RunInterrupted
    HELD = auto()  # nothing: the end of `held` raises
    WAITING = auto()  # nothing: the training's next checkpoint raises, or the end of patience


class ProcessSignals:
    """How this process answers to SIGNALS; `process_signals` is the only one."""

    def __init__(self) -> None:
        self.state = State.IDLE
        self._received: list[int] = []
        self._survives = False
        self._process = os.getpid()

    @property
    def arrived(self) -> int | None:
        """The first signal that has asked the run to end."""
        return self._received[0] if self._received and self.state is not State.IDLE else None

    @property
    def warning(self) -> int | None:
        """Which of WARNINGS has arrived, be it after another signal."""
        return next((number for number in self._received if number in WARNINGS), None)

    def raise_if_arrived(self, at_checkpoint: bool = False) -> None:
        """Raises RunInterrupted, also where something has swallowed it; not while it waits."""
        number = self.arrived
        if number is not None and (at_checkpoint or self.state is not State.WAITING):
            self.wait_no_longer()
            raise RunInterrupted(number)

    def wait_for_checkpoint(self) -> None:
        """From now on a signal raises nothing at once: the training ends at its next checkpoint.

        If none comes within PATIENCE_S, it raises all the same: a hung loader comes to none.
        """
        can_wait = hasattr(signal, "setitimer") and _is_main_thread()
        if not can_wait or self.state is not State.RAISING:
            return
        for number in SIGNALS:
            # Lightning has put a handler of its own around ours, which ends at the next batch
            if signal.getsignal(number) not in (signal.SIG_IGN, signal.SIG_DFL):
                signal.signal(number, self.handle)
        self.state = State.WAITING

    def wait_no_longer(self) -> None:
        """From now on a signal raises at once; one that has arrived raises at its next chance."""
        if self.state is State.WAITING and _is_main_thread():
            self.state = State.RAISING
            signal.setitimer(signal.ITIMER_REAL, 0)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within it a signal raises nothing; its end does.

        For imports of compiled modules, some of which end the process on any exception.
        """
        holds = self.state is State.RAISING
        if holds:
            self.state = State.HELD
        try:
            yield
        finally:
            if holds:
                self.state = State.RAISING
        self.raise_if_arrived()

    @contextmanager
    def ending_the_run(self, survives: bool = False) -> Iterator[None]:
        """Within it SIGNALS raise RunInterrupted; a second one ends the process at once.

        A process that `survives`, a notebook's, goes on after a second one, which raises at once.

        A second one does nothing to a sweep's job, which ends with its launcher, nor under SLURM,
        which sends several and ends a job that takes too long.

        A handler that somebody else had for one of WARNINGS is called when all has ended in order:
        submitit's puts the job back into the queue.

        Whatever else a signal causes on its way becomes RunInterrupted too: it also reaches the
        loader's processes, and torch may report their death before Python runs our handler. But
        Python notes each signal in a pipe the moment it arrives.
        """
        if not _is_main_thread():  # Python delivers signals to that one alone
            yield
            return
        outer, self._process = self.state, os.getpid()
        if outer is State.IDLE:
            self._received.clear()
            self.state, self._survives = State.RAISING, survives
        before = {number: signal.signal(number, self.handle) for number in SIGNALS}
        for number in SIGNALS[2:]:
            if before[number] == signal.SIG_IGN:  # nohup asked for it
                signal.signal(number, signal.SIG_IGN)
        try:
            with _signal_pipe() as in_pipe:
                try:
                    yield
                except Exception as error:
                    # A child's death may arrive before the signal behind it, and another meanwhile.
                    for _ in range(10):
                        with suppress(Exception):
                            time.sleep(0.01)
                    for number in SIGNALS:
                        if number in in_pipe():
                            raise RunInterrupted(number) from error
                    raise
                self.raise_if_arrived()
        finally:
            self.wait_no_longer()
            for number, handler in before.items():
                signal.signal(number, handler)
            self.state = outer
            if outer is State.IDLE:
                self._hand_on_warnings(before)

    def _hand_on_warnings(self, before: dict[int, Any]) -> None:
        if self.warning and "SLURM_JOB_ID" in os.environ:
            for number in SIGNALS:  # it is put back into the queue now, whatever else comes
                signal.signal(number, signal.SIG_IGN)
        for warning in set(WARNINGS).intersection(self._received):
            if callable(before[warning]):
                before[warning](warning, None)

    def handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return  # Ctrl-C reaches a forked loader process too; the training process ends it
        is_first = self.arrived is None
        self._received.append(number)
        typed_again = not is_first and number == signal.SIGINT and JOB not in os.environ
        if self._survives:
            if typed_again and self.state is not State.HELD:
                self._lose_patience(number, frame)
        elif typed_again or not {JOB, "SLURM_JOB_ID"} & os.environ.keys():
            for other in SIGNALS:
                signal.signal(other, signal.SIG_DFL)
            if not is_first:
                signal.raise_signal(number)
        if is_first and self.state is State.WAITING:
            signal.signal(signal.SIGALRM, self._lose_patience)
            signal.setitimer(signal.ITIMER_REAL, _patience_s(number))
        elif is_first and self.state is State.RAISING:
            raise RunInterrupted(number)

    def _lose_patience(self, number: int, frame: FrameType | None) -> None:
        """Ends the run, and at once what it may wait for: processes of a loader."""
        for child in multiprocessing.active_children():
            child.kill()
        self.raise_if_arrived(at_checkpoint=True)


class NotedInterrupt:
    """Notes Ctrl-C within it, and leaves it to whoever entered it what comes of that.

    So with the others of SIGNALS where they end a run of ours. A second one is answered as it would
    have been. In threads other than the main one, and where Python does not handle it, none is
    noted.
    """

    def __init__(self) -> None:
        self._noted: int | None = None
        self.was_repeated = False  # a second one may have raised

    @property
    def has_come(self) -> bool:
        return self._noted is not None

    def __enter__(self) -> "NotedInterrupt":
        handlers: dict[int, Any] = {number: signal.getsignal(number) for number in SIGNALS}
        self._before = {
            number: handler
            for number, handler in handlers.items()
            if handler == process_signals.handle or (number == signal.SIGINT and callable(handler))
        }
        self._handle_by(dict.fromkeys(self._before, self._note))
        return self

    def __exit__(self, *_: object) -> None:
        self._handle_by(self._before)

    def raise_now(self) -> NoReturn:
        """Answers it as it would have been; one of another process as Python does. It is over."""
        noted, self._noted = self._noted, None
        if noted is not None:
            self._before[noted](noted, None)
        raise KeyboardInterrupt

    def _handle_by(self, handlers: Mapping[int, Any]) -> None:
        if _is_main_thread():
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.has_come:
            self.was_repeated = True
            self._before[number](number, frame)
        else:
            self._noted = number


# Handlers of signals belong to the process; so does this.
process_signals = ProcessSignals()
ended_by_signals = process_signals.ending_the_run
signals_held = process_signals.held


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


def _patience_s(number: int) -> float:
    if number not in WARNINGS:
        return PATIENCE_S
    return TORCHRUNS_PATIENCE_S if TORCHRUN in os.environ else WARNED_PATIENCE_S


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@contextmanager
def _signal_pipe() -> Iterator[Callable[[], bytes]]:
    """Gives a function that returns the numbers of the signals that have arrived so far."""
    if os.name == "nt":  # Windows notes them in sockets only, and sends none to groups
        yield bytes
        return
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    seen = bytearray()

    def numbers() -> bytes:
        with suppress(BlockingIOError):
            seen.extend(os.read(reader, 65536))
        return bytes(seen)

    try:
        yield numbers
    finally:
        signal.set_wakeup_fd(before)
        os.close(reader)
        os.close(writer)
