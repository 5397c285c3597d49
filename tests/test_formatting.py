from pathlib import Path

from hpml.formatting import counted, duration_in_words, size_in_words
from hpml.system.files import size_of

DURATIONS = {0.1: "5 s", 42: "40 s", 59: "1 min", 3540: "59 min", 9300: "2 h 35 min", 4e5: "4 days"}
SIZES = {0: "0 bytes", 999: "999 bytes", 84_100_000: "84.1 MB", 2e15: "2e+03 TB"}
COUNTS = {0: "0 runs", 1: "1 run", 1000: "1,000 runs"}


def test_numbers_are_told_in_words() -> None:
    """Durations as one says them, sizes in decimal units, and counts with their plural."""
    about = {seconds: f"about {words}" for seconds, words in DURATIONS.items()}
    assert {seconds: duration_in_words(seconds) for seconds in about} == about
    assert {size: size_in_words(size) for size in SIZES} == SIZES
    assert {n: counted(n, "run") for n in COUNTS} == COUNTS


def test_a_folders_size_is_that_of_its_files(tmp_path: Path) -> None:
    """However deep they lie; a link that leads nowhere does no harm."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(bytes(100))
    (tmp_path / "c").write_bytes(bytes(11))
    assert size_of(tmp_path) == 111
