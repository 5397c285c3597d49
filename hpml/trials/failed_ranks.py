"""Ranks that have failed, of which the others are told, though they wait for them in an exchange.

Such a wait is torch's, and goes on for half an hour: nothing in Python ends it. But all ranks share
a store. There a rank that has failed leaves how many exchanges it had begun; of each other one a
thread looks. One that has begun more waits in vain, and leaves that there: then the failed rank
ends, and with its connections that wait.
"""

import itertools
import json
import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch

LOOK_S = 1.0
ENDS_S = 10.0  # a wait that has not ended by then, as NCCL's, is ended with its process


class MissedError(RuntimeError):
    """Others wait in vain for a rank that has failed: it cannot meet them any more."""


@dataclass(frozen=True)
class Failure:
    """Of one rank: why, and the exchanges that it had begun, in each group."""

    rank: int
    why: str
    begun: Sequence[int]


class FailedRanks:
    """What one rank tells the others of its failure, and learns of theirs.

    All use one `store`, and count by `begun` the exchanges that they have begun in each group. What
    is told holds until they have met.
    """

    def __init__(self, rank: int, store: Any, begun: Callable[[], list[int]]) -> None:
        self._rank, self._store, self.begun = rank, store, begun
        self._met = 0  # times
        self._is_meeting = False
        self._told: tuple[int, Failure] | None = None
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def first(self) -> Failure | None:
        """The first one of another rank, as far as this one has looked."""
        return self._told[1] if self._told is not None and self._told[0] == self._met else None

    def tell(self, why: str, begun: Sequence[int] | None = None) -> None:
        """Tells the others that this rank has failed; `begun` if it has begun more since then."""
        failure = json.dumps([self._rank, why, self.begun() if begun is None else begun])
        with suppress(RuntimeError):  # whose store is gone, with another rank
            number = self._store.add(f"{self._met}/failures", 1)
            self._store.set(f"{self._met}/{number}", failure)

    def look(self) -> bool:
        """Looks who has failed; whether this rank waits for one in vain, which it tells."""
        met, missed = self._met, False
        for number in itertools.count(1):
            if not self._store.check([key := f"{met}/{number}"]):
                break
            failure = Failure(*json.loads(self._store.get(key)))
            if failure.rank == self._rank:
                continue
            self._told = (met, self.first or failure)
            pairs = zip(self.begun(), failure.begun, strict=True)
            missed |= any(own > others for own, others in pairs)
        # in this order: the end of a meeting counts it before it is over
        if not missed or self._is_meeting or met != self._met:
            return False
        self._store.set(f"{met}/missed", "")
        return True

    def meet(
        self, exchange: Callable[[], Any], seconds: float = math.inf, why: str | None = None
    ) -> None:
        """Returns once all ranks have begun an exchange, which is given as torch's work.

        A rank that has failed gives `why`, of which the others are told where they do not come at
        once. Raises RuntimeError where they do not come in time or cannot be reached, MissedError
        where one waits for a failed one.
        """
        begun, until = self.begun(), time.monotonic() + seconds
        self._is_meeting = True
        try:
            work = exchange()
            while not _is_over(work):
                if time.monotonic() > until:
                    raise RuntimeError("the others do not come")
                if why is not None:
                    self.tell(why, begun)
                    why = None
                if self._store.check([f"{self._met}/missed"]):
                    raise MissedError
            self._met += 1
        finally:
            self._is_meeting = False

    def begin(self, give_up: Callable[[], Any]) -> None:
        """Looks from now on; `give_up` is called where this rank's wait in vain does not end."""
        self._thread = threading.Thread(target=self._look_on, args=(give_up,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._end.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(LOOK_S)

    def _look_on(self, give_up: Callable[[], Any]) -> None:
        with suppress(RuntimeError):  # whose store is gone, with another rank
            while not self._end.wait(LOOK_S):
                if self.look() and not self._end.wait(ENDS_S):
                    give_up()


def _is_over(work: Any) -> bool:
    """Whether torch's work ends soon; raises what ends it otherwise."""
    try:
        work.wait(timedelta(seconds=LOOK_S))
    except RuntimeError:
        if not work.is_completed():
            return False
        work.wait()  # raises what has ended it, if it was not over just after the time
    return True


def of_group(rank: int, group: Any) -> FailedRanks:
    """Those of torch's default group, whose ranks agree in a `group` of their own."""
    distributed: Any = torch.distributed
    store = distributed.distributed_c10d._get_default_store()
    groups = distributed.group.WORLD, group

    def begun() -> list[int]:
        return [each._get_sequence_number_for_group() for each in groups]

    store = distributed.PrefixStore(f"hpml/{group.group_name}", store)
    return FailedRanks(rank, store, begun)
