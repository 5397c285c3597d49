"""The agreement of ranks that are processes: what they exchange, and what ends them together."""

import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn, TypeVar

import lightning as L
import torch
from lightning.fabric.plugins.environments.lightning import find_free_network_port
from lightning.pytorch.strategies import DDPStrategy

from hpml.callbacks.ranks import places_of
from hpml.errors import FailedElsewhereError, UserError, reason
from hpml.loading.global_state import preserve_global_state
from hpml.system.lightning_packages import twins
from hpml.system.signals import NotedInterrupt
from hpml.trials.agreement import Agreement
from hpml.trials.failed_ranks import MissedError, of_group

T = TypeVar("T")
# A rank that has failed waits so long for the others, which may be in an exchange without it.
LOST_S = 60.0
INTERRUPTED_S = 5.0  # and so long where it was interrupted, perhaps with its loader's workers
OF_TORCHRUN = "TORCHELASTIC_USE_AGENT_STORE"  # whether processes meet where torchrun's did


class RanksAgreement(Agreement):
    """Of the ranks of a Trainer, which begin here where nobody has begun them.

    They talk in a group of their own, on the processor: what they say is no part of the training.
    Raises UserError for a strategy whose processes do not run the same program. Where others are
    gone, the process ends with one line.
    """

    _interrupt: NotedInterrupt | None = None  # where one is noted now
    _passed_over: Exception | None = None  # in the work that is tried
    _is_lost = False  # whether the others cannot be reached
    _is_closed = False

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
        self._failed = of_group(self.rank, self._group)
        self._failed.begin(self._give_up)

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
            except BaseException as end:  # of this rank alone
                self._leave(end)
                raise
            passed_over, self._passed_over = self._passed_over, None
            self._arrive(error, passed_over)
            why, cause = map(_reason, (error, error or passed_over))
            outcomes = self.every((own, why, cause, self._failed.begun()))
        given, reasons, failures, begun = (list(each) for each in zip(*outcomes, strict=True))
        rank = next((rank for rank, why in enumerate(failures) if why is not None), None)
        if rank is not None and any(each != begun[0] for each in begun):
            self._end_apart(rank, failures[rank])
        rank = next((rank for rank, why in enumerate(reasons) if why is not None), None)
        if rank is None:
            return given
        raise error or FailedElsewhereError(f"{self.in_words(rank)}: {reasons[rank]}")

    def pass_over(self, error: Exception) -> None:
        self._passed_over = error

    def of_first(self, work: Callable[[], T]) -> T:
        own, error = None, None
        try:
            own = work() if self.rank == 0 else None
        except Exception as failure:
            error = failure
        why = error and (str(error) if isinstance(error, UserError) else reason(error))
        given, why, is_wrong = self.first((own, why, isinstance(error, UserError)))
        if error is not None:
            raise error
        if why is not None:
            raise (
                UserError(why) if is_wrong else FailedElsewhereError(f"{self.in_words(0)}: {why}")
            )
        return given  # type: ignore[return-value]

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        with self._noting():
            yield
            if self._interrupt is not None and self._interrupt.was_repeated:
                self._leave(KeyboardInterrupt())  # at once, and alone
            if not self._is_lost:
                self.every(None)

    def variables_afresh(self) -> dict[str, str]:
        port = self.first(find_free_network_port())
        return {**os.environ, "MASTER_PORT": str(port), OF_TORCHRUN: "False"}

    def part(self, *raised: Any) -> None:
        if self._is_lost:
            return
        with suppress(RuntimeError):
            self._wait_for_all(LOST_S, _reason(raised[1] if raised else None))

    def close(self) -> None:
        self._failed.close()
        if torch.distributed.is_initialized() and not (self._is_lost or self._is_closed):
            torch.distributed.destroy_process_group(self._group)
        self._is_closed = True

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """Ctrl-C within it is noted, for the next exchange; also where it is noted already."""
        if self._interrupt is not None:
            yield
            return
        with NotedInterrupt() as interrupt:
            self._interrupt = interrupt
            try:
                yield
            finally:
                self._interrupt = None
        if interrupt.has_come and not interrupt.was_repeated:  # after the last exchange
            interrupt.raise_now()

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

    def _arrive(self, error: Exception | None, passed_over: Exception | None = None) -> None:
        """All come here, unless one has failed and left the others in an exchange for ever.

        One that has passed over its failure waits as long as they train: it has failed where they
        wait for it.
        """
        begun, seconds = time.monotonic(), INTERRUPTED_S if self._has_come else LOST_S
        why = _reason(error or passed_over)
        try:
            self._wait_for_all(math.inf if error is None else seconds, why)
        except RuntimeError as missing:
            is_missed = isinstance(missing, MissedError)
            if why is None or (error is None and not is_missed):
                self._end_without_others()
            self._lose()
            if self._has_come:
                self._raise_interrupt()
            at_once = time.monotonic() - begun < seconds / 2
            if isinstance(error, RuntimeError) and at_once and not is_missed:
                self._end_without_others()  # whose end was the error
            where = f"on {self.in_words(self.rank)} alone: the others wait for it"
            sys.exit(f"failed: {why}, {where}")

    def _leave(self, end: BaseException) -> None:
        """This rank exchanges no more, and tells the others, which may wait for it."""
        self._failed.tell(reason(end))
        self._lose()

    def _lose(self) -> None:
        self._is_lost = True
        self._failed.close()

    @contextmanager
    def _reaching_others(self) -> Iterator[None]:
        """What gloo says of a process that is gone names none, and is long."""
        try:
            yield
        except RuntimeError:
            self._end_without_others()

    def _end_without_others(self) -> NoReturn:
        self._lose()
        if self.rank == 0:  # else the store may have gone with it, of which torch prints much
            with suppress(RuntimeError):
                self._failed.look()
        sys.exit(self._why_without_others())

    def _why_without_others(self) -> str:
        what = "another process has ended, or does not answer"
        if (failure := self._failed.first) is not None:
            what = f"{failure.why}, on {self.in_words(failure.rank)}"
        return f"failed: {what}; so ends {self.in_words(self.rank)}"

    def _end_apart(self, rank: int, why: str) -> NoReturn:
        """Ranks that have begun other numbers of exchanges would take one for another."""
        self._lose()
        where = f"on {self.in_words(rank)}, between exchanges with the others"
        sys.exit(f"failed: {why}, {where}: none can go on" if self.rank == 0 else 1)

    def _give_up(self) -> NoReturn:
        """Ends the process from another thread, while it waits in vain."""
        print(self._why_without_others(), file=sys.stderr, flush=True)
        os._exit(1)

    def _wait_for_all(self, seconds: float = math.inf, why: str | None = None) -> None:
        """Raises RuntimeError where they do not come, to be told `why` where that is by this one's
        failure.
        """
        group: Any = self._group
        self._failed.meet(
            lambda: torch.distributed.all_reduce(torch.zeros(1), group=group, async_op=True),
            seconds,
            why,
        )


def _reason(error: BaseException | None) -> str | None:
    return None if error is None else reason(error)


def agreement_of(trainer: L.Trainer) -> Agreement:
    """That of a Trainer's ranks. All of them call this."""
    return RanksAgreement(trainer) if trainer.world_size > 1 else Agreement()
