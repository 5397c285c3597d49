"""A change of a job: what is set, what that may make cheaper, and what it costs besides."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hpml.config.conf import spelled
from hpml.trials.intervention import Intervention
from hpml.trials.settings import Settings

VALIDATION = "validation"  # a cause that no diagnosis takes out: what it takes is timed
# Where a line of code goes, in the order in which they are shown.
SCRIPT, LOADER, TRAINER, MODULE = "script", "DataLoader", "Trainer", "module"
DDP = "DDPStrategy"


@dataclass(frozen=True)
class Change:
    """One named change. Of changes with a slot in common a job has one alone.

    A job of ours is changed by `keys`, a Trainer of anybody's by `settings` and `threads`; the
    latter hold for both.
    """

    name: str
    slots: frozenset[str]
    causes: frozenset[str]  # of the diagnosis, that it may make cheaper
    price: str = ""  # what it costs besides, in words
    needs: str = ""  # why it cannot be tried here, and what to do: then it is advice
    settings: Settings = Settings()  # noqa: RUF009 - it is frozen
    threads: int | None = None
    keys: Mapping[str, Any] = field(default_factory=dict)  # of our configuration
    lines: tuple[tuple[str, str], ...] = ()  # of code, each with where it goes
    only_asked: bool = False  # it is another training: offered to who asks for it, by its slot too
    fewer_bits: bool = False  # it computes with numbers of fewer bits
    # steps between two acts of what it has act less often: as it is, and with it
    acts: tuple[int, int] = (1, 1)
    redraws: bool = False  # random numbers are drawn in another order, of the same kind

    def is_asked_for(self, also: Collection[str]) -> bool:
        """By its name, or what is another training in any case by its slot."""
        return self.name in also or (self.only_asked and not self.slots.isdisjoint(also))

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def overrides(self) -> list[str]:
        """The words to type for a job of ours."""
        return [f"{key}={spelled(value)}" for key, value in self.keys.items()]


Changes = frozenset[Change]  # that a job has together
NONE: Changes = frozenset()


def added(changes: Changes, one: Change) -> Changes:
    """The changes with one more, in place of those that it excludes."""
    return frozenset({one, *(each for each in changes if not each.slots & one.slots)})


def together(first: Change, second: Change) -> Change:
    """Two changes as one: each may cost without the other, and save with it."""
    return Change(
        name=f"{first.name} + {second.name}",
        slots=first.slots | second.slots,
        causes=first.causes,
        price="; ".join(filter(None, (first.price, second.price))),
        settings=first.settings | second.settings,
        threads=first.threads or second.threads,
        keys={**first.keys, **second.keys},
        lines=first.lines + second.lines,
    )


def intervention_of(changes: Iterable[Change]) -> Intervention:
    """What a trial with these changes is."""
    settings, threads = Settings(), None
    for change in in_order(changes):
        settings = settings | change.settings
        threads = change.threads or threads
    return Intervention(settings=settings, threads=threads)


def in_order(changes: Iterable[Change]) -> list[Change]:
    return sorted(changes, key=lambda change: change.name)


def names(changes: Iterable[Change]) -> str:
    """`compile, num_workers=2 + threads=1`, the latter one change; nothing for no change."""
    return ", ".join(change.name for change in in_order(changes))
