"""The sentences that qualify an answer: its limits, its proof, and what was not taken."""

import math
from typing import TYPE_CHECKING

from hpml.formatting import counted, in_s, listed
from hpml.statistics import Estimate
from hpml.trials.sameness import DIFFERENT
from hpml.tuning.change import Change, added, names
from hpml.tuning.final_comparison import Proof
from hpml.tuning.racing import is_known, seeming_of

MOST_HOSTS = 4  # that are named
COUNTS = 0.02  # of an epoch
WAITING = "early stopping or a schedule waits for it"

if TYPE_CHECKING:
    from hpml.tuning.answer import Tuning
    from hpml.tuning.search import Search


def sentences_of(found: "Tuning") -> list[str]:
    """All of them, with the notes of the search."""
    verdict, search = found.diagnosis.verdict, found.search
    sentences = [f"{verdict['kind']}: {verdict['evidence']}"]
    if found.processes > 1:
        where = f"{found.processes} processes on {listed(found.hosts, MOST_HOSTS)}"
        sentences.append(f"{where} trained together in every trial; an epoch is the slowest one's")
    cause = verdict["kind"].removesuffix("-bound")
    attacked = {one for change in found.changes for one in change.causes | change.slots}
    if found.changes and cause != verdict["kind"] and not {cause, f"{cause}s"} & attacked:
        sentences.append(f"what helps attacks another cost than {cause}: measured is the help")
    if any(change.settings.rests for change in found.changes):
        steps = "five steps do not show what a callback does later, or by the epoch"
        sentences.append(f"{steps}: look whether it is enough")
    if found.together is not None and found.changes:
        verb = "are" if found.together.kind == DIFFERENT else "are the same"
        sentences.append(f"with all changes the first losses {verb} {found.together.in_words}")
    if (words := proven(search.proof)) is not None:
        sentences.append(f"before and after were measured {words}")
    if search.chosen and (why := search.rounds.why_ended):
        sentences.append(f"the race ended early: the job as it is failed in a round ({why})")
    for changes, why in search.proof.measured.failures.items():
        side = f"with {names(changes)}" if changes else "as it is"
        sentences.append(f"the final comparison failed, of the job {side} ({why})")
    sentences += [*_of_ends(found), *_of_validation(found)]
    by_reason: dict[str, list[str]] = {}
    for change, why in found.skipped.items():
        by_reason.setdefault(why, []).append(change.name)
    sentences += [f"not taken: {', '.join(own)} ({why})" for why, own in by_reason.items()]
    if search.was_interrupted:
        sentences.append("interrupted: this is the answer so far")
    return sentences + search.measured.notes + found.notes


def why_not_taken(search: "Search") -> dict[Change, str]:
    """Of changes that were raced, or for which there was no time, and that were not chosen."""
    why: dict[Change, str] = {}
    for change in search.left_out:
        enough = "enough rounds of " if change in search.alone else ""
        why[change] = f"there was no time for {enough}it"
    for tried, reason in search.measured.failures.items():
        for change in tried - search.chosen:
            others = names(tried - {change})
            beside = f" beside {others}" if others else ""
            why[change] = f"could not be tried{beside} ({reason})"
    taken = {slot for change in search.chosen for slot in change.slots}
    for change in seeming_of(search.alone) if search.chosen else ():
        in_company = search.gain_of(search.chosen, added(search.chosen, change))
        excluded = bool(change.slots & taken)  # by a choice, for another reason than time
        if search.alone[change].low <= 0 and not (excluded or is_known(in_company)):
            looks = f"{math.exp(search.alone[change].mean):.2f} times as fast"
            why.setdefault(change, f"looks {looks}, which there was no time to prove")
    why |= dict.fromkeys(search.unlike, "all together would compute something else")
    return {change: words for change, words in why.items() if change not in search.chosen}


def proven(proof: Proof) -> str | None:
    """How the final comparison was made: `again in 5 rounds of fresh processes`; None for none.

    Where they are not fresh, why.
    """
    if not proof.measured.by_name or proof.measured.failures:
        return None
    rounds = counted(proof.measured.next_round, "round")
    where = f"in this process, for {proof.why_here}" if proof.why_here else "of fresh processes"
    return f"again in {rounds} {where}"


def _of_ends(found: "Tuning") -> list[str]:
    """What an epoch before and after has besides its steps, where that counts."""
    if left_out := found.search.proof.left_out:
        return [f"before and after lack an epoch's ends and checkpoints: {left_out}"]
    before_s, after_s = found.once_s
    if after_s < COUNTS * found.after_s:
        return []
    before, after = (in_s(Estimate(seconds, None, 1)) for seconds in (before_s, after_s))
    what = "its loader's start and checkpoints"
    return [f"an epoch's ends, {what} are a part of both: {before} before, {after} after"]


def _of_validation(found: "Tuning") -> list[str]:
    """What it adds to an epoch; where fewer checks were not tried, what they would save."""
    checks, seen = found.checks, found.checks.seen
    if seen is None or not found.epoch_steps:
        return []
    adds = f"validation adds {in_s(Estimate(checks.seconds, None, 1))} to an epoch"
    rest_s, is_proven = found.after_s, bool(checks.proving and proven(found.search.proof))
    if checks.timed is not None:
        adds += ", which is a part of it above"
    elif is_proven:
        adds += ", which is a part of before and after"
    if is_part := is_proven or checks.timed is not None:
        rest_s = max(0.0, found.after_s - checks.seconds)
    change = checks.fewer(rest_s)
    if checks.changes or change is None:
        return [adds] if is_part else []
    saved_s = checks.seconds - seen.check_s / change.settings.check_every
    saved = in_s(Estimate(saved_s, None, 1))
    by = f"calculated from {seen.looked_at} of {seen.batches:,} batches"
    waits = f", and be another training, for {WAITING}" if change.only_asked else ""
    return [f"{adds} ({by}); {change.name} would save {saved}{waits}"]
