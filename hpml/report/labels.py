"""Names that are short, and as many as there were: none is cut to what another one is cut to."""

import math
import re
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence

LINE = 44  # characters of a picture's line
FEWEST_DIGITS, MOST_DIGITS = 4, 17
A_DIGITS_LETTERS = 8  # of a text, where a number has a digit
FRACTION = re.compile(r"(?<![\w.-])\d+\.\d{5,}(?:e[+-]?\d+)?(?![\w.])")  # of many digits


def number_of(text: str) -> float | None:
    """A finite number; None where the text is another one."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def is_whole(text: str) -> bool:
    """Whether it is written as a number without a fraction."""
    return text.lstrip("+-").isdecimal()


def short_texts(values: Iterable[str]) -> dict[str, str]:
    """Values of one key, each as short as they all stay apart.

    Numbers with a fraction have few digits; long texts lose their middle, where that tells nothing.
    """
    every = list(dict.fromkeys(values))
    for size in range(FEWEST_DIGITS, MOST_DIGITS + 1):
        texts = {value: _shorter(value, size) for value in every}
        if len({*texts.values()}) == len(every):
            return texts
    return {value: value for value in every}


def _shorter(value: str, size: int) -> str:
    number = None if is_whole(value) else number_of(value)
    if number is not None:
        return min(value, f"{number:.{size}g}", key=len)
    half = size * A_DIGITS_LETTERS // 2
    return value if len(value) <= 2 * half else f"{value[: half - 1]}…{value[-half:]}"


def short_keys(keys: Iterable[str]) -> dict[str, str]:
    """The last part of dotted keys, of those alone whose last part is no other one's."""
    every = list(keys)
    last = [key.rpartition(".")[2] for key in every]
    alone = (last.count(part) == 1 for part in last)
    return {k: part if one else k for k, part, one in zip(every, last, alone, strict=True)}


def apart(names: Sequence[str]) -> list[str]:
    """The same names; one that stood before gets a number."""
    given, counts, result = set(names), Counter[str](), []
    for name in names:
        own = name
        while counts[name] and own in given:
            counts[name] += 1
            own = f"{name} ({counts[name]})"
        counts[name] = counts[name] or 1
        given.add(own)
        result.append(own)
    return result


def with_short_numbers(names: Sequence[str]) -> list[str]:
    """The same names; fractions in them have as few digits as all names stay apart."""
    for size in range(FEWEST_DIGITS, MOST_DIGITS):
        short = [FRACTION.sub(lambda found: f"{float(found[0]):.{size}g}", n) for n in names]  # noqa: B023 - called here
        if len({*short}) == len({*names}):
            return short
    return list(names)


def in_lines(names: Sequence[str]) -> list[str]:
    """The same names in lines of LINE characters at most, broken at spaces and behind commas where
    there are any.
    """
    # a hyphen is a number's as often as a word's
    wrapper = _Wrapper(LINE, break_on_hyphens=False)
    return apart(["\n".join(wrapper.wrap(name)) for name in names])


class _Wrapper(textwrap.TextWrapper):
    wordsep_simple_re = re.compile(r"(\s+|(?<=,))")


def longest_line(names: Sequence[str]) -> int:
    return max((len(line) for name in names for line in name.split("\n")), default=0)


def most_lines(names: Sequence[str]) -> int:
    return max((name.count("\n") + 1 for name in names), default=1)
