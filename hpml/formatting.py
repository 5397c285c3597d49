"""Counts, durations and sizes, as one says them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from hpml.statistics import Estimate  # which imports scipy


def counted(count: int, noun: str) -> str:
    """`1 run`, `1,000 runs`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def capital(text: str) -> str:
    """A sentence's beginning; a key or a number stays as it is."""
    return text[:1].upper() + text[1:] if text.partition(" ")[0].isalpha() else text


def range_in_words(counts: Sequence[int]) -> str:
    """`8 to 9`; one number where they are all the same, a dash where there is none."""
    ends = sorted({min(counts), max(counts)}) if counts else []
    return " to ".join(f"{count:,}" for count in ends) or "–"


def listed(names: Sequence[str], most: int) -> str:
    """`a, b`; of more than `most` the first, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def duration_in_words(seconds: float) -> str:
    """A duration that is known roughly: `about 2 h 35 min`."""
    if seconds < 55:
        return f"about {max(5, 5 * round(seconds / 5))} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"about {minutes} min"
    hours = minutes // 60
    if hours < 48:
        return f"about {hours} h {minutes % 60} min"
    return f"about {hours // 24} days"


def size_in_words(size: float) -> str:
    """A number of bytes in decimal units: `84 MB`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def console(at_most: int | None = None) -> Console:
    """A console of rich's, as wide as the terminal; of 100 columns in a pipe, where rich has 80."""
    from rich.console import Console

    made = Console(highlight=False)
    width = made.width if made.is_terminal else max(made.width, 100)
    made.width = min(width, at_most or width)
    return made


def decimals(seconds: float) -> int:
    """As many as can mean something."""
    return 6 if seconds < 0.01 else 3 if seconds < 1 else 2 if seconds < 100 else 1


def in_s(estimate: Estimate) -> str:
    """`7.12 ± 0.10 s`."""
    size = max(abs(estimate.mean), 0.0 if estimate.is_wide else estimate.half_width or 0.0)
    return f"{with_spread(estimate, f',.{decimals(size)}f')} s"


def with_spread(estimate: Estimate, spec: str, spec_of_half: str = "") -> str:
    """`7.12 ± 0.10`; `5.10 to 9.81` of runs whose interval is wide, `7.12` of one."""
    if estimate.half_width is None:
        return f"{estimate.mean:{spec}}"
    if estimate.is_told_by_range:
        return " to ".join(format(end, spec) for end in estimate.ends)
    return f"{estimate.mean:{spec}} ± {estimate.half_width:{spec_of_half or spec}}"


def table(rows: Sequence[Sequence[str]], align: str) -> list[str]:
    """Lines of columns two spaces apart; `align` has `<` or `>` for each column."""
    specs = [f"{side}{max(map(len, col))}" for side, *col in zip(align, *rows, strict=True)]
    return ["  ".join(map(format, row, specs)).rstrip() for row in rows]
