"""What the figures of a job's trials prove: which cost limits it, and whether more rounds would."""

import math

from hpml.diagnosis.trial_figures import (
    AGAIN,
    AS_IT_IS,
    CAUSES,
    ONE_THREAD,
    Figures,
    differences,
    looked_at,
    part_of,
)
from hpml.records.phases import COMPUTE
from hpml.statistics import Estimate, anytime_estimate
from hpml.system.interference import Interference
from hpml.timing.least_margin import LEAST_MARGIN

LEAST_RANKED = 3  # rounds
# Threads are no verdict where one alone saves less than this part of what goes with another cost
# than computing, as loading that sleeps.
OF_ANOTHER = 0.5
# A gain is known well once half of its interval is such a part of the epoch. It holds at each look,
# and is about twice as wide as one of rounds whose number was decided before.
KNOWN = 0.1
# Of an epoch itself more is enough: a round that is slow in all its trials has the same part.
SECONDS_KNOWN = 0.25


class Inference(Figures):
    """What can be concluded of them."""

    @property
    def lead_s(self) -> Estimate:
        """By how much the largest gain is above the next one, or above none."""
        return self.known(self._leads)

    @property
    def _leads(self) -> list[float]:
        """The same of each round."""
        by_round = self.gains_by_round
        first, *others = list(self.gains)[:2]  # a single one where no other trial went well
        next_one = by_round[others[0]] if others else [0.0] * self.rounds
        return differences(by_round[first], next_one)

    @property
    def cause(self) -> str | None:
        """The one with the largest gain; None where it does not stand out.

        It has to be larger than the next one's by more than `margin_s`.
        """
        return next(iter(self.gains)) if self.lead_s.mean > self.margin_s() else None

    def margin_s(self, found: Estimate | None = None) -> float:
        """What a difference has to exceed, by default the lead: its 95 % interval over the rounds,
        what the same work twice differs by, and LEAST_MARGIN of the epoch.
        """
        found = found or self.lead_s
        return max(self._surely_s, found.half_width or 0.0)

    @property
    def disturbed(self) -> Interference | None:
        """What others took from the trials as it is, where that is more than the margin, or may be
        why nothing stands out.
        """
        seen = self.interference
        if seen is None or not seen.disturbed:
            return None
        taken_s = seen.share * self.epoch_s(AS_IT_IS).mean
        return seen if self.cause is None or taken_s > self.margin_s() else None

    @property
    def thread_bound(self) -> bool:
        """Whether one thread alone is faster, and no other cause costs much more than that saves.

        Computing does, where threads wait for one another.
        """
        cause, alone = self.cause, self.saved_s(ONE_THREAD)
        if alone is None or not self.one_thread_helps:
            return False
        return cause in (None, COMPUTE) or alone.mean >= OF_ANOTHER * self.gains[cause].mean

    @property
    def one_thread_helps(self) -> bool:
        """Whether one thread alone is faster, as the machine is used now.

        Threads that wait for one another make single rounds many times slower: compared are
        logarithms, by the margin that differences have in seconds. Or ranks: of three trials alike
        the same one would be the fastest in all of three rounds once in 27 times.
        """
        ratio, twice = self._ratio_to(ONE_THREAD), self._ratio_to(AGAIN)
        floor = twice.floor if twice else 0.0
        least = -math.log(1 - LEAST_MARGIN)
        if ratio is None or ratio.mean <= least:
            return False
        if twice is not None and self.rounds >= LEAST_RANKED:
            rounds = zip(*map(self.epochs, (ONE_THREAD, AS_IT_IS, AGAIN)), strict=False)
            if all(one < (1 - LEAST_MARGIN) * min(others) for one, *others in rounds):
                return True
        return ratio.mean > max(ratio.half_width or 0.0, floor)

    def _ratio_to(self, trial: str) -> Estimate | None:
        """The logarithm of how many times as long an epoch takes as it is."""
        if trial not in self.paces:
            return None
        pairs = zip(self.epochs(AS_IT_IS), self.epochs(trial), strict=False)
        return self.known([math.log(max(a, 1e-9) / max(b, 1e-9)) for a, b in pairs])

    @property
    def is_answered(self) -> bool:
        """Whether a cause stands out, or it is clear that none does."""
        lead = self.lead_s
        none = lead.mean + max(lead.half_width or 0.0, self.floor_s) <= self._least_s
        return none or self.cause is not None or self.thread_bound

    @property
    def is_clear(self) -> bool:
        """Whether no further round is needed.

        The largest gain is proven to be above the next one, and above what one thread saves, by
        intervals that hold whenever one looks. By such ones its part of the epoch is known well,
        and the seconds of both sides nearly so.
        """
        first = next(iter(self.gains))
        trial, epoch_s = CAUSES[first], self.epoch_s(AS_IT_IS).mean
        leads = [self._leads]
        if ONE_THREAD in self.paces:
            leads.append(differences(self.gains_by_round[first], self._saved(ONE_THREAD)))
        known = [anytime_estimate(values) for values in leads]
        if self.thread_bound or any(lead is None or lead.low <= self._surely_s for lead in known):
            return False
        epochs = self.epochs(AS_IT_IS)
        part = part_of(self.gains_by_round[first], epochs)
        told = [looked_at(epochs)]
        told += [looked_at(self.epochs(trial))] if trial in self.paces else []
        known_s = SECONDS_KNOWN * epoch_s
        return (part.half_width or math.inf) <= KNOWN and all(
            (each.half_width or math.inf) <= known_s for each in told
        )

    @property
    def _surely_s(self) -> float:
        return max(self._least_s, self.floor_s)

    @property
    def needed_s(self) -> float | None:
        """The budget that would answer, as intervals narrow with the root of the rounds' number.

        None where it is answered, or the rounds tell nothing of that.
        """
        lead, least_s = self.lead_s, self._least_s
        to_reach = lead.mean if lead.mean > least_s else least_s - lead.mean
        if self.is_answered or lead.half_width is None or self.round_s is None or to_reach <= 0:
            return None
        ratio = max(lead.half_width, self.floor_s) / to_reach
        return max(self.rounds + 1.0, self.rounds * ratio**2) * self.round_s

    @property
    def _least_s(self) -> float:
        return LEAST_MARGIN * self.epoch_s(AS_IT_IS).mean

    @property
    def knows_callbacks(self) -> bool:
        """Whether the part of an epoch that each callback costs is known well."""
        whole = self.steady_epochs("with_all") if "with_all" in self.paces else []
        without = [self.steady_epochs(t) for t in self.paces if t.startswith("without_")]
        parts = [part_of(differences(whole, epochs), whole) for epochs in without]
        return all((part.half_width or math.inf) <= KNOWN for part in parts)
