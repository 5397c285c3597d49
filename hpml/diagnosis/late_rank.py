"""Which rank the others wait for: each one by itself, while nothing is exchanged."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from hpml.diagnosis.trial_figures import AS_IT_IS, CAUSES
from hpml.diagnosis.verdict import Inference
from hpml.formatting import in_s, table
from hpml.records.phases import COMMUNICATION, COMPUTE, INPUT, OVERHEAD, TRANSFER
from hpml.statistics import Estimate
from hpml.timing.least_margin import LEAST_MARGIN
from hpml.timing.rank_comparison import over_others, place_in_words
from hpml.trials.pace import JointPace
from hpml.trials.rounds import estimate_of

BY_ITSELF = "by_itself"
# What a rank does by itself, in one word.
DOES = {
    INPUT: "loading",
    TRANSFER: "transfer",
    COMPUTE: "computing",
    OVERHEAD: "callbacks and hooks",
}
MOST_SHOWN = 8  # ranks
KNOWN_LATE = 0.05  # half of the interval of what one is late by, as a part of the epoch
NOTHING = "–"  # what cannot be told from none
ByRound = Sequence[Sequence[float]]  # one row a round, with a figure of each rank


def by_itself(trial: str) -> str:
    """The same trial, in which ranks exchange nothing."""
    return f"{trial}_{BY_ITSELF}"


@dataclass(frozen=True)
class LateRank:
    """A rank that takes longer than half of the others, and what it takes longer for."""

    rank: int
    cause: str  # one of DOES
    late_s: Estimate  # an epoch
    own_s: Estimate  # that an epoch takes it by itself
    without_s: Estimate  # and with the cause free


class RankInference(Inference):
    """What can be concluded of several ranks; of one alone there is nothing."""

    @property
    def own_by_round(self) -> ByRound:
        """Seconds of an epoch, of each rank by itself."""
        return self._own(BY_ITSELF if BY_ITSELF in self.paces else CAUSES[COMMUNICATION])

    def saved_by_rank(self, cause: str) -> ByRound:
        """Seconds of an epoch that go on each rank with a cause free."""
        without = self._own(by_itself(CAUSES[cause]))
        rounds = zip(self._own(BY_ITSELF), without, strict=False)
        return [[a - b for a, b in zip(*pair, strict=True)] for pair in rounds]

    @property
    def causes_by_rank(self) -> list[str]:
        """Those that were tried on each rank by itself; none where it was not tried as it is."""
        if BY_ITSELF not in self.paces:
            return []
        return [cause for cause in DOES if by_itself(CAUSES[cause]) in self.paces]

    @property
    def may_be_late(self) -> bool:
        """Whether one rank takes so much longer than the others that it is worth a look."""
        late = self._latest
        return late is not None and late[1].mean > LEAST_MARGIN * self.epoch_s(AS_IT_IS).mean

    @property
    def late(self) -> LateRank | None:
        """The rank that is surely later than half of the others, with what it is late in."""
        if self._latest is None or not self.causes_by_rank:
            return None
        rank, late_s = self._latest
        if late_s.mean <= self.margin_s(late_s):
            return None
        excess = {cause: _excess(self.saved_by_rank(cause)) for cause in self.causes_by_rank}
        cause = max(excess, key=lambda cause: _mean(excess[cause], rank))
        without = self._own(by_itself(CAUSES[cause]))
        return LateRank(rank, cause, late_s, _of(self.own_by_round, rank), _of(without, rank))

    @property
    def imbalance(self) -> LateRank | None:
        """`late`, where that costs more than anything that all ranks have in common.

        Beside computing, which is what a training is for.
        """
        late = self.late
        if late is None:
            return None
        common = [self.gains[COMMUNICATION].mean] if COMMUNICATION in self.gains else []
        for cause in self.causes_by_rank:
            columns = zip(*self.saved_by_rank(cause), strict=True)
            common += [min(map(fmean, columns))] if cause != COMPUTE else []
        return late if late.late_s.mean > max(common, default=0.0) else None

    @property
    def knows_ranks(self) -> bool:
        """Whether it is known well by how much one is late."""
        half = self._latest[1].half_width if self._latest else None
        return half is not None and half <= KNOWN_LATE * self.epoch_s(AS_IT_IS).mean

    def rank_in_words(self, rank: int) -> str:
        return place_in_words(rank, self.places)

    @property
    def rank_rows(self) -> list[tuple[str, ...]]:
        """A head, and a row for each rank, those that take longest first."""
        if not self.own_by_round:
            return []
        causes = self.causes_by_rank
        head = ("by itself, nothing exchanged", "an epoch", *(DOES[cause] for cause in causes))
        own, saved = self.own_by_round, [self.saved_by_rank(cause) for cause in causes]
        ranks = sorted(range(len(self.places)), key=lambda rank: -_mean(own, rank))
        rows = [
            (
                self.rank_in_words(rank),
                in_s(_of(own, rank)),
                *(self._cell(_of(each, rank)) for each in saved),
            )
            for rank in ranks[:MOST_SHOWN]
        ]
        return [head, *rows]

    @property
    def rank_lines(self) -> list[str]:
        rows = self.rank_rows
        return table(rows, "<" + ">" * (len(rows[0]) - 1)) if rows else []

    @property
    def ranks_as_dict(self) -> dict[str, Any] | None:
        """Of each rank what it takes by itself, and for what; None for one process."""
        if not self.places:
            return None
        ranks, late, own = range(len(self.places)), self.late, self.own_by_round
        waits = [pace.waits_s for pace in self.paces[AS_IT_IS] if isinstance(pace, JointPace)]
        return {
            "places": list(self.places),
            "own_s": [_mean(own, rank) for rank in ranks] if own else None,
            "waited_s": [self.steps * _mean(waits, rank) for rank in ranks],
            "saved_s": {
                cause: [_mean(self.saved_by_rank(cause), rank) for rank in ranks]
                for cause in self.causes_by_rank
            },
            "late": late and asdict(late) | dict(self.places[late.rank]),
            "rows": self.rank_rows,
        }

    def _cell(self, seconds: Estimate) -> str:
        return in_s(seconds) if seconds.mean > self.margin_s(seconds) else NOTHING

    def _own(self, trial: str) -> ByRound:
        paces = [pace for pace in self.paces.get(trial, ()) if isinstance(pace, JointPace)]
        return [[self.steps * step_s for step_s in pace.own_s] for pace in paces]

    @property
    def _latest(self) -> tuple[int, Estimate] | None:
        """The rank that takes longest by itself, and by how much more than half of the others."""
        excess = _excess(self.own_by_round)
        if not excess:
            return None
        rank = max(range(len(excess[0])), key=lambda rank: _mean(excess, rank))
        return rank, _of(excess, rank)


def _excess(rounds: ByRound) -> ByRound:
    return [over_others(row) for row in rounds]


def _of(rounds: ByRound, rank: int) -> Estimate:
    return estimate_of([row[rank] for row in rounds])


def _mean(rounds: ByRound, rank: int) -> float:
    return fmean(row[rank] for row in rounds)
