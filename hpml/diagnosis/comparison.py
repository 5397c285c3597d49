"""Two diagnoses side by side, and what makes the difference."""

from collections.abc import Sequence

from hpml.diagnosis.diagnosis import AS_IT_IS, Diagnosis
from hpml.formatting import in_s
from hpml.statistics import Estimate
from hpml.statistics import trimmed_estimate as estimate


def compare(one: Diagnosis, other: Diagnosis, names: tuple[str, str]) -> list[str]:
    """Sentences: which is faster, by waiting for data or by the rest, and what the loaders do.

    The two ran in the same rounds, so differences are taken within each.
    """
    a, b = names
    whole = _difference(_epochs(one), _epochs(other))
    if not _is_told(whole):
        told = f"{a} and {b} cannot be told apart: an epoch takes {in_s(one.epoch_s(AS_IT_IS))} "
        told += f"and {in_s(other.epoch_s(AS_IT_IS))}"
    else:
        fast, slow = (b, a) if whole.mean > 0 else (a, b)
        times = {a: one.epoch_s(AS_IT_IS), b: other.epoch_s(AS_IT_IS)}
        told = f"{fast} is faster: an epoch takes {in_s(times[fast])} instead of "
        told += f"{in_s(times[slow])} with {slow}, a difference of {in_s(_size(whole))}"
    sentences = [told]
    waited = _difference(_waits(one), _waits(other))
    rest = _difference(_rests(one), _rests(other))
    parts = [
        _part(f"{b} waits", "for data than", waited, a, ("less", "longer")),
        _part(f"apart from that {b} takes", "than", rest, a, ("less", "longer")),
    ]
    sentences += [part for part in parts if part]
    workers = one.setting.num_workers, other.setting.num_workers
    shared = workers[0] != workers[1] and any(workers)
    if shared and _is_told(rest) and _is_told(waited) and rest.mean * waited.mean < 0:
        cores = one.setting.cores
        where = "" if one.setting.on_gpu else f" the {cores} cores" if cores else " the processor"
        if where:
            sentences.append(
                "what one of them saves by waiting less, the other saves in the rest: loading in "
                f"processes of its own and training likely share{where}"
            )
    return sentences + _about_loaders(one, other, names)


def _about_loaders(one: Diagnosis, other: Diagnosis, names: tuple[str, str]) -> list[str]:
    """How much faster one of the two loads, where nothing is done with its batches."""
    loads = [_epochs(diagnosis, "loader_alone") for diagnosis in (one, other)]
    known = [estimate(steps) for steps in loads]
    difference = _difference(*loads)
    if not (known[0] and known[1] and min(known[0].mean, known[1].mean) > 0):
        return []
    if not _is_told(difference):
        return [f"the loader alone cannot be told apart: {in_s(known[0])} and {in_s(known[1])}"]
    ratio = known[0].mean / known[1].mean
    slow, fast = names if ratio > 1 else names[::-1]
    return [
        f"the loader alone is {max(ratio, 1 / ratio):.2f} times as fast with {fast} as with {slow}"
    ]


def _epochs(diagnosis: Diagnosis, trial: str = AS_IT_IS) -> list[float]:
    start_s = diagnosis.start_s
    return [start_s + diagnosis.steps * pace.step_s for pace in diagnosis.paces[trial]]


def _waits(diagnosis: Diagnosis) -> list[float]:
    start_s = diagnosis.start_s
    return [start_s + diagnosis.steps * pace.wait_s for pace in diagnosis.paces[AS_IT_IS]]


def _rests(diagnosis: Diagnosis) -> list[float]:
    pairs = zip(_epochs(diagnosis), _waits(diagnosis), strict=True)
    return [whole - waited for whole, waited in pairs]


def _difference(one: Sequence[float], other: Sequence[float]) -> Estimate:
    known = estimate([a - b for a, b in zip(one, other, strict=False)])
    assert known is not None
    return known


def _is_told(difference: Estimate) -> bool:
    half = difference.half_width
    return half is not None and abs(difference.mean) > half


def _size(difference: Estimate) -> Estimate:
    return Estimate(abs(difference.mean), difference.half_width, difference.n)


def _part(
    begin: str, end: str, difference: Estimate, than: str, words: tuple[str, str]
) -> str | None:
    """One part of the difference, where it can be told from chance."""
    if not _is_told(difference):
        return None
    word = words[0] if difference.mean > 0 else words[1]
    return f"{begin} {in_s(_size(difference))} {word} {end} {than}"
