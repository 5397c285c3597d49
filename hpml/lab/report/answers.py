"""The lab's figures in sentences that the numbers alone decide.

Epochs are counted from 1 here, as the lab does. What differs is called different only where the
95 % interval over the runs leaves out no difference, or where `standings` tells it apart; and
nothing that others on the machine may have made: there the answer is the command, `again`, that
runs the part again.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import fmean

from hpml.formatting import counted, decimals, listed
from hpml.lab.report.hosts import differ_in_host, several_hosts
from hpml.lab.report.too_busy import disturbance, is_in_doubt, too_busy, why
from hpml.records.phases import PHASES
from hpml.report.collect import TIMED_FROM, Run, mean
from hpml.report.ranking import EPOCH, STEADY, Measure
from hpml.report.settings import Setting
from hpml.report.times_in_doubt import Span, span
from hpml.statistics import BySeed, estimate, standings

LOSS = Measure("train/loss", "last training loss", "lowest loss", False, "")
ACCURACY = Measure("train/accuracy", "last training accuracy", "most accurate", True, "%")
VAL_ACCURACY = Measure("val/accuracy", "last validation accuracy", "most accurate", True, "%")
OF_TEN_CLASSES, CHANCE = ("cifar10", "synthetic"), 0.1
CURVES = (LOSS, ACCURACY, Measure("val/loss", "validation loss", "", False, ""), VAL_ACCURACY)
MOST_NAMED = 8
TOO_FEW = "in one run each, too few to tell from chance"
TOLD_APART = ", told apart at 95 %"


def about_learning(runs: Sequence[Run]) -> list[str]:
    """C1: how loss and accuracy went over the epochs of runs that differ in their seed alone."""
    setting = counting(runs)
    sentences = [sentence for measure in CURVES for sentence in _course(setting.completed, measure)]
    last_epochs = [run.epochs[-1] for run in setting.completed]
    samples = [epoch.samples for epoch in last_epochs if epoch.samples]
    last = setting.estimate(ACCURACY.name)
    data = {run.record.choices.get("data") for run in setting.completed}
    if last is not None and samples and data <= set(OF_TEN_CLASSES):
        # what guessing would reach by luck in 95 % of epochs of that many images
        luck = 1.96 * math.sqrt(CHANCE * (1 - CHANCE) / min(samples))
        differs = abs(last.mean - CHANCE) > max(luck, last.half_width or 0.0)
        times = f"is {last.mean / CHANCE:.1f} times" if differs else "cannot be told from"
        sentences.append(f"The {ACCURACY.title} {times} that of guessing, {CHANCE:.0%}.")
    return sentences + caveats(runs)


def about_times(runs: Sequence[Run], again: str) -> list[str]:
    """C2: an epoch's time, its phases' shares, and whether the first epoch is like the others."""
    setting = counting(runs)
    whole = setting.estimate(EPOCH.name)
    if whole is None:
        return ["No epoch was timed.", *caveats(runs)]
    if seen := disturbance(setting.completed):
        return [too_busy(seen.in_words(), again), *caveats(runs)]
    epochs = sum(len(run.epochs) for run in setting.completed)
    of_all = f"the mean over {counted(epochs, 'epoch')} of {counted(len(setting.completed), 'run')}"
    sentences = [f"An epoch takes {EPOCH.shown(whole)}, {of_all}."]
    means = {phase.title: mean(setting.all_of(phase.key)) for phase in PHASES}
    if parts := {title: value for title, value in means.items() if value is not None}:
        shares = ", ".join(
            f"{title} {value:.{decimals(whole.mean)}f} s ({value / (whole.mean or 1.0):.1%})"
            for title, value in parts.items()
        )
        total = sum(parts.values())
        adds_up = abs(total - whole.mean) <= 0.005 * whole.mean
        sums = "the epoch" if adds_up else f"{total:.3g} s"
        sentences.append(f"Its phases are {shares}; they add up to {sums}.")
        largest = max(parts, key=lambda title: parts[title])
        size = "Most of it" if parts[largest] > total / 2 else "The largest of them"
        sentences.append(f"{size} is {largest}.")
    if missing := [title for title in means if title not in parts]:
        sentences.append(f"Not measured: {', '.join(missing)}.")
    return sentences + _first_epoch(setting.completed) + caveats(runs)


def about_devices(by_device: Mapping[str, Sequence[Run]], again: str, here: str) -> list[str]:
    """C5: how many times as fast the devices are, by the epochs after the first.

    `here` runs the part on the machine that it is typed on.
    """
    runs = [run for of_device in by_device.values() for run in of_device]
    settings = [counting(of, device=name) for name, of in by_device.items()]
    steady = all(setting.all_of(STEADY.name) for setting in settings if setting.completed)
    measure = STEADY if steady else EPOCH
    settings = [setting for setting in settings if setting.all_of(measure.name)]
    named = {setting.values["device"]: setting for setting in settings}
    reason = why(named, measure)
    nothing = f"run `{here}` on a machine that has the other device too"
    alone = [
        f"There is nothing to compare {one} with: {nothing}." for one in named if len(named) == 1
    ]
    if alone and reason:  # on a quiet machine there would be none either
        return [*alone, *caveats(runs)]
    if reason and is_in_doubt(settings, measure):
        return [too_busy(reason, again), *caveats(runs)]
    sentences = [
        f"{name}: {shown(s, measure)} ({measure.title}){_loaded_by(s)}."
        for name, s in named.items()
    ]
    sizes = {epoch.samples for s in settings for run in s.completed for epoch in run.epochs}
    if not settings:
        sentences.append("No epoch was timed on any device.")
    elif alone:
        sentences += alone
    elif len(sizes) > 1:
        counts = ", ".join(f"{size:,}" if size else "unknown" for size in sorted(sizes, key=str))
        sentences.append(f"Epochs differ in their images ({counts}): the devices are not compared.")
    else:
        settings.sort(key=lambda setting: mean(setting.all_of(measure.name)) or 0.0)
        sentences += [_ratio(setting, settings[-1], measure) for setting in settings[:-1]]
    return sentences + caveats(runs)


def counting(runs: Sequence[Run], **values: str) -> Setting:
    """Those of some runs that count: completed, with an epoch."""
    return Setting(values, [run for run in runs if run.completed and run.epochs])


def caveats(runs: Sequence[Run]) -> list[str]:
    """Each run that does not count, and why; each whose last loss is an earlier epoch's; hosts."""
    sentences = [] if runs else ["There are no runs yet."]
    if hosts := several_hosts(runs):
        sentences.append(f"The runs are of {hosts}: what these differ in is in the times.")
    for run in runs:
        if not run.completed:
            why = f"{run.record.status}: {run.cause}" if run.cause else run.record.status
            sentences.append(f"Not counted: {run.name} ({why.rstrip('.')}).")
        elif not run.epochs:
            sentences.append(f"Not counted: {run.name} (no epoch).")
        elif run.record.last_metric(LOSS.name) != run.record.epochs[-1].metrics.get(LOSS.name):
            lacks = "was not finite or not recorded in its last epoch"
            sentences.append(f"The loss of {run.name} {lacks}: an earlier one's is shown.")
    return sentences


def _course(runs: Sequence[Run], measure: Measure) -> list[str]:
    """From where to where a metric went, in which epochs it went the other way or is not known."""
    curves = [{e.epoch: e.metrics.get(measure.name) for e in run.epochs} for run in runs]
    numbers = sorted({number for curve in curves for number in curve})
    values = {n: [v for curve in curves if (v := curve.get(n)) is not None] for n in numbers}
    means = {number: fmean(of) for number, of in values.items() if of}
    unknown = [str(number + 1) for number in numbers if number not in means]
    gaps = [f"In {_epochs(unknown)} it was not finite or not recorded."] if unknown else []
    title = measure.title.removeprefix("last ")
    if len(means) < 2:
        return [f"The {title} is known of one epoch alone.", *gaps] if means else []
    first, *_, last = means
    ends = [(curve.get(first), curve.get(last)) for curve in curves]
    change = estimate([b - a for a, b in ends if a is not None and b is not None])
    if change is None:
        verb = "went"
    elif abs(change.mean) <= (change.half_width or 0.0):
        verb = "did not change" + " beyond what its runs differ by" * (change.n > 1) + ":"
    else:
        verb = "rose" if change.mean > 0 else "fell"
    of = "one run" if len(runs) == 1 else f"means of {len(runs)} runs"
    start, end = (measure.shown(estimate(values[number])) for number in (first, last))
    sentence = f"The {title} {verb} from {start} in epoch {first + 1} to {end} in epoch {last + 1}"
    sentence += f" ({of})"
    if verb in ("rose", "fell"):
        against = [
            str(number + 1)
            for (_, before), (number, after) in pairwise(means.items())
            if (after <= before if verb == "rose" else after >= before)
        ]
        sentence += f", but not in {_epochs(against)}" if against else ", in every epoch"
        sentence += " that is known" * (bool(unknown) and not against)
    return [f"{sentence}.", *gaps]


def _epochs(numbers: Sequence[str]) -> str:
    return f"epoch{'s' * (len(numbers) > 1)} {listed(numbers, MOST_NAMED)}"


def _first_epoch(runs: Sequence[Run]) -> list[str]:
    """Whether the first epoch is longer than the others, beyond their spread."""
    if any(seen.disturbed for run in runs for seen in run.seen_from()):
        return ["The first epoch is not compared with the later ones: some were disturbed."]
    apart = []
    for run in runs:
        first = [t for e in run.epochs if e.epoch == 0 and (t := e.time["epoch_s"]) is not None]
        later = [t for e in run.epochs if e.epoch > 0 and (t := e.time["epoch_s"])]
        if first and later:
            apart.append((first[0], later))
    ratios = estimate([first / (mean(later) or 1.0) - 1 for first, later in apart])
    if ratios is None:
        return ["There is no later epoch to compare the first one with."]
    spread = ratios.half_width
    if spread is None:  # one run: where another of its later epochs would lie, at 95 %
        later_s = estimate(apart[0][1])
        if later_s is None or later_s.half_width is None:
            return ["One later epoch is too few to tell the first one from chance."]
        spread = later_s.half_width * math.sqrt(later_s.n + 1) / later_s.mean
    if abs(ratios.mean) <= spread:
        return ["The first epoch does not differ from the later ones beyond their spread."]
    word = "longer" if ratios.mean > 0 else "shorter"
    sentence = f"The first epoch is {abs(ratios.mean):.1%} {word} than the mean of the later ones"
    return [f"{sentence}{'; what happens only once is in it' * (ratios.mean > 0)}."]


def _loaded_by(setting: Setting) -> str:
    """`, with 2 workers`; nothing where the runs have several numbers of them."""
    numbers = {run.leaves.get("data.num_workers") for run in setting.completed}
    number = numbers.pop() if len(numbers) == 1 else None
    return f", with {counted(number, 'worker')}" if isinstance(number, int) else ""


def _ratio(fast: Setting, slow: Setting, measure: Measure) -> str:
    names = fast.values["device"], slow.values["device"]
    if reason := why(dict(zip(names, (fast, slow), strict=True)), measure):
        return f"{names[0]} is faster than {names[1]}, but how many times is not known: {reason}."
    of_fast, of_slow = (mean(setting.all_of(measure.name)) or 0.0 for setting in (fast, slow))
    if not of_fast or of_fast == of_slow:
        return f"{names[0]} is as fast as {names[1]}."
    times = f"{of_slow / of_fast:.3g} times as fast as {names[1]}"
    return f"{names[0]} is {times}{certainty(fast, slow, measure)}."


def certainty(one: Setting, other: Setting, measure: Measure) -> str:
    """Whether the difference of two settings may be chance, as the end of a sentence."""
    both, name = (one, other), measure.name
    if name in TIMED_FROM:
        doubt = doubt_of_time(one, other, [span(setting, name) for setting in both])
        if doubt:
            return doubt
    by_seed = [setting.by_seed(name) for setting in both]
    return told_apart(by_seed, [setting.all_of(name) for setting in both], measure.higher_is_better)


def doubt_of_time(one: Setting, other: Setting, spans: Sequence[Span | None]) -> str:
    """Whether two times may differ for their hosts, or by what others took; or nothing."""
    if differ_in_host(one.completed, other.completed):
        return ", which may be for the hosts they ran on"
    first, second = spans
    if first and second and (first.is_below(second) or second.is_below(first)):
        return ""
    return ", which others may have caused: they took time"


def told_apart(
    by_seed: Sequence[BySeed], values: Sequence[Sequence[float]], higher_is_better: bool = False
) -> str:
    """What `standings` says of two settings, as the end of a sentence."""
    outcome = standings(by_seed, values, higher_is_better)
    if "untested" in outcome:
        single = all(len(of) == 1 for of in values)
        return f", {TOO_FEW}" if single else ", too few runs to tell from chance"
    return TOLD_APART if "worse" in outcome else ", which cannot be told from chance"


def shown(setting: Setting, measure: Measure) -> str:
    return measure.shown(setting.estimate(measure.name))
