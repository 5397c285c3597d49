"""What more processes bring: speed-up and efficiency, and by what the rest is lost.

Weak scaling keeps the batch of each process, strong scaling the batch of all together; both train
the same samples in an epoch. So each is a line of settings that differ in the number of processes,
and perhaps in the batch size, and in nothing else.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpml.formatting import counted
from hpml.records.phases import PHASES
from hpml.records.run_record import EpochRecord
from hpml.report.collect import Run, clean, mean
from hpml.report.run.ranks import check_ranks
from hpml.report.settings import Setting, number

PROCESSES, BATCH = "trainer.devices", "data.batch_size"
EXCHANGE = "exchanging gradients"
PARTS = (*(phase.title for phase in PHASES), EXCHANGE)
_TRAIN = next(phase.title for phase in PHASES if phase.cause == "compute")


@dataclass(frozen=True)
class Point:
    """So many processes: seconds of one of them for a sample of the job, by PARTS, and in all."""

    processes: int
    sample_s: float
    parts_s: Mapping[str, float]
    bytes_per_s: float | None
    crowded: str  # that its processes share cores, in words

    @property
    def rate(self) -> float:
        """Samples a second, of all processes together."""
        return self.processes / self.sample_s


@dataclass(frozen=True)
class Line:
    """Points that differ in the number of processes, the fewest first."""

    name: str
    points: Sequence[Point]

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


def find_lines(settings: Sequence[Setting]) -> list[Line]:
    """The lines of two points and more; weak ones before strong ones."""
    points = [(each, point) for each in settings if (point := _point(each)) is not None]
    lines: dict[tuple[Any, ...], list[Point]] = {}
    for setting, point in points:
        batch = number(setting, BATCH) or _only_batch(setting)
        others = tuple(v for key, v in setting.values.items() if key not in (PROCESSES, BATCH))
        kinds: list[tuple[str, float | None]] = [("weak", batch)]
        kinds += [("strong", batch * point.processes)] if batch else []
        for kind, size in kinds:
            lines.setdefault((kind, size, others), []).append(point)
    return [
        Line(_name(*key), sorted(of, key=lambda point: point.processes))
        for key, of in sorted(lines.items(), key=lambda line: line[0][0] != "weak")
        if len({point.processes for point in of}) > 1
    ]


def in_words(lines: Sequence[Line]) -> Iterator[str]:
    """A sentence on the most processes of each line."""
    for line in lines:
        first, last = line.points[0], line.points[-1]
        lost = line.lost(last)
        worst = max(lost, key=lost.__getitem__)
        most = (
            f"; most is lost by {worst}, {lost[worst]:.0%} of the time" if lost[worst] > 0 else ""
        )
        faster = f"{line.speed_up(last):.3g} times as fast as {first.processes}"
        yield (
            f"{line.name}: {last.processes} processes are {faster}, an efficiency of "
            f"{line.efficiency(last):.0%}{most}{last.crowded}"
        )


def _name(kind: str, size: float | None, others: Sequence[str]) -> str:
    of = "a process" if kind == "weak" else "a step"
    batch = f", {size:g} samples {of}" if size else ""
    return clean(" ".join([f"{kind} scaling{batch}", *others]))


def _only_batch(setting: Setting) -> float | None:
    """The batch size of a setting that does not vary in it."""
    data = setting.runs[0].record.config.get("data")
    size = data.get("batch_size") if isinstance(data, dict) else None
    return size if isinstance(size, int) else None


def _point(setting: Setting) -> Point | None:
    processes = number(setting, PROCESSES)
    epochs = [epoch for run in setting.completed for epoch in _steady(run)]
    for epoch in epochs:
        check_ranks(epoch)
    epoch_s, samples = mean(e.time["epoch_s"] for e in epochs), mean(e.samples for e in epochs)
    if not (processes and epoch_s and samples):
        return None
    a_sample = processes / samples
    parts = {phase.title: mean(e.time[phase.key] for e in epochs) or 0.0 for phase in PHASES}
    parts[EXCHANGE] = mean(_talking(epoch, "exposed_s") for epoch in epochs) or 0.0
    parts[_TRAIN] -= parts[EXCHANGE]
    speed = mean(_talking(epoch, "bytes_per_s") for epoch in epochs)
    crowded = _crowded(setting.completed[0], int(processes))
    parts_s = {name: a_sample * s for name, s in parts.items()}
    return Point(int(processes), a_sample * epoch_s, parts_s, speed, crowded)


def _steady(run: Run) -> list[EpochRecord]:
    """The epochs after the first, which pays for what happens only once; all, where it is alone."""
    return [epoch for epoch in run.epochs if epoch.epoch > 0] or run.epochs


def _talking(epoch: EpochRecord, name: str) -> float | None:
    value = ((epoch.ranks or {}).get("communication") or {}).get(name)
    return float(value) if isinstance(value, int | float) else None


def _crowded(run: Run, processes: int) -> str:
    """Said of processes that compute on more threads than there are cores."""
    machine = run.record.environment
    threads, cores = machine.get("threads"), machine.get("cpu_cores")
    each = threads.get("intra_op") if isinstance(threads, dict) else None
    if machine.get("device") != "cpu" or not (isinstance(each, int) and isinstance(cores, int)):
        return ""
    if processes * each <= cores:
        return ""
    return f"; {processes} processes of {counted(each, 'thread')} share {counted(cores, 'core')}"
