"""What more processes bring: speed-up and efficiency, and by what the rest is lost.

Weak scaling keeps the batch of each process, strong scaling the batch of all together; both train
the same samples in an epoch. So each is a line of settings that differ in the number of processes,
and perhaps in the batch size, and in nothing else.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpml.formatting import counted
from hpml.records.phases import PHASES, TRAIN
from hpml.records.run_record import EpochRecord
from hpml.report.collect import TIMED_FROM, Run, clean, mean
from hpml.report.ranking import Measure
from hpml.report.run.ranks import check_ranks, is_amount
from hpml.report.settings import Setting, number
from hpml.report.times_in_doubt import Span, span
from hpml.statistics import Estimate, estimate

BATCH = "data.batch_size"
# How many processes there are follows from these, the machine and the launcher.
PROCESSES = ("trainer.devices", "trainer.num_nodes")
EXCHANGE = "exchanging gradients"
PARTS = (*(phase.title for phase in PHASES), EXCHANGE)


@dataclass(frozen=True)
class Point:
    """So many processes: seconds of one of them for a sample of the job, by PARTS, and in all.

    `setting` has its runs; `span` is of an epoch's time.
    """

    processes: int
    setting: Setting
    sample: Estimate
    parts_s: Mapping[str, float]
    bytes_per_s: float | None
    span: Span

    @property
    def sample_s(self) -> float:
        return self.sample.mean

    @property
    def rate(self) -> float:
        """Samples a second, of all processes together."""
        return self.processes / self.sample_s


@dataclass(frozen=True)
class Line:
    """Points that differ in the number of processes, the fewest first."""

    name: str
    points: Sequence[Point]
    measure: Measure  # of time, of the epochs that count

    def speed_up(self, point: Point) -> float:
        return point.rate / self.points[0].rate

    def efficiency(self, point: Point) -> float:
        """What is left of the speed of each process; 1 is ideal."""
        return self.points[0].sample_s / point.sample_s

    def lost(self, point: Point) -> dict[str, float]:
        """By PARTS the share of a point's time that its first one does not need.

        They add up to 1 less the efficiency; what has become cheaper is negative.
        """
        first = self.points[0].parts_s
        return {p: (s - first.get(p, 0.0)) / point.sample_s for p, s in point.parts_s.items()}


def find_lines(settings: Sequence[Setting], measure: Measure) -> list[Line]:
    """The lines of two points and more; weak ones before strong ones.

    They are of the epochs that a measure of time in TIMED_FROM is of.
    """
    if len({_ranks(run) for setting in settings for run in setting.completed}) < 2:
        return []
    lines: dict[tuple[Any, ...], list[Point]] = {}
    for (processes, batch, others), setting in _by_processes(settings).items():
        if (point := _point(setting, processes, measure)) is None:
            continue
        kinds: list[tuple[str, float | None]] = [("weak", batch)]
        kinds += [("strong", batch * processes)] if batch else []
        for kind, size in kinds:
            lines.setdefault((kind, size, others), []).append(point)
    return [
        Line(_name(*key), sorted(of, key=lambda point: point.processes), measure)
        for key, of in sorted(lines.items(), key=lambda line: line[0][0] != "weak")
        if len({point.processes for point in of}) > 1
    ]


def in_words(lines: Sequence[Line]) -> Iterator[str]:
    """A sentence on the most processes of each line.

    Where it is open which of two times is the longer one, there is no speed-up to tell.
    """
    for line in lines:
        first, last = line.points[0], line.points[-1]
        faster, slower = sorted((first.span, last.span), key=lambda span: span.time_s)
        if slower.lost_s != 0 and not faster.is_below(slower):
            lost = ", ".join(f"{s.name} {s.in_words}" for s in (faster, slower) if s.lost_s != 0)
            yield f"{line.name}: no speed-up can be named, as {lost}"
        else:
            yield f"{line.name}: {_gain(line)}{_crowded(last)}{_certainty(first, last)}"


def _gain(line: Line) -> str:
    first, last = line.points[0], line.points[-1]
    lost = line.lost(last)
    worst = max(lost, key=lost.__getitem__)
    most = f"; most is lost by {worst}, {lost[worst]:.0%} of the time" if lost[worst] > 0 else ""
    faster = f"{line.speed_up(last):.3g} times as fast as {first.processes}"
    efficiency = f"an efficiency of {line.efficiency(last):.0%}"
    return f"{last.processes} processes are {faster}, {efficiency}{most}"


def _certainty(*points: Point) -> str:
    """Of how many runs points are, and which of them others disturbed."""
    counts = dict.fromkeys(point.sample.n for point in points)
    runs = f"means over {' and '.join(map(str, counts))} runs"
    names = [point.span.name for point in points if point.span.disturbed]
    disturbed = f"; disturbed by others: {', '.join(names)}" if names else ""
    return f"; {'one run each' if {*counts} == {1} else runs}{disturbed}"


def _by_processes(settings: Sequence[Setting]) -> dict[tuple[Any, ...], Setting]:
    """Completed runs by the number of processes, the batch of each, and all other values."""
    groups: dict[tuple[Any, ...], Setting] = {}
    for setting in settings:
        batch = number(setting, BATCH) or _only_batch(setting)
        kept = {key: value for key, value in setting.values.items() if key not in PROCESSES}
        others = tuple(value for key, value in kept.items() if key != BATCH)
        for run in setting.completed:
            if processes := _processes(run):
                values = {"processes": str(processes), **kept}
                new = Setting(values, [], setting.texts)
                groups.setdefault((processes, batch, others), new).runs.append(run)
    return groups


def _ranks(run: Run) -> int:
    places = run.record.environment.get("ranks")
    return len(places) if isinstance(places, list) else 0


def _processes(run: Run) -> int | None:
    """How many trained together; None where a record has several and does not tell how many."""
    return _ranks(run) or (None if any(run.columns.ranks) else 1)


def _name(kind: str, size: float | None, others: Sequence[str]) -> str:
    of = "a process" if kind == "weak" else "a step"
    batch = f", {size:g} samples {of}" if size else ""
    return clean(" ".join([f"{kind} scaling{batch}", *others]))


def _only_batch(setting: Setting) -> float | None:
    """The batch size of a setting that does not vary in it."""
    data = setting.runs[0].record.config.get("data")
    size = data.get("batch_size") if isinstance(data, dict) else None
    return size if isinstance(size, int) else None


def _point(setting: Setting, processes: int, measure: Measure) -> Point | None:
    """Means over the runs; None where none of them has the time."""
    every = [_of_a_sample(run, processes, TIMED_FROM[measure.name]) for run in setting.runs]
    known = [parts_s for parts_s in every if parts_s]
    sample, lost = estimate([parts_s.pop("") for parts_s in known]), span(setting, measure.name)
    if sample is None or lost is None:
        return None
    parts = {part: mean(parts_s[part] for parts_s in known) or 0.0 for part in PARTS}
    speed = mean(_talking(e, "bytes_per_s") for run in setting.runs for e in run.epochs)
    return Point(processes, setting, sample, parts, speed, lost)


def _of_a_sample(run: Run, processes: int, first: int) -> dict[str, float]:
    """Seconds of a process by PARTS, and in all by no name; nothing where they are not known."""
    epochs = [epoch for epoch in run.epochs if epoch.epoch >= first]
    for epoch in epochs:
        check_ranks(epoch)
    epoch_s, samples = mean(e.time["epoch_s"] for e in epochs), mean(e.samples for e in epochs)
    if not (epoch_s and samples):
        return {}
    parts = {phase.title: mean(e.time[phase.key] for e in epochs) or 0.0 for phase in PHASES}
    parts[EXCHANGE] = mean(_talking(epoch, "exposed_s") for epoch in epochs) or 0.0
    parts[TRAIN.title] -= parts[EXCHANGE]
    return {name: s * processes / samples for name, s in {"": epoch_s, **parts}.items()}


def _talking(epoch: EpochRecord, name: str) -> float | None:
    talk = epoch.ranks.get("communication") if isinstance(epoch.ranks, dict) else None
    value = talk.get(name) if isinstance(talk, dict) else None
    return float(value) if is_amount(value) else None


def _crowded(point: Point) -> str:
    """Said of processes that compute on more threads than there are cores."""
    machine = point.setting.runs[0].record.environment
    threads, cores = machine.get("threads"), machine.get("cpu_cores")
    each = threads.get("intra_op") if isinstance(threads, dict) else None
    if machine.get("device") != "cpu" or not (isinstance(each, int) and isinstance(cores, int)):
        return ""
    # of several hosts each has as many cores as the first
    places = machine.get("ranks")
    hosts = [p.get("host") for p in places if isinstance(p, dict)] if places else []
    here = max(Counter(map(str, hosts)).values(), default=point.processes)
    if here * each <= cores:
        return ""
    return f"; {here} processes of {counted(each, 'thread')} share {counted(cores, 'core')}"
