"""What the curves of growth say: sentences and tables, all made from the figures.

Figures are `seen[curve][x][figure]`, a list with a value a round.
"""

import math
from collections.abc import Mapping
from statistics import median

import harness

from hpml.data.augment import PADDING

Seen = Mapping[str, Mapping[int, Mapping[str, list[float]]]]
ENOUGH = 1.05  # what gains less is no gain
IMAGE_SIZE, KIB = 32, 1024
BATCHES = 8  # of an epoch of those curves in which its length does not matter
TITLES = {
    "batch": "batch size",
    "set": "data-set size",
    "image": "image size",
    "per_sample": "workers, per_sample",
    "batched": "workers, batched",
}
PIPELINES = ("per_sample", "batched")


def medians(seen: Seen, curve: str, figure: str) -> dict[int, float]:
    """Over the rounds, by what varies, in its order."""
    points = seen.get(curve, {})
    return {x: median(points[x][figure]) for x in sorted(points) if points[x][figure]}


def settles(values: Mapping[int, float]) -> int:
    """The first x after which nothing is more than 5 % above its value."""
    return next(x for x in values if max(values[y] for y in values if y >= x) <= ENOUGH * values[x])


def slopes(values: Mapping[int, float]) -> tuple[float, float]:
    """What one more of x adds, between the first two points and between the last two."""
    xs = list(values)
    first, last = ((values[b] - values[a]) / (b - a) for a, b in ((xs[0], xs[1]), (xs[-2], xs[-1])))
    return first, last


def sentences(seen: Seen, memory: str) -> list[str]:
    """What each curve says, where it has two points at least; `memory` is the figure that tells."""
    told = [
        _of_batches(medians(seen, "batch", "samples_per_s"), medians(seen, "batch", memory)),
        _of_sets(seen),
        _of_images(medians(seen, "image", "samples_per_s"), medians(seen, "image", memory)),
        *(_of_workers(seen, curve) for curve in PIPELINES),
        _of_sweeps(seen),
    ]
    return [sentence for sentence in told if sentence]


def _of_batches(rates: Mapping[int, float], held: Mapping[int, float]) -> str:
    if len(rates) < 2:
        return ""
    last, at, best = max(rates), settles(rates), max(rates, key=lambda x: rates[x])
    told = f"Batch size: samples/s gain no more than 5 % from {at:,} on ({rates[at]:,.0f})"
    if at == last:
        told = f"Batch size: samples/s gain more than 5 % up to {last:,} ({rates[last]:,.0f})"
    told += f"; with {min(rates)} they are {rates[min(rates)]:,.0f}"
    if rates[best] > ENOUGH * rates[last]:
        less = 1 - rates[last] / rates[best]
        told += f"; with {last:,} {less:.0%} less than the most, which is with {best:,}"
    first, then = slopes(held)
    told += (
        f". Memory: {held[min(held)]:,.0f} MiB with {min(held)}, {held[last]:,.0f} with {last:,}; "
    )
    return told + f"a sample more in the batch adds {first:.2f} MiB at first, {then:.2f} at last."


def _of_sets(seen: Seen) -> str:
    made, order, batches, rates, held = (
        medians(seen, "set", name)
        for name in ("made_s", "order_s", "waiting_s", "samples_per_s", "host_mib")
    )
    if len(made) < 2:
        return ""
    few, many = min(made), max(made)
    each = [f"{1e6 * made[size] / size:.0f} us a sample with {size:,}" for size in (few, many)]
    first, then = (KIB * slope for slope in slopes(held))
    pixels = 3 * (IMAGE_SIZE + 2 * PADDING) ** 2 / KIB
    return (
        f"Data set: making it takes {each[0]}, {each[1]} ({made[many]:.1f} s). An epoch's order "
        f"takes {1e3 * order[few]:.2f} and {1e3 * order[many]:.2f} ms, its {BATCHES} batches "
        f"{1e3 * batches[few]:.1f} and {1e3 * batches[many]:.1f} ms of waiting; samples/s differ "
        f"by {rates[many] / rates[few] - 1:+.0%}. Memory: {held[few]:,.0f} and {held[many]:,.0f} "
        f"MiB; a sample adds {first:.2f} KiB at first, {then:.2f} at last; its pixels with their "
        f"padding are {pixels:.2f}."
    )


def _of_images(rates: Mapping[int, float], held: Mapping[int, float]) -> str:
    if len(rates) < 2:
        return ""
    sizes, powers = list(rates), []
    for a, b in ((sizes[0], sizes[1]), (sizes[-2], sizes[-1])):
        power = math.log(rates[a] / rates[b]) / math.log((b / a) ** 2)
        powers.append(f"{power:.2f} from {a} to {b}")
    few, many = sizes[0], sizes[-1]
    return (
        f"Image size: a sample takes {1000 / rates[few]:.2g} ms with {few}×{few} pixels, "
        f"{1000 / rates[many]:.2g} ms with {many}×{many}; its time grows as the number of pixels "
        f"to the power of {' and of '.join(dict.fromkeys(powers))}. Memory: {held[few]:,.0f} and "
        f"{held[many]:,.0f} MiB."
    )


def _of_workers(seen: Seen, curve: str) -> str:
    rates, waits, held = (
        medians(seen, curve, name) for name in ("samples_per_s", "waiting", "host_mib")
    )
    if len(rates) < 2:
        return ""
    best, last = max(rates, key=lambda count: rates[count]), max(rates)
    enough = min(count for count in rates if ENOUGH * rates[count] >= rates[best])
    told = f"Workers, {curve}: samples/s are most with {best} ({rates[best]:,.0f})"
    told += "" if enough == best else f", and within 5 % of that with {enough} already"
    told += f"; with 0 they are {rates[0]:,.0f}" if best and 0 in rates else ""
    if rates[best] > ENOUGH * rates[last]:
        told += f"; with {last} {1 - rates[last] / rates[best]:.0%} less than the most"
    few = min(rates)
    told += f". Waiting for data takes {waits[few]:.0%} of the time with {few}, {waits[last]:.0%} "
    told += f"with {last}. Memory: {held[few]:,.0f} and {held[last]:,.0f} MiB, "
    each = (held[last] - held[few]) / (last - few)
    return told + f"{each:.0f} MiB in all for one worker more in each of the two loaders."


def _of_sweeps(seen: Seen) -> str:
    alone = medians(seen, "alone", "wall_s")
    walls, held = medians(seen, "sweep", "wall_s"), medians(seen, "sweep", "launcher_mib")
    composed, dry_mib = medians(seen, "dry", "wall_s"), medians(seen, "dry", "launcher_mib")
    if len(walls) < 2 or len(composed) < 2 or not alone:
        return ""
    first, last = slopes(walls)
    alone_s = alone[1]
    ms = [1000 * slope for slope in slopes(composed)]
    return (
        f"Sweep size: the smallest run alone takes {alone_s:.1f} s, a sweep of {min(walls)} "
        f"{walls[min(walls)]:.1f} s; one job more takes {first:.1f} s at first and {last:.1f} s at "
        f"last, which is {last - alone_s:+.1f} s beside a run alone. To compose and check a job "
        f"takes {ms[0]:.0f} ms of that at first and {ms[1]:.0f} ms at last: {max(composed)} jobs "
        f"take {composed[max(composed)]:.0f} s before the first begins. The launcher's memory: "
        f"{held[min(held)]:,.0f} MiB with {min(held)}, {held[max(held)]:,.0f} MiB with "
        f"{max(held)}, {dry_mib[max(dry_mib)]:,.0f} MiB with {max(dry_mib)} that are only composed."
    )


def tables(seen: Seen, memory: str) -> tuple[list[list[str]], list[str]]:
    """The rows of the training runs, and as Markdown the tables of data sets and of sweeps."""
    rows = [["what varies", "", "samples/s", "a step, ms", "waiting", "start-up, s", "memory, MiB"]]
    for curve, title in TITLES.items():
        for x, point in _points(seen, curve):
            of_memory = point["host_mib" if curve not in ("batch", "image") else memory]
            rows.append(
                [
                    *(title, f"{x:,}", _spread(point["samples_per_s"])),
                    *(f"{median(point['step_ms']):,.1f}", f"{median(point['waiting']):.1%}"),
                    *(f"{median(point['startup_s']):.2f}", f"{median(of_memory):,.0f}"),
                ]
            )
    sets = [
        [
            "data set, samples",
            "making it, s",
            "an epoch's order, ms",
            f"waiting for {BATCHES} batches, ms",
        ]
    ]
    for x, point in _points(seen, "set"):
        in_ms = [[1000 * value for value in point[name]] for name in ("order_s", "waiting_s")]
        shown = [_spread(values, form) for values, form in zip(in_ms, (".2f", ".1f"), strict=True)]
        sets.append([f"{x:,}", _spread(point["made_s"], ".2f"), *shown])
    swept = [["programs", "jobs", "wall time, s", "a job, s", "memory of the launcher, MiB"]]
    for curve, title in {"alone": "a run", "sweep": "a sweep", "dry": "its composing"}.items():
        for x, point in _points(seen, curve):
            wall_s = median(point["wall_s"])
            # a run alone has torch in its process, the launcher has not
            held = "" if curve == "alone" else f"{median(point['launcher_mib']):,.0f}"
            swept.append([title, f"{x:,}", f"{wall_s:,.1f}", f"{wall_s / x:.2f}", held])
    return rows, ["\n".join(harness.table(sets)), "\n".join(harness.table(swept))]


def _points(seen: Seen, curve: str) -> list[tuple[int, Mapping[str, list[float]]]]:
    return sorted((x, point) for x, point in seen.get(curve, {}).items() if any(point.values()))


def _spread(values: list[float], form: str = ",.0f") -> str:
    return harness.spread(values, form) if len(values) > 1 else format(values[0], form)
