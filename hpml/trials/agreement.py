"""What the ranks of a job decide together, so that all of them try the same in the same order.

Each rank runs the whole search by itself. They stay together because they see the same figures:
what a trial gives, and what a clock has decided, is exchanged here and nowhere else.
"""

import itertools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

from hpml.timing.rank_comparison import place_in_words

T = TypeVar("T")


class Agreement:
    """A process that trains alone agrees with itself.

    `places` has host and device of each rank; it is empty for one alone.
    """

    rank = 0

    def __init__(self) -> None:
        self.places: list[dict[str, Any]] = []

    @property
    def ranks(self) -> int:
        return max(1, len(self.places))

    def every(self, own: T) -> list[T]:
        """What each rank gives, in their order. All ranks call this."""
        return [own]

    def first(self, own: T) -> T:
        """What the first rank gives. All ranks call this."""
        return self.every(own)[0]

    def united(self, own: list[T]) -> list[T]:
        """What any of them has, the first rank's before the others'. All ranks call this."""
        return list(dict.fromkeys(itertools.chain.from_iterable(self.every(own))))

    def any(self, own: bool) -> bool:
        """Whether it is so on one of them. All ranks call this."""
        return any(self.every(own))

    def decided(self, rule: Callable[[T], bool]) -> Callable[[T], bool]:
        """A rule by which all do what the first rank's says, whose clock decides."""
        return lambda given: self.first(rule(given))

    def meet(self) -> None:
        """Returns once all ranks are here."""

    def tried(self, work: Callable[[], T]) -> list[T]:
        """What some work gives on each rank.

        Where it fails, it fails on all: with its own error there, elsewhere FailedElsewhereError.
        """
        return [work()]

    def pass_over(self, error: Exception) -> None:
        """To be called in work that goes on in spite of an error, for which others may wait."""

    def here(self, work: Callable[[], T]) -> T:
        """What some work gives on this rank; it may be nothing that can be sent. Fails as above."""
        own: list[T] = []
        self.tried(lambda: own.append(work()))
        return own[0]

    def of_first(self, work: Callable[[], T]) -> T:
        """What some work of the first rank gives, which does it for all; so its error is all's.

        Elsewhere a UserError with the same words, or FailedElsewhereError.
        """
        return work()

    def interruptible(self) -> AbstractContextManager[None]:
        """Within it a Ctrl-C of one rank is all ranks', at the next exchange or at its end."""
        return nullcontext()

    def variables_afresh(self) -> dict[str, str]:
        """An environment for a fresh process of each rank, which then train together.

        Empty for one alone. All ranks call this.
        """
        return {}

    def part(self, *raised: Any) -> None:
        """Returns once all ranks are done, or cannot be reached: the first to end may end all.

        One that is done since it has `raised` something, as `__exit__` gets that, tells the others,
        and does not wait where these wait for it elsewhere.
        """

    def close(self) -> None:
        """Ends what was begun for the ranks to agree."""

    def __enter__(self) -> None:
        """To be closed at its end."""

    def __exit__(self, *raised: Any) -> None:
        if raised[0] is not None:
            self.part(*raised)
        self.close()

    def in_words(self, rank: int) -> str:
        return place_in_words(rank, self.places)
