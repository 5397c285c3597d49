"""What an answer says where nothing is recommended: whether that is known, and what is."""

import math
from typing import TYPE_CHECKING

from hpml.formatting import counted
from hpml.trials.rounds import FEWEST_ROUNDS
from hpml.tuning.change import NONE, Change, names
from hpml.tuning.racing import SEEMS, in_times

if TYPE_CHECKING:
    from hpml.tuning.answer import Tuning

RACE_SHARE = 0.6  # of a budget, for the race; diagnosis and proof have the rest


def verdict(found: "Tuning") -> str:
    """`nothing to gain`, `not proven` or `not answered`."""
    search = found.search
    is_open = _seeming(found) or _untried(found) or search.rounds.why_ended
    unanswered = search.was_interrupted or (search.changes and not search.is_raced)
    if unanswered or (is_open and not search.chosen):
        return "not answered"
    return "not proven" if search.chosen else "nothing to gain"


def instead(found: "Tuning") -> str:
    """What is known where nothing is recommended."""
    search = found.search
    if search.chosen:
        seen = in_times(search.gain_of(NONE, search.chosen))
        proof = "its own rounds were interrupted"
        done = proof if search.was_interrupted else "its own rounds do not prove it"
        if search.proof.fails:
            done = "but it failed in rounds of its own"
        elif search.proof.was_cut:
            done = f"there was no time for {FEWEST_ROUNDS} rounds of its own"
        times = f"{seen} times as fast in the search, {done}" if seen else done
        is_short = not search.is_raced or search.proof.was_cut or bool(_untried(found))
        more = f"; {_more_time(found)}" if is_short and not search.was_interrupted else ""
        return f"; with {names(search.chosen)} it looked {times}{more}"
    if search.was_interrupted:
        return ", and no change is proven yet"
    if why := search.rounds.why_ended:
        return f", and the job as it is failed in a round ({why}) before any change was proven"
    if search.changes and not search.is_raced:
        short = f" for {FEWEST_ROUNDS} rounds of trials of {search.rounds.trial_s:.2g} s"
        if had := search.rounds_had:
            every = counted(search.measured.next_round, "round")
            short = f": of {every} {had} had each change, {FEWEST_ROUNDS} are needed"
        return f", and {search.budget_s:g} s were too short{short}; {_more_time(found)}"
    if (seeming := _seeming(found)) is not None:
        times = f"{math.exp(search.alone[seeming].mean):.2f} times as fast"
        how = "trials vary too much here to prove it: try a quiet machine, or a larger budget"
        return f"; {seeming.name} looks {times}, but {how}"
    why = f" ({_least_told(found)})" if _least_told(found) else ""
    if untried := len(_untried(found)):
        every = counted(len(search.changes), "change")
        why += f"; for {untried} of {every} there was no time: {_more_time(found)}"
    return f", and no change is proven to shorten it{why}"


def _more_time(found: "Tuning") -> str:
    """The budget that would be enough to race all changes."""
    search, proof = found.search, found.search.proof
    race_s = FEWEST_ROUNDS * (len(search.changes) + 1) * search.rounds.trial_s / RACE_SHARE
    proof_s = proof.looked_s + 2 * FEWEST_ROUNDS * proof.whole_s
    needed_s = max(race_s + proof_s, search.budget_s)
    return f"give {'tune.' * found.is_ours}budget_s={30 * (1 + int(needed_s / 30))}"


def _untried(found: "Tuning") -> list[Change]:
    """Those that had no round, for want of time."""
    return [change for change in found.search.left_out if change not in found.search.alone]


def _seeming(found: "Tuning") -> Change | None:
    """The change that looks best, where that would be much and is not known."""
    known = found.skipped.keys() - {*found.search.left_out}
    open_ = {c: g for c, g in found.search.alone.items() if c not in known and g.low <= 0}
    best = max(open_, key=lambda change: open_[change].mean, default=None)
    return best if best is not None and open_[best].mean > SEEMS else None


def _least_told(found: "Tuning") -> str:
    """What a change has to bring to be seen here, in words."""
    known = [g.half_width for g in found.search.alone.values() if g.half_width is not None]
    return f"less than {math.expm1(min(known)):.0%} cannot be told here" if known else ""
