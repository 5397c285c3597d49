"""Where libraries read and decode: functions that are timed for a while, and then theirs again.

A function that a user's file imports by its name (`from cv2 import imread`) is not seen here: its
time is that of who calls it, and its line is found by `hpml.loading.code_lines`. Nor is what other
threads read.
"""

import builtins
import io
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from hpml.loading.stage_clock import DECODING, READING, StageClock

# Module, function or method in it, and its stage. Those not imported are not in use.
FUNCTIONS = (
    ("os", "read", READING),
    ("os", "pread", READING),
    ("socket", "SocketIO.readinto", READING),  # HTTP and object stores read by it
    ("numpy", "fromfile", READING),
    ("h5py._hl.dataset", "Dataset.__getitem__", READING),
    *(
        (module, name, stage)
        for module in ("torchvision.io", "torchvision.io.image")
        for name, stage in (
            *(("read_file", READING), ("decode_image", DECODING), ("decode_jpeg", DECODING)),
            *(("decode_png", DECODING), ("decode_webp", DECODING), ("decode_gif", DECODING)),
        )
    ),
    ("simplejpeg", "decode_jpeg", DECODING),
    ("PIL.Image", "open", DECODING),
    ("cv2", "imread", DECODING),
    ("cv2", "imdecode", DECODING),
    ("imageio.v2", "imread", DECODING),
    ("imageio.v3", "imread", DECODING),
    ("skimage.io", "imread", DECODING),
    ("soundfile", "read", DECODING),
    ("torchaudio", "load", DECODING),
    ("librosa", "load", DECODING),
    ("numpy", "load", DECODING),
    ("torch", "load", DECODING),
    ("pickle", "load", DECODING),
    ("pickle", "loads", DECODING),
    ("json", "load", DECODING),
    ("json", "loads", DECODING),
    ("zlib", "decompress", DECODING),
    ("gzip", "decompress", DECODING),
    ("gzip", "GzipFile.read", DECODING),
)


@contextmanager
def libraries_timed(clock: StageClock) -> Iterator[None]:
    """Within it what this thread reads and decodes is timed as that.

    Pillow decodes an image when its pixels are first asked for, wherever that is: it is decoding
    there too.
    """
    with ExitStack() as stack:
        for owner, name, stage in _found():
            _replace(stack, owner, name, clock.around(getattr(owner, name), stage))
        opened = _timed_open(clock)
        for module in (builtins, io):
            _replace(stack, module, "open", opened)
        yield


def _found() -> Iterator[tuple[Any, str, str]]:
    for module, path, stage in FUNCTIONS:
        owner: Any = sys.modules.get(module)
        *parents, name = path.split(".")
        for parent in parents:
            owner = getattr(owner, parent, None)
        if callable(getattr(owner, name, None)):
            yield owner, name, stage
    images: Any = sys.modules.get("PIL.ImageFile")
    for kind in _kinds(images.ImageFile) if images else ():
        if "load" in vars(kind):
            yield kind, "load", DECODING


def _kinds(kind: Any) -> Iterator[Any]:
    yield kind
    for below in kind.__subclasses__():
        yield from _kinds(below)


def _replace(stack: ExitStack, owner: Any, name: str, by: Any) -> None:
    """Until the stack is left; what cannot be replaced stays."""
    own = vars(owner).get(name)
    try:
        setattr(owner, name, by)
    except (AttributeError, TypeError):  # of a class written in C
        return
    restore = (setattr, owner, name, own) if own is not None else (delattr, owner, name)
    stack.callback(*restore)


class _TimedFile(io.FileIO):
    """A file whose reading is timed; the buffers in front of it are Python's own."""

    clock: StageClock

    def readinto(self, buffer: Any) -> Any:
        return self.clock.call(READING, super().readinto, buffer)

    def readall(self) -> Any:
        return self.clock.call(READING, super().readall)

    def read(self, size: int | None = -1) -> Any:
        return self.clock.call(READING, super().read, -1 if size is None else size)


def _timed_open(clock: StageClock) -> Any:
    plain = io.open

    def opened(
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        closefd: bool = True,
        opener: Any = None,
    ) -> Any:
        text = (encoding, errors, newline)
        if buffering == -1 and mode in ("r", "rt", "rb", "br"):
            raw = _TimedFile(file, "r", closefd, opener)
            raw.clock = clock
            buffer = io.BufferedReader(raw, getattr(raw, "_blksize", io.DEFAULT_BUFFER_SIZE))
            if "b" in mode:
                return buffer
            wrapper: Any = io.TextIOWrapper(buffer, *text)
            wrapper.mode = mode
            return wrapper
        return plain(file, mode, buffering, *text, closefd, opener)

    return clock.around(opened, READING)
