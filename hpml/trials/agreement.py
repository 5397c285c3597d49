"""What the ranks of a job decide together, so that all of them try the same in the same order.

Each rank runs the whole search by itself. They stay together because they see the same figures:
what a trial gives, and what a clock has decided, is exchanged here and nowhere else.
"""

import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import timedelta
from typing import Any, NoReturn, TypeVar

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

    def part(self) -> None:
        """Returns once all ranks are done, or cannot be reached: the first to end may end all."""

    def close(self) -> None:
        """Ends what was begun for the ranks to agree."""

    def __enter__(self) -> None:
        """To be closed at its end."""

    def __exit__(self, *_: object) -> None:
        self.close()

    def in_words(self, rank: int) -> str:
        return place_in_words(rank, self.places)


class RanksAgreement(Agreement):
    """Of the ranks of a Trainer, which begin here where nobody has begun them.

    They talk in a group of their own, on the processor: what they say is no part of the training.
    Raises UserError for a strategy whose processes do not run the same program. Where others are
    gone, the process ends with one line.
    """

    _interrupt: NotedInterrupt | None = None  # where one is noted now
    _is_lost = False  # whether the others cannot be reached

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
        outcomes = self._gathered((own, self._has_come))
        if any(has_come for _, has_come in outcomes):
            self._raise_interrupt()
        return [given for given, _ in outcomes]

    def meet(self) -> None:
        torch.distributed.barrier(group=self._group)

    def tried(self, work: Callable[[], T]) -> list[T]:
        own, error = None, None
        with self._noting():
            try:
                own = work()
            except Exception as failure:
                error = failure
            self._arrive(error)
            outcomes = self.every((own, error and reason(error)))
        if error is not None:
            raise error
        for rank, (_, why) in enumerate(outcomes):
            if why is not None:
                raise FailedElsewhereError(f"{self.in_words(rank)}: {why}")
        return [given for given, _ in outcomes]  # type: ignore[misc]

    def of_first(self, work: Callable[[], T]) -> T:
        own, error = None, None
        try:
            own = work() if self.rank == 0 else None
        except Exception as failure:
            error = failure
        told = error and (str(error) if isinstance(error, UserError) else reason(error))
        given, told, is_wrong = self.first((own, told, isinstance(error, UserError)))
        if error is not None:
            raise error
        if told is not None:
            raise (
                UserError(told) if is_wrong else FailedElsewhereError(f"{self.in_words(0)}: {told}")
            )
        return given  # type: ignore[return-value]

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        with self._noting():
            yield
            if not self._is_lost:
                self.every(None)

    def variables_afresh(self) -> dict[str, str]:
        port = self.first(find_free_network_port())
        return {**os.environ, "MASTER_PORT": str(port), OF_TORCHRUN: "False"}

    def part(self) -> None:
        if self._is_lost:
            return
        with suppress(RuntimeError):
            self._wait_for_all(LOST_S)

    def close(self) -> None:
        if torch.distributed.is_initialized() and not self._is_lost:
            torch.distributed.destroy_process_group(self._group)

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """Ctrl-C within it is noted, for the next exchange; also where it is noted already."""
        if self._interrupt is not None:
            yield
            return
        with NotedInterrupt() as self._interrupt:
            try:
                yield
            finally:
                self._interrupt = None

    @property
    def _has_come(self) -> bool:
        return self._interrupt is not None and self._interrupt.has_come

    def _raise_interrupt(self) -> NoReturn:
        if self._interrupt is not None:
            self._interrupt.raise_now()
        raise KeyboardInterrupt

    def _gathered(self, own: T) -> list[T]:
        given: list[Any] = [None] * self.ranks
        with self._reaching_others():
            torch.distributed.all_gather_object(given, own, group=self._group)
        return given

    def _arrive(self, error: Exception | None) -> None:
        """All come here, unless one has failed and left the others in an exchange for ever."""
        if error is None:
            with self._reaching_others():
                self._wait_for_all()
            return
        seconds, begun = INTERRUPTED_S if self._has_come else LOST_S, time.monotonic()
        try:
            self._wait_for_all(seconds)
        except RuntimeError:
            self._is_lost = True
            if self._has_come:
                self._raise_interrupt()
            if isinstance(error, RuntimeError) and time.monotonic() - begun < seconds / 2:
                self._end_without_others()  # whose end was the error
            where = f"on {self.in_words(self.rank)} alone: the others wait for it"
            sys.exit(f"failed: {reason(error)}, {where}")

    @contextmanager
    def _reaching_others(self) -> Iterator[None]:
        """What gloo says of a process that is gone names none, and is long."""
        try:
            yield
        except RuntimeError:
            self._end_without_others()

    def _end_without_others(self) -> NoReturn:
        self._is_lost = True
        where = self.in_words(self.rank)
        sys.exit(f"failed: another process has ended, or does not answer; so ends {where}")

    def _wait_for_all(self, seconds: float | None = None) -> None:
        """Raises RuntimeError where they do not come."""
        arrived: Any = torch.distributed.all_reduce(
            torch.zeros(1), group=self._group, async_op=True
        )
        arrived.wait(*([] if seconds is None else [timedelta(seconds=seconds)]))


def agreement_of(trainer: L.Trainer) -> Agreement:
    """That of a Trainer's ranks. All of them call this."""
    return RanksAgreement(trainer) if trainer.world_size > 1 else Agreement()
