"""The lines on what likely limits a fit: so far, and the last ones, at its end, over all ranks."""

from collections.abc import Mapping

import lightning as L

from hpml.callbacks.epoch_interference import EpochInterference
from hpml.callbacks.phase_timer import of_all_ranks
from hpml.callbacks.ranks import Ranks
from hpml.callbacks.trainer_facts import facts_of_trainer, surpluses
from hpml.records.verdict_in_words import in_words
from hpml.timing.advice import JobFacts
from hpml.timing.imbalance import IMBALANCE, advise_rank, imbalance
from hpml.timing.least_margin import LEAST_MARGIN
from hpml.timing.likely_cause import Share, judge
from hpml.timing.live_shares import LiveShares

# Of one rank alone they would say the same: what it is late in is not told from what disturbed it.
CERTAIN_OF_ALL = ("disturbed", "thread-bound")


class VerdictLines:
    """Judges the shares of a fit's time."""

    def __init__(
        self,
        live: LiveShares,
        facts: JobFacts | None,
        interference: EpochInterference,
        ranks: Ranks,
    ) -> None:
        self.latest: dict[str, str] | None = None  # the record's `verdict`
        self._live = live
        self._facts = facts
        self._interference = interference
        self._ranks = ranks

    def news(self, trainer: L.Trainer) -> list[str]:
        """Lines to print where a verdict is the first or another one; else none."""
        if (shares := self._live.news()) is None:
            return []
        verdict = self._judge(trainer, shares)
        if self.latest and verdict["kind"] in (self.latest["kind"], "inconclusive"):
            return []
        return self._lines(verdict, "so far " if trainer.world_size == 1 else "so far on rank 0 ")

    def conclude(self, trainer: L.Trainer, all_ranks: bool) -> list[str]:
        """Lines on the whole fit: where all ranks have ended, of the one that the others wait for.

        In that case all of them call this.
        """
        shares = self._live.of_all.shares()
        verdict = self._judge(trainer, shares) if shares else None
        if all_ranks and trainer.world_size > 1:
            verdict = self._over_ranks(trainer, verdict)
        if verdict is None:
            return []
        if notes := surpluses(trainer):
            verdict["note"] = "; ".join(notes)
        return [*self._lines(verdict), *(f"  {note}" for note in notes)]

    def _over_ranks(self, trainer: L.Trainer, own: dict[str, str] | None) -> dict[str, str] | None:
        """That of the rank which is late; where none is, of the one that waits least."""
        found = self._ranks.compared.imbalance
        if found is None:
            rank = slowest_rank(trainer, self._live.most_waited_share)
        else:
            (late, count), rank = found, found[0].rank
            if own is not None and own["kind"] not in CERTAIN_OF_ALL:
                live, facts = self._live, self._facts_of(trainer)
                advice = advise_rank(late, facts, live.largest_other, live.start_share)
                own = imbalance(late, count, self._ranks.compared, self._ranks.places, advice)
        verdict: dict[str, str] | None = trainer.strategy.broadcast(own, src=rank)
        if verdict is not None and rank and verdict["kind"] != IMBALANCE:
            verdict["evidence"] += f" (on rank {rank}, for which the others wait)"
        return verdict

    def _facts_of(self, trainer: L.Trainer) -> JobFacts:
        return self._facts or facts_of_trainer(trainer, trainer.train_dataloader)

    def _judge(self, trainer: L.Trainer, shares: Mapping[str, Share]) -> dict[str, str]:
        live = self._live
        return judge(
            shares,
            self._facts_of(trainer),
            live.largest_other,
            live.validation_share,
            live.start_share,
            self._interference.so_far(),
            self._ranks.compared.exposed_share,
        )

    def _lines(self, verdict: dict[str, str], when: str = "") -> list[str]:
        self.latest = verdict
        evidence, advice = in_words(verdict)
        return [f"{when}{evidence}", f"  {advice}"]


def slowest_rank(trainer: L.Trainer, waited_share: float) -> int:
    """The rank that the others wait for: all ranks call this, each with its own share of waiting.

    It is the one that waits least; rank 0 where they hardly differ.
    """
    every = of_all_ranks(trainer, [waited_share])[:, 0].tolist()
    rank = every.index(min(every))
    return rank if every[0] - every[rank] >= LEAST_MARGIN else 0
