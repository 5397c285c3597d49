"""The failures that are reported in one line, without a traceback."""

import re
import traceback
from collections.abc import Iterator
from pathlib import Path

# Where code lies that is not the user's.
PACKAGE = Path(__file__).parent
LIBRARIES = frozenset({"site-packages", "dist-packages"})


class Reported(Exception):  # noqa: N818 - what its kinds have in common
    """Its message says all that there is to say: no traceback helps."""

    heading = "error"

    def _render_traceback_(self) -> list[str]:
        """What IPython shows of it, in a notebook too."""
        return [f"{self.heading}: {self}"]


class UserError(Reported):
    """Wrong input: a key, a value, a file. The program ends with exit code 2."""

    on_all_ranks = True  # the first one tells it for all


class DataError(UserError):
    """Data that cannot be used: says which file, and what is wrong with it."""


class RunFailedError(Reported):
    """The run itself failed in a way we know, such as a loss that is not finite. Exit code 1."""

    heading = "failed"


class FailedElsewhereError(RunFailedError):
    """What went well here has failed on another rank: its message names the rank and the error."""


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An exception, and those that it was raised from or while handling, the last one first."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:  # Hydra's lead back to themselves
        yield error
        seen.append(error)
        error = error.__cause__ or error.__context__


def place(error: BaseException) -> str:
    """Where the user's own code raised an exception: ` in Norms.on_fit_end (train.py:41)`; else
    nothing.
    """
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        file = Path(frame.f_code.co_filename)
        if not (file.is_relative_to(PACKAGE) or LIBRARIES.intersection(file.parts)):
            name = frame.f_code.co_qualname.rpartition("<locals>.")[2]
            return f" in {name} ({file.name}:{line})"
    return ""


def first_line(error: BaseException) -> str:
    """An exception's message without the lines of detail below it.

    Of what torch raises for another process, such as a loader's worker, its own message, which is
    below a traceback.
    """
    lines, kind = str(error).strip().splitlines(), type(error).__name__
    if lines and lines[0].startswith(f"Caught {kind} in "):
        own = re.findall(rf"^(?:[\w.]+\.)?{kind}: (.+)$", str(error), re.MULTILINE)
        return str(own[-1]) if own else lines[-1]
    return lines[0] if lines else kind


def reason(error: BaseException) -> str:
    """`OSError: no space is left`; of another rank's error what it has told."""
    if isinstance(error, FailedElsewhereError):
        return str(error)
    kind, line = type(error).__name__, first_line(error)
    return kind if line == kind else f"{kind}: {line}"
