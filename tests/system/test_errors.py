"""An error in one line."""

import pytest
from torch._utils import ExceptionWrapper

from hpml.errors import first_line, reason


class OddError(Exception):
    """Its traceback names it with its module."""


@pytest.mark.parametrize("error", [OSError("disk gone\nsector 5"), OddError("disk gone")])
def test_a_workers_error_is_told_by_its_own_words(error: Exception) -> None:
    """torch has them below the traceback, and says only that an error was caught."""
    try:
        raise error
    except Exception:
        caught = ExceptionWrapper(where="in DataLoader worker process 0")
    with pytest.raises(type(error), match="Caught") as raised:
        caught.reraise()
    assert first_line(raised.value) == "disk gone"
    assert reason(raised.value) == f"{type(error).__name__}: disk gone"
    assert first_line(OSError("Caught in the act")) == "Caught in the act"


def test_an_error_without_a_message_is_named_once() -> None:
    """By its kind."""
    assert reason(KeyboardInterrupt()) == "KeyboardInterrupt"
    assert reason(OSError("no space")) == "OSError: no space"
