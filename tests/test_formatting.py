from pathlib import Path

import pytest

from hpml.formatting import counted, duration_in_words, size_in_words
from hpml.system.files import size_of


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        *((0.1, "5 s"), (42, "40 s"), (59, "1 min"), (3540, "59 min")),
        *((9300, "2 h 35 min"), (4e5, "4 days")),
    ],
)
def test_durations_are_told_in_words(seconds: float, words: str) -> None:
    """As one says them."""
    assert duration_in_words(seconds) == f"about {words}"


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 bytes"), (999, "999 bytes"), (84_100_000, "84.1 MB"), (2e15, "2e+03 TB")],
)
def test_sizes_are_told_in_words(size: float, words: str) -> None:
    """In decimal units."""
    assert size_in_words(size) == words


def test_counts_have_their_plural() -> None:
    """One run, two runs."""
    assert [counted(n, "run") for n in (0, 1, 1000)] == ["0 runs", "1 run", "1,000 runs"]


def test_a_folders_size_is_that_of_its_files(tmp_path: Path) -> None:
    """However deep they lie; a link that leads nowhere does no harm."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(bytes(100))
    (tmp_path / "c").write_bytes(bytes(11))
    assert size_of(tmp_path) == 111
