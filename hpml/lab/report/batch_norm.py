"""C7: training without batch normalisation, in sentences: what came out, and what explains it.

Why it learns as it does is read from the first steps of both networks on one batch, why it takes as
long from a profile of a step; both are counted with the summary (hpml/summary/first_steps.py). A
cause is called likely where the losses are told apart: no run here has changed what it names.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import fmean, quantiles
from typing import Any

from hpml.formatting import counted, decimals
from hpml.lab.report.answers import (
    ACCURACY,
    LOSS,
    TOLD_APART,
    TOO_FEW,
    VAL_ACCURACY,
    caveats,
    certainty,
    counting,
    doubt_of_time,
    shown,
    told_apart,
)
from hpml.lab.report.explanations import rate_of
from hpml.lab.report.too_busy import is_in_doubt, too_busy, why
from hpml.records.phases import TRAIN
from hpml.report.collect import TIMED_FROM, Run, mean
from hpml.report.ranking import EPOCH, STEADY, Measure
from hpml.report.settings import Setting
from hpml.report.times_in_doubt import span

# A summary's figures; None where it was not counted.
Counts = Mapping[str, Any] | None
LEAST_RATIO = 2  # of two gradients that may explain losses, the larger one by the smaller one
# What a summary's step is like; no compiled step, and none of another precision, is.
AS_COUNTED = {"compile": (None, False), "trainer.precision": (None, 32, "32", "32-true")}
FIRST_STEPS = "first_steps_by_seed"  # in a summary that was asked for them
OTHER_RATE = "another optimizer.lr, under another lab.name, would tell"


def about_norm(
    with_norm: Sequence[Run],
    without: Sequence[Run],
    again: str,
    counts: Sequence[Counts] = (None, None),
    on_cpu: bool = True,
    recount: str = "",
) -> list[str]:
    """Loss, accuracy and time without batch norm, against those with it; then why.

    `counts` are of the network without and with it. They are the CPU's, and have nothing to say of
    the time of a network that does not train `on_cpu`. `recount` is what to do where they are of a
    version that took no first steps.
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
    if recount and any(of is not None and FIRST_STEPS not in of for of in counts):
        sentences.append(f"Why was not counted when this lab was begun: {recount}.")
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
    if reached == 1:  # a loss that is chance's may be both's
        return
    when = f"in epoch {reached}" if reached else f"in none of {counted(len(ours), 'epoch')}"
    yield f"The training loss of epoch 1 with norm, {first:.4g}, is reached {when} without it."


def _losses(setting: Setting) -> list[float]:
    """By epoch, means over the runs; as far as each of these has one."""
    curves = [[epoch.metrics.get(LOSS.name) for epoch in run.epochs] for run in setting.completed]
    epochs = zip(*curves, strict=False)
    return [fmean(known) for of in epochs if len(known := [v for v in of if v is not None])]


def _why_it_learns_so(one: Setting, other: Setting, counts: Sequence[Counts]) -> Iterator[str]:
    """By the sizes of gradients and of what layers are given, before the first step and in it."""
    steps = [list((of or {}).get(FIRST_STEPS, {}).values()) for of in counts]
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
    without, normed_loss = (
        f"from {_finite(_means(of, 0), '.4g')} to {_finite(_means(of, -1), '.4g')}" for of in losses
    )
    yield (
        f"On that batch alone {counted(len(losses[0][0]) - 1, 'step')} take the loss {without} "
        f"without norm, {normed_loss} with it."
    )
    yield _conclusion(ours, theirs, one, other)


def _conclusion(
    ours: Sequence[float], theirs: Sequence[float], one: Setting, other: Setting
) -> str:
    """What the norms of the gradient without and with normalisation say of the losses."""
    ratio = fmean(ours) / fmean(theirs) if fmean(theirs) else math.inf
    if not math.isfinite(ratio):
        return "These gradients have no finite ratio: they explain no difference of the losses."
    if max(ours) >= min(theirs) and max(theirs) >= min(ours):
        return "The two ranges of gradients overlap: they explain no difference of the losses."
    rate = rate_of(other.completed)
    far = f"{ratio:.2g} times" if ratio > 1 else f"1/{1 / ratio:.2g}" if ratio else "0 times"
    at_one_rate = f"at one rate{f', {rate:g},' if rate else ''}"
    moved = (
        "But for weight decay, clipping and a scheduler SGD's first step is the rate times the "
        f"gradient: {at_one_rate} such a batch of random images moves the weights {far} as far "
        "without norm."
    )
    return f"{moved} {_what_it_fits(ratio, one, other)}".rstrip()


def _what_it_fits(ratio: float, one: Setting, other: Setting) -> str:
    """Whether steps so many times as far without norm may be why its loss is higher."""
    loss, loss_with = (mean(setting.all_of(LOSS.name)) for setting in (one, other))
    if loss is None or loss_with is None:
        return ""
    last = [r.record.epochs[-1].metrics.get(LOSS.name) for s in (one, other) for r in s.completed]
    if not all(value is not None and math.isfinite(value) for value in last):
        return "Not every last loss is finite: no cause is named."
    if loss <= loss_with:
        return "The loss without norm is no higher."
    if 1 / LEAST_RATIO < ratio < LEAST_RATIO:
        return "That is too little to be a cause."
    how_sure, too_far = certainty(one, other, LOSS), "may be too far, which " * (ratio > 1)
    if how_sure == TOLD_APART:
        return f"That {too_far}fits the higher loss, and is a likely cause; {OTHER_RATE}."
    if TOO_FEW in how_sure:
        return f"That {too_far}would fit the higher loss, if that is not chance; {OTHER_RATE}."
    return "The higher loss may be chance: no cause is named."


def _why_it_takes_so_long(
    one: Setting, other: Setting, time: Measure, counts: Counts
) -> Iterator[str]:
    """By what normalising takes of a step, beside what it was measured to take."""
    by_run = [_training_s(setting, TIMED_FROM[time.name]) for setting in (one, other)]
    ours, theirs = (mean(seconds for _, seconds in of) for of in by_run)
    if ours is None or theirs is None:
        return
    digits = decimals(theirs)
    less = f"{abs(ours - theirs):.{digits}f} s {'more' if ours > theirs else 'less'}"
    differs = "the same" if ours == theirs else less + _certainty_of(one, other, time, by_run)
    yield (
        f"Of {time.title.removeprefix('time of ')}, {TRAIN.title} takes {ours:.{digits}f} s "
        f"without norm, {theirs:.{digits}f} s with it: {differs}."
    )
    of_norm = (counts or {}).get("time_of_normalising")
    if of_norm is None or not _are_as_counted([*one.completed, *other.completed]):
        return
    shares = of_norm["shares"]
    low, share, high = quantiles(shares, n=4, method="inclusive")
    contradicts = " It took more all the same, which this does not explain." * (ours > theirs)
    yield (
        f"In a step of {of_norm['samples']} random images, uncompiled, in float32, on the CPU with "
        f"torch's usual threads, normalising takes {share:.0%} of the operators' time ({low:.0%} "
        f"to {high:.0%} in the middle half of {len(shares)} steps): with that share about "
        f"{share * theirs:.{digits}f} s of {TRAIN.title} could fall away.{contradicts}"
    )


def _training_s(setting: Setting, first: int) -> list[tuple[object, float]]:
    """The seed of each run, and its mean of training in an epoch, from the first that counts."""
    by_run: list[tuple[object, float]] = []
    for run in setting.completed:
        seconds = mean(e.time.get(TRAIN.key) for e in run.epochs if e.epoch >= first)
        by_run += [] if seconds is None else [(run.seed, seconds)]
    return by_run


def _certainty_of(
    one: Setting, other: Setting, time: Measure, by_run: Sequence[Sequence[tuple[object, float]]]
) -> str:
    """As `certainty`, of the training in an epoch: what others took may all be of it."""
    values = [[seconds for _, seconds in of] for of in by_run]
    spans = [
        whole and replace(whole, time_s=fmean(of))
        for setting, of in zip((one, other), values, strict=True)
        for whole in [span(setting, time.name)]
    ]
    by_seed = [
        {seed: fmean(s for of, s in runs if of == seed) for seed, _ in runs} for runs in by_run
    ]
    return doubt_of_time(one, other, spans) or told_apart(by_seed, values)


def _are_as_counted(runs: Sequence[Run]) -> bool:
    """Whether their steps are of the kind of which the summary took the time."""
    return all(run.leaves.get(key) in plain for run in runs for key, plain in AS_COUNTED.items())


def _finite(value: float, spec: str) -> str:
    return f"{value:{spec}}" if math.isfinite(value) else "what is not finite"


def _means(of_seeds: Sequence[Sequence[float]], index: int) -> float:
    return fmean(each[index] for each in of_seeds)


def _range(values: Sequence[float]) -> str:
    low, high = f"{min(values):.2g}", f"{max(values):.2g}"
    return low if low == high else f"{low} to {high}"
