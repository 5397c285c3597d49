"""Files that are there whole or not at all."""

from pathlib import Path

import pytest

from hpml.system.files import read_json, write_whole


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
