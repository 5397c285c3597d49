import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import growth_page

    yield growth_page
    for name in ("growth_page", "harness"):
        sys.modules.pop(name, None)


def points(**figures: dict[int, float]) -> dict[int, dict[str, list[float]]]:
    xs = {x for values in figures.values() for x in values}
    return {x: {name: [values[x]] for name, values in figures.items()} for x in sorted(xs)}


def test_a_curve_settles_where_nothing_later_gains_a_twentieth(page: ModuleType) -> None:
    """A step of less than 5 % is no gain, two of them together may be one."""
    assert page.settles({32: 100, 64: 200, 128: 209, 256: 205}) == 64
    assert page.settles({32: 100, 64: 104, 128: 108}) == 64
    assert page.settles({32: 1, 64: 2}) == 64


def test_sentences_follow_the_figures(page: ModuleType) -> None:
    """The same curve turned round is told the other way round."""
    held = {32: 500.0, 64: 516.0, 128: 580.0}
    rising = {32: 100.0, 64: 200.0, 128: 400.0}
    falling = {32: 400.0, 64: 400.0, 128: 200.0}
    told = [
        page.sentences({"batch": points(samples_per_s=rates, host_mib=held)}, "host_mib")
        for rates in (rising, falling)
    ]
    memory = (
        ". Memory: 500 MiB with 32, 580 with 128; a sample more in the batch adds 0.50 MiB at "
        "first, 1.00 at last."
    )
    assert told[0] == [
        "Batch size: samples/s gain more than 5 % up to 128 (400); with 32 they are 100" + memory
    ]
    assert told[1] == [
        "Batch size: samples/s gain no more than 5 % from 32 on (400); with 32 they are 400; "
        "with 128 50% less than the most, which is with 32" + memory
    ]


def test_points_that_failed_are_left_out(page: ModuleType) -> None:
    """A curve of one point says nothing; the others' sentences stay."""
    images = points(samples_per_s={8: 400.0, 16: 100.0}, host_mib={8: 500.0, 16: 500.0})
    batch = points(samples_per_s={32: 1.0}, host_mib={32: 1.0})
    told = page.sentences({"batch": batch, "image": images}, "host_mib")
    assert told == [
        "Image size: a sample takes 2.5 ms with 8×8 pixels, 10 ms with 16×16; its time grows as "
        "the number of pixels to the power of 1.00 from 8 to 16. Memory: 500 and 500 MiB."
    ]
