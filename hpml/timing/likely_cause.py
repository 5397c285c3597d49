"""What most likely limits the speed, from the shares of time."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from hpml.records.phases import COMMUNICATION, COMPUTE, PHASES
from hpml.statistics import students_quantile
from hpml.system.interference import Interference
from hpml.timing.advice import UNKNOWN, JobFacts, advise, fewer_threads
from hpml.timing.least_margin import LEAST_MARGIN

CAUSES = {phase.cause: phase for phase in PHASES if phase.cause}
LEAST_PIECES = 3


@dataclass(frozen=True)
class Share:
    """A cause's part of the time, from 0 to 1, and its standard error."""

    share: float
    error: float = 0.0


class ShareMeter:
    """Shares of a time that comes in pieces, each with its uncertainty, in constant memory.

    A share is a ratio of sums, so its error is that of a ratio estimator (Cochran, Sampling
    Techniques, 1977, section 6.4): it grows where the pieces differ from one another. Of few
    pieces it is larger by as much as Student's distribution is wider than the normal one, so that
    two errors are an interval of 95 %.
    """

    def __init__(self) -> None:
        self.pieces = 0
        self.ns = 0.0
        self._squares = 0.0
        self._of_cause = dict.fromkeys(CAUSES, (0.0, 0.0, 0.0))  # sum, squares, products

    def add(self, piece: Mapping[str, float]) -> None:
        """Counts one piece of time: nanoseconds by cause."""
        whole = sum(piece.values())
        if whole <= 0:
            return
        self.pieces += 1
        self.ns += whole
        self._squares += whole * whole
        for cause, (total, squares, products) in self._of_cause.items():
            part = piece.get(cause, 0.0)
            self._of_cause[cause] = (total + part, squares + part * part, products + part * whole)

    def shares(self) -> dict[str, Share]:
        """The share of each cause; of fewer than LEAST_PIECES nothing is certain."""
        shares = {}
        for cause, (total, squares, products) in self._of_cause.items() if self.pieces else ():
            share, error = total / self.ns, 1.0
            if self.pieces >= LEAST_PIECES:
                residuals = squares - 2 * share * products + share * share * self._squares
                scale = self.pieces / (self.pieces - 1)
                error = math.sqrt(max(0.0, residuals) * scale) / self.ns
                error *= students_quantile(self.pieces - 1) / students_quantile(math.inf)
            shares[cause] = Share(share, error)
        return shares


def by_cause(times: Mapping[str, float]) -> dict[str, float]:
    """Times by cause, from the host's by phase or the device's by kind; validation is left out."""
    return {
        cause: times.get(phase.name, 0.0) + times.get(phase.device_kind, 0.0)
        for cause, phase in CAUSES.items()
    }


def judge(
    shares: Mapping[str, Share],
    facts: JobFacts = UNKNOWN,
    largest_other: tuple[str, float] | None = None,
    validation_share: float = 0.0,
    start_share: float = 0.0,
    interference: Interference | None = None,
    exposed_share: float = 0.0,
) -> dict[str, str]:
    """The record's `verdict`: kind, basis, evidence, advice.

    The cause with the largest share, if it leads by more than both shares' uncertainty (two
    standard errors of each) and LEAST_MARGIN; otherwise `inconclusive`. Where validation takes
    most of the time, no cause of the rest matters much. Where an `interference` took more than may
    be uncertain, there is none: `disturbed`; where the job's own threads and workers waited for one
    another for so long, and for longer than others can have had, or for a quota of fewer cores than
    there are of them, that is what limits
    it: `thread-bound`. `largest_other` and `start_share` are for `advise`. The shares in the
    evidence are of all the time, validation included; so is `exposed_share`, the part in which
    several ranks exchanged gradients and did nothing else, which is taken out of computing.
    """
    titles = {cause: phase.title for cause, phase in CAUSES.items()}
    if exposed_share:
        shares = _apart(shares, exposed_share / max(1 - validation_share, exposed_share))
        titles |= {COMMUNICATION: "exchanging gradients"}
    ranked = sorted(shares, key=lambda cause: -shares[cause].share)
    first, second = (shares[cause] for cause in ranked[:2])
    lead = first.share - second.share
    margin = max(LEAST_MARGIN, 2 * (first.error + second.error))
    of_all = {titles[cause]: (1 - validation_share) * shares[cause].share for cause in ranked}
    if validation_share:
        of_all["validation"] = validation_share
    largest_first = sorted(of_all.items(), key=lambda part: -part[1])
    evidence = ", ".join(f"{title} {share:.0%}" for title, share in largest_first)
    kind = "inconclusive"
    if interference is not None and _is_too_much(interference, margin):
        kind, evidence, advice = "disturbed", interference.in_words(), interference.advice
        if interference.cause == "quota" and facts.is_crowded and not interference.slowed_gpus:
            kind, advice = "thread-bound", fewer_threads(facts)
            evidence += f": {facts.threads_in_words}"
    elif interference is not None and interference.crowded:
        kind, evidence, advice = "thread-bound", in_own_way(interference), fewer_threads(facts)
    elif validation_share > 0.5:
        advice = "Validate less often, or on fewer batches"
        if facts.keys:
            advice += ": trainer.check_val_every_n_epoch, trainer.limit_val_batches"
    elif lead <= margin and margin > 0.5:
        evidence += "; too few steps to tell"
        advice = "Train for more steps"
    elif lead <= margin:
        evidence += f"; uncertain by {margin:.0%}"
        advice = "More than one cause may count: change one setting at a time, and compare"
    else:
        kind = f"{ranked[0]}-bound"
        advice = advise(ranked[0], facts, largest_other, start_share)
    return {"kind": kind, "basis": "shares", "evidence": evidence, "advice": advice}


def _apart(shares: Mapping[str, Share], exposed_share: float) -> dict[str, Share]:
    """Communication is no more a part of computing, and is as uncertain as that is."""
    compute = shares[COMPUTE]
    exposed = min(exposed_share, compute.share)
    rest = Share(compute.share - exposed, compute.error)
    return {**shares, COMPUTE: rest, COMMUNICATION: Share(exposed, compute.error)}


def _is_too_much(interference: Interference, margin: float) -> bool:
    """More than is uncertain and its own threads took; of a slowed GPU that is not known."""
    lost_much = interference.lost_much and interference.share > margin
    is_own = interference.crowded and (interference.own_s or 0.0) > interference.lost
    return (lost_much and not is_own) or bool(interference.slowed_gpus)


def in_own_way(interference: Interference) -> str:
    """`its threads and workers waited up to 12 s of 30 s for one another, on 2 cores`."""
    own_s, wall_s = interference.own_s or 0.0, interference.wall_s
    waited = f"its threads and workers waited up to {own_s:.1f} s of {wall_s:.1f} s"
    return f"{waited} for one another" + (
        f", on {interference.cores} cores" if interference.cores else ""
    )
