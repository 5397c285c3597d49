"""Files that are there whole or not at all."""

import errno
import math
import re
from pathlib import Path

import pytest

from hpml.errors import UserError
from hpml.system.files import disk_errors_in_one_line, finite, read_json, write_json, write_whole


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    """Nothing else is left beside it."""
    file = tmp_path / "a.json"
    write_whole(file, '{"a": 1}')
    write_whole(file, '{"a": 2}')
    assert read_json(file, "a") == {"a": 2}
    assert read_json(file, "b") is None
    assert list(tmp_path.iterdir()) == [file]
    with pytest.raises(OSError, match="No such file"):
        write_whole(tmp_path / "none" / "b.json", "")


def test_what_a_disk_refuses_names_the_file_that_was_meant(tmp_path: Path) -> None:
    """Not the temporary one beside it; without any, the place."""
    file = tmp_path / "none" / "b.json"
    with (
        pytest.raises(UserError, match=f"^{re.escape(str(file))}: No such file"),
        disk_errors_in_one_line(tmp_path),
    ):
        write_json(file, {})
    with (
        pytest.raises(UserError, match=f"^{re.escape(str(tmp_path))}: full$"),
        disk_errors_in_one_line(tmp_path),
    ):
        raise OSError(errno.ENOSPC, "full")


def test_what_json_has_no_word_for_becomes_null(tmp_path: Path) -> None:
    """Wherever in an object it stands."""
    write_json(tmp_path / "a.json", finite({"a": [math.inf, (1.0, math.nan)], "b": {"c": 2}}))
    assert read_json(tmp_path / "a.json") == {"a": [None, [1.0, None]], "b": {"c": 2}}
