"""Batches in memory, given again in trials: as they are, or as copies where a step changes them."""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from hpml.errors import first_line
from hpml.trials.batch_contents import alike, copy_of, size_of, tensors_in

MOST_BATCHES = 64
MOST_BYTES = 256 * 2**20


class ChangedError(Exception):
    """Batches in memory are no longer what they were."""


@dataclass(eq=False)
class KeptBatches:
    """Copies of some batches, as they were before anybody had them."""

    batches: list[Any] = field(default_factory=list)
    are_changed: bool = False  # by who gets them: then it is copies that are given
    why_uncopyable: str | None = None  # where they could not be copied, and are kept themselves

    def keep(self, batch: Any) -> None:
        if self.why_uncopyable is None:
            try:
                batch = copy_of(batch)
            except Exception as error:
                self.why_uncopyable = f"{type(error).__name__}: {first_line(error)}"
        self.batches.append(batch)

    def fill(self, batches: Iterable[Any]) -> int:
        """Keeps all, or as many as there is room for; the number of those that are kept."""
        for batch in batches:
            self.keep(batch)
            if self.is_full:
                break
        return len(self.batches)

    @property
    def is_full(self) -> bool:
        return len(self.batches) >= MOST_BATCHES or sum(map(size_of, self.batches)) > MOST_BYTES

    def renewal(self, loader: Any) -> Callable[[], list[Any]] | None:
        """What makes those that are given, where a step may not have these; None where it may.

        What cannot be copied is loaded again.
        """
        if self.batches and self.why_uncopyable is not None:
            return lambda: list(itertools.islice(iter(loader), len(self.batches)))
        return (
            (lambda: list(map(copy_of, self.batches)))
            if self.batches and self.are_changed
            else None
        )

    def check(self, versions: list[int]) -> None:
        """Raises ChangedError where somebody has written into them for the first time."""
        if self.versions != versions:
            self.are_changed = True
            raise ChangedError

    @property
    def versions(self) -> list[int]:
        """Torch counts how often a tensor was written to."""
        tensors = [] if self.are_changed else tensors_in(self.batches)
        return [tensor._version for tensor in tensors if not tensor.is_inference()]

    @property
    def vary(self) -> bool:
        """Whether they differ in shape, so that steps differ in length."""
        return len({tuple(tensor.shape for tensor in tensors_in(b)) for b in self.batches}) > 1


@dataclass(eq=False)
class Look:
    """A fit on copies of batches: keeps what the transfer makes of each, and sees who is changed.

    A batch may be changed by hooks of the transfer and of the step, by callbacks and the step
    itself, in tensors, arrays or its structure: all that had one are done when the fit is.
    """

    raw: KeptBatches  # as they are loaded
    moved: KeptBatches = field(default_factory=KeptBatches)  # and as a step gets them

    def __post_init__(self) -> None:
        self._given: list[Any] = []
        self._moved: list[Any] = []

    def renew(self) -> list[Any]:
        """A copy of the next batch; of all, the first one again."""
        batches = self.raw.batches
        self._given.append(copy_of(batches[len(self._given) % len(batches)]))
        return self._given[-1:]

    def attach(self, trainer: Any, module: Any) -> None:
        """Has a Trainer keep each batch between its transfer and the first hook of its step."""
        move = trainer.strategy.batch_to_device

        def batch_to_device(batch: Any, *arguments: Any, **keywords: Any) -> Any:
            batch = move(batch, *arguments, **keywords)
            self._moved.append(batch)
            self.moved.keep(batch)
            return batch

        trainer.strategy.batch_to_device = batch_to_device

    def conclude(self) -> None:
        """The fit is over: compares what it was given with what was kept."""
        raw, moved = self.raw, self.moved
        count = len(raw.batches)
        raw.are_changed |= not alike(self._given[:count], raw.batches)
        moved.are_changed |= not alike(self._moved, moved.batches)
        del moved.batches[count:]  # the last step's, which is the first one again
        if moved.why_uncopyable is not None:
            moved.batches = []
        for number, batch in enumerate(moved.batches):
            if alike(raw.batches[number], batch):  # nothing has moved it: one of them will do
                moved.batches[number] = raw.batches[number]
