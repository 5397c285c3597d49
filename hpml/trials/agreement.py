"""What the ranks of a job decide together, so that all of them try the same in the same order.

Each rank runs the whole search by itself. They stay together because they see the same figures:
what a trial gives, and what a clock has decided, is exchanged here and nowhere else.
"""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypeVar

import lightning as L
import torch
from lightning.fabric.plugins.environments.lightning import find_free_network_port
from lightning.pytorch.strategies import DDPStrategy

from hpml.callbacks.ranks import places_of
from hpml.errors import FailedElsewhereError, UserError, reason
from hpml.loading.copies import preserve_global_state
from hpml.system.lightning_twins import twins
from hpml.system.signals import NotedInterrupt
from hpml.timing.ranks import place_in_words

T = TypeVar("T")
# A rank that has failed waits so long for the others, which may be in an exchange without it.
LOST_S = 60.0
INTERRUPTED_S = 5.0  # and so long where it was interrupted, perhaps with its loader's workers
OF_TORCHRUN = "TORCHELASTIC_USE_AGENT_STORE"  # whether processes meet where torchrun's did


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

    def here(self, work: Callable[[], T]) -> T:
        """What some work gives on this rank; it may be nothing that can be sent. Fails as above."""
        own: list[T] = []
        self.tried(lambda: own.append(work()))
        return own[0]

    def of_first(self, work: Callable[[], T]) -> T:
        """What some work of the first rank gives, which does it for all; a UserError is all's."""
        return work()

    def variables_afresh(self) -> dict[str, str]:
        """An environment for a fresh process of each rank, which then train together.

        Empty for one alone. All ranks call this.
        """
        return {}

    def part(self) -> None:
        """Returns once all ranks are done, or cannot be reached: the first to end may end all."""

    def in_words(self, rank: int) -> str:
        return place_in_words(rank, self.places)


class RanksAgreement(Agreement):
    """Of the ranks of a Trainer, which begin here where nobody has begun them.

    They talk in a group of their own, on the processor: what they say is no part of the training.
    Raises UserError for a strategy whose processes do not run the same program.
    """

    def __init__(self, trainer: L.Trainer) -> None:
        super().__init__()
        strategy: Any = trainer.strategy
        if not isinstance(strategy, twins(DDPStrategy)) or strategy._start_method != "popen":
            raise UserError(
                f"{trainer.world_size} devices by {type(strategy).__name__}: trials of several "
                "run by DDP, each process from its own script; give strategy='ddp', or one device"
            )
        launcher: Any = strategy.launcher
        with preserve_global_state(None):
            launcher.launch(strategy.setup_environment, trainer=trainer)
        self.rank = trainer.global_rank
        self._group: Any = torch.distributed.new_group(backend="gloo", timeout=strategy._timeout)
        self.places = places_of(trainer)

    def every(self, own: T) -> list[T]:
        given: list[Any] = [None] * self.ranks
        torch.distributed.all_gather_object(given, own, group=self._group)
        return given

    def meet(self) -> None:
        torch.distributed.barrier(group=self._group)

    def tried(self, work: Callable[[], T]) -> list[T]:
        own, error = None, None
        with NotedInterrupt() as interrupt:
            try:
                own = work()
            except Exception as failure:
                error = failure
            self._arrive(error, interrupt)
            why = error and reason(error)
            outcomes = self.every((own, why, interrupt.has_come))
        if any(has_come for *_, has_come in outcomes):
            interrupt.raise_now()
        if error is not None:
            raise error
        for rank, (_, why, _) in enumerate(outcomes):
            if why is not None:
                raise FailedElsewhereError(f"{self.in_words(rank)}: {why}")
        return [given for given, *_ in outcomes]  # type: ignore[misc]

    def of_first(self, work: Callable[[], T]) -> T:
        own, wrong = None, None
        try:
            own = work() if self.rank == 0 else None
        except UserError as error:
            wrong = str(error)
        given, wrong = self.first((own, wrong))
        if wrong is not None:
            raise UserError(wrong)
        return given  # type: ignore[return-value]

    def variables_afresh(self) -> dict[str, str]:
        port = self.first(find_free_network_port())
        return {**os.environ, "MASTER_PORT": str(port), OF_TORCHRUN: "False"}

    def part(self) -> None:
        with suppress(RuntimeError):
            self._wait_for_all(LOST_S)

    def _arrive(self, error: Exception | None, interrupt: NotedInterrupt) -> None:
        """All come here, unless one has failed and left the others in an exchange for ever."""
        if error is None:
            self._wait_for_all()
            return
        try:
            self._wait_for_all(INTERRUPTED_S if interrupt.has_come else LOST_S)
        except RuntimeError:
            if interrupt.has_come:
                interrupt.raise_now()
            where = f"on {self.in_words(self.rank)} alone: the others wait for it"
            sys.exit(f"failed: {reason(error)}, {where}")

    def _wait_for_all(self, seconds: float | None = None) -> None:
        """Raises RuntimeError where they do not come."""
        arrived: Any = torch.distributed.all_reduce(
            torch.zeros(1), group=self._group, async_op=True
        )
        arrived.wait(*([] if seconds is None else [timedelta(seconds=seconds)]))


def agreement_of(trainer: L.Trainer) -> Agreement:
    """That of a Trainer's ranks. All of them call this."""
    return RanksAgreement(trainer) if trainer.world_size > 1 else Agreement()
