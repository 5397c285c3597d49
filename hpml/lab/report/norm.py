"""C7: training without batch normalisation, in sentences: what came out, and what explains it.

Why it learns as it does is read from the first steps of both networks on one batch, why it takes as
long from a profile of a step; both are counted with the summary (hpml/summary/first_steps.py). An
explanation is called likely: no run here has changed what it names.
"""

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean, quantiles
from typing import Any

from hpml.formatting import counted, decimals
from hpml.lab.report.answers import (
    ACCURACY,
    LOSS,
    VAL_ACCURACY,
    caveats,
    certainty,
    counting,
    shown,
)
from hpml.lab.report.busy import is_in_doubt, too_busy, why
from hpml.lab.report.explained import rate_of
from hpml.records.phases import TRAIN
from hpml.report.collect import Run, mean
from hpml.report.ranking import EPOCH, STEADY, Measure
from hpml.report.settings import Setting

# A summary's figures; None where it was not counted.
Counts = Mapping[str, Any] | None
OTHER_RATE = "another optimizer.lr, under another lab.name, would tell"


def about_norm(
    with_norm: Sequence[Run],
    without: Sequence[Run],
    again: str,
    counts: Sequence[Counts] = (None, None),
    on_cpu: bool = True,
) -> list[str]:
    """Loss, accuracy and time without batch norm, against those with it; then why.

    `counts` are of the network without and with it. They are the CPU's, and have nothing to say of
    the time of a network that does not train `on_cpu`.
    """
    one, other = counting(without), counting(with_norm)
    time = STEADY if one.all_of(STEADY.name) and other.all_of(STEADY.name) else EPOCH
    reason = why({"the run without norm": one, "the run with norm": other}, time)
    sentences = []
    for measure in (LOSS, ACCURACY, VAL_ACCURACY, time):
        ours, theirs = (mean(setting.all_of(measure.name)) for setting in (one, other))
        if ours is None or theirs is None:
            if measure is not VAL_ACCURACY or ours is not theirs:
                sentences.append(f"The {measure.title} is not known of both networks.")
            continue
        if measure is time and is_in_doubt([one, other], time):
            sentences.append(too_busy(reason, again))
            continue
        more, less = ("longer", "shorter") if measure is time else ("higher", "lower")
        differs = (more if ours > theirs else less) + certainty(one, other, measure)
        if measure is time and reason:
            differs += f"; by how much is not known: {reason}"
        sentences.append(
            f"Without norm the {measure.title} is {shown(one, measure)}, with it "
            f"{shown(other, measure)}: {'the same' if ours == theirs else differs}."
        )
    sentences += [*_how_much_later(one, other), *_why_it_learns_so(one, other, counts)]
    if not reason:
        sentences += _why_it_takes_so_long(one, other, time, counts[1] if on_cpu else None)
    return sentences + caveats([*with_norm, *without])


def _how_much_later(one: Setting, other: Setting) -> Iterator[str]:
    """In which epoch the network without norm reaches the other one's loss of its first."""
    ours, theirs = map(_losses, (one, other))
    if len(ours) < 2 or len(theirs) < 2:
        return
    first = theirs[0]
    reached = next((number for number, loss in enumerate(ours, 1) if loss <= first), None)
    when = f"in epoch {reached}" if reached else f"in none of {counted(len(ours), 'epoch')}"
    yield f"The training loss of epoch 1 with norm, {first:.4g}, is reached {when} without it."


def _losses(setting: Setting) -> list[float]:
    """By epoch, means over the runs; as far as each of these has one."""
    curves = [[epoch.metrics.get(LOSS.name) for epoch in run.epochs] for run in setting.completed]
    epochs = zip(*curves, strict=False)
    return [fmean(known) for of in epochs if len(known := [v for v in of if v is not None])]


def _why_it_learns_so(one: Setting, other: Setting, counts: Sequence[Counts]) -> Iterator[str]:
    """By the sizes of gradients and of what layers are given, before the first step and in it."""
    steps = [list((of or {}).get("first_steps_by_seed", {}).values()) for of in counts]
    if not all(steps) or counts[0] is None:
        return
    ours, theirs = ([each["gradient_norms"][0] for each in of] for of in steps)
    given = [[each["given"] for each in of] for of in steps]
    losses = [[each["losses"] for each in of] for of in steps]
    seeds = counted(len(ours), "seed")
    yield (
        f"Before the first step the norm of the gradient is {_range(ours)} without norm, "
        f"{_range(theirs)} with it ({seeds}; {counts[0]['batch']})."
    )
    if all(map(all, given)):
        first, last, normed = _means(given[0], 0), _means(given[0], -1), _means(given[1], -1)
        yield (
            "The root mean square of what a convolution is given goes without norm from "
            f"{first:.3g} at the first to {last:.2g} at the last; with it the last is given "
            f"{normed:.2g}."
        )
    changes = [fmean(abs(each[-1] - each[0]) for each in of) for of in losses]
    yield (
        f"On that batch alone {counted(len(losses[0][0]) - 1, 'step')} change the loss by "
        f"{changes[0]:.2g} without norm, by {changes[1]:.2g} with it."
    )
    loss, loss_with = (mean(setting.all_of(LOSS.name)) for setting in (one, other))
    yield _conclusion(ours, theirs, loss, loss_with, rate_of(other.completed))


def _conclusion(
    ours: Sequence[float],
    theirs: Sequence[float],
    loss: float | None,
    loss_with: float | None,
    rate: float | None,
) -> str:
    """What the norms of the gradient without and with normalisation say of the losses."""
    if max(ours) >= min(theirs) and max(theirs) >= min(ours):
        return "Gradients of these sizes overlap: they explain no difference of the losses."
    ratio = fmean(ours) / fmean(theirs) if fmean(theirs) else float("inf")
    at_one_rate = f"at one rate, {rate:g}," if rate else "at one rate"
    far = f"{ratio:.2g} times" if ratio > 1 else f"1/{1 / ratio:.2g}" if ratio else "0 times"
    moved = (
        f"SGD's first step is the rate times the gradient: {at_one_rate} it moves the weights "
        f"{far} as far without norm."
    )
    if loss is None or loss_with is None:
        return moved
    if loss <= loss_with:
        return f"{moved} The loss is no higher for that."
    fits = "fits the higher loss" if ratio < 1 else "may be too far, which fits the higher loss"
    return f"{moved} That {fits}, and is a likely cause; {OTHER_RATE}."


def _why_it_takes_so_long(
    one: Setting, other: Setting, time: Measure, counts: Counts
) -> Iterator[str]:
    """By what normalising takes of a step, beside what it was measured to take."""
    ours, theirs = (mean(setting.all_of(TRAIN.key)) for setting in (one, other))
    if ours is None or theirs is None or is_in_doubt([one, other], time):
        return
    digits = decimals(theirs)
    yield (
        f"Of an epoch {TRAIN.title} takes {ours:.{digits}f} s without norm, {theirs:.{digits}f} s "
        "with it."
    )
    of_norm = (counts or {}).get("time_of_normalising")
    if of_norm is None:
        return
    shares, more = of_norm["shares"], "more" if ours > theirs else "less"
    low, share, high = quantiles(shares, n=4, method="inclusive")
    yield (
        f"Normalising takes {share:.0%} of the time of a step's operators on the CPU "
        f"({low:.0%} to {high:.0%} in the middle half of {len(shares)} steps of "
        f"{of_norm['samples']} images): about {share * theirs:.{digits}f} s of an epoch's "
        f"{TRAIN.title} can fall away. "
        f"Measured are {abs(ours - theirs):.{digits}f} s {more}{certainty(one, other, time)}."
    )


def _means(of_seeds: Sequence[Sequence[float]], index: int) -> float:
    return fmean(each[index] for each in of_seeds)


def _range(values: Sequence[float]) -> str:
    low, high = f"{min(values):.2g}", f"{max(values):.2g}"
    return low if low == high else f"{low} to {high}"
