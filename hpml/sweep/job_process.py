"""A job's process: alone in its group, its output kept, nothing of it left behind."""

import codecs
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TextIO

import psutil

from hpml.system import exit_codes
from hpml.system.signals import JOB, RunInterrupted

try:  # what Unix has
    import pty
    import termios
except ImportError:
    pty = None  # type: ignore[assignment]

LOG = "output.log"
TAIL_LINES = 20
# What Python's fault handler says first; after it the stack, the innermost call first.
FATAL = "Fatal Python error"
STACK_LINES = 40
LONGEST_LINE = 2000
POLL_S, GRACE_S = 0.05, 90.0
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class JobProcess:
    """Starts a command in a session of its own; `output.log` keeps what it prints.

    The command's standard input is a pipe that closes when this process ends, whatever ends it.
    `end_with_launcher` waits for that in the job, and ends all of its processes.

    Where `shown`, the output goes to this process's terminal too, with a moving progress bar; but
    not the line with which it ends for wrong input, where the caller `raises` that.
    """

    def __init__(
        self,
        command: Sequence[str],
        directory: Path,
        shown: bool,
        environment: Mapping[str, str],
        raises: bool = False,
    ) -> None:
        self.directory = directory
        self._started = time.monotonic()
        on_terminal = sys.stdout is not None and sys.stdout.isatty()
        self._terminal = shown and pty is not None and on_terminal
        reader, writer = _terminal() if self._terminal else os.pipe()
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=writer,
                stderr=writer,
                env=os.environ | environment | {JOB: str(directory.resolve())},
                start_new_session=True,
            )
        finally:
            os.close(writer)
        self._output = _Output(reader, directory / LOG, shown, raises)
        self._output.start()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    @property
    def tail(self) -> str:
        """The last lines of its output; after a crash those around its beginning."""
        lines = [line[:LONGEST_LINE] for line in self._output.tail]
        for index, line in enumerate(lines):
            if line.startswith(FATAL):
                return "\n".join(lines[max(0, index - TAIL_LINES // 2) : index + STACK_LINES])
        return "\n".join(lines[-TAIL_LINES:])

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        if self._terminal:
            self._output.resize()
        return self._process.poll()

    def wait(self) -> int:
        """The exit code, once it has ended. Raises RunInterrupted when it has ended by a signal."""
        try:
            while (exit_code := self.poll()) is None:
                time.sleep(POLL_S)
        except RunInterrupted as interrupted:
            self.send(interrupted.signal_number, to_all=False)
            until = time.monotonic() + GRACE_S
            while self.poll() is None and time.monotonic() < until:
                time.sleep(POLL_S)
            raise
        if exit_code < 0 and -exit_code in (signal.SIGINT, signal.SIGTERM):
            raise RunInterrupted(-exit_code)
        return exit_code

    @property
    def last_line(self) -> str:
        """Of its output: what a command that could not begin says of it."""
        return self.tail.strip().rpartition("\n")[2].removeprefix("error: ")

    def send(self, number: int, to_all: bool = True) -> None:
        """Sends a signal to all of the job's processes, or to the first alone."""
        with suppress(ProcessLookupError):
            if to_all and hasattr(os, "killpg"):
                os.killpg(self._process.pid, number)
            else:
                self._process.send_signal(number)

    def clear(self) -> None:
        """Kills whatever is left of the job, also what has left its group, and ends the log."""
        self.send(getattr(signal, "SIGKILL", signal.SIGTERM))
        kill_processes_of(self.directory)
        exit_code = self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._output.end(exit_code)


def kill_processes_of(directory: Path) -> None:
    """Kills what somebody left behind of a job, or of the jobs of a sweep, by its directory."""
    wanted = str(directory.resolve())
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            job = process.environ().get(JOB, "")
            if wanted in (job, str(Path(job).parent)) and process.pid != os.getpid():
                process.kill()


class _Output(threading.Thread):
    """Takes a job's output from its end of a pipe or terminal to the log, and shows it."""

    def __init__(self, reader: int, path: Path, shown: bool, raises: bool) -> None:
        super().__init__(name="output", daemon=True)
        self._raises = raises
        self._held = b""  # a line that may be what is raised
        self.tail: deque[str] = deque(maxlen=10 * TAIL_LINES)
        self._reader = reader
        self._path = path
        self._log: TextIO | None = None
        self._show = _writer(sys.stdout) if shown else None
        self._size: os.terminal_size | None = None

    def run(self) -> None:
        """Reads to the end; neither a full disk nor a closed terminal may hold up the job."""
        with suppress(OSError):
            self._log = self._path.open("w", encoding="utf-8")
        line = b""
        while chunk := self._read():
            self._pass_on(chunk)
            *lines, line = (line + chunk).split(b"\n")
            self._keep(lines)
            drawn_over = line.rstrip(b"\r").rfind(b"\r")
            line = line[drawn_over + 1 :]
            if len(line) > LONGEST_LINE:
                self._keep([line])
                line = b""
        if line:
            self._keep([line])
        if self._log is not None:
            with suppress(OSError):
                self._log.close()

    def end(self, exit_code: int) -> None:
        self.join(timeout=5)  # for what is still to be read
        if not self.is_alive():
            os.close(self._reader)
        if exit_code != exit_codes.WRONG_INPUT:
            self._raises = False
            self._pass_on(b"")

    def resize(self) -> None:
        """Gives the job's terminal the size of ours."""
        with suppress(OSError, termios.error):
            size = os.get_terminal_size(sys.stdout.fileno())
            if size != self._size:
                self._size = size
                termios.tcsetwinsize(self._reader, (size.lines, size.columns))

    def _read(self) -> bytes:
        with suppress(OSError):  # a terminal's other side has closed
            return os.read(self._reader, 65536)
        return b""

    def _pass_on(self, chunk: bytes) -> None:
        """Shows what is printed, one line of an error later where that may be raised."""
        chunk = self._held + chunk
        last = chunk[chunk.rstrip(b"\n").rfind(b"\n") + 1 :]
        self._held = last if self._raises and last.startswith(b"error: ") else b""
        if self._show is not None:
            with suppress(OSError, ValueError):
                self._show(chunk.removesuffix(self._held))

    def _keep(self, lines: Sequence[bytes]) -> None:
        """Of a line that was drawn over, the last state."""
        texts = [line.rstrip(b"\r").rpartition(b"\r")[2].decode(errors="replace") for line in lines]
        texts = [_ESCAPES.sub("", text) for text in texts]
        self.tail.extend(texts)
        if self._log is not None:
            with suppress(OSError):
                self._log.writelines(f"{text}\n" for text in texts)
                self._log.flush()


def _writer(stream: TextIO | None) -> Callable[[bytes], object] | None:
    """Takes bytes to a stream; a notebook's takes text alone."""
    if stream is None:
        return None
    if (buffer := getattr(stream, "buffer", None)) is not None:
        return lambda chunk: (buffer.write(chunk), buffer.flush())
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    return lambda chunk: stream.write(decoder.decode(chunk))


def _terminal() -> tuple[int, int]:
    """Our end and the job's end of a terminal that passes lines on as they are."""
    ours, theirs = pty.openpty()
    attributes = termios.tcgetattr(theirs)
    attributes[1] &= ~termios.OPOST
    termios.tcsetattr(theirs, termios.TCSANOW, attributes)
    return ours, theirs
