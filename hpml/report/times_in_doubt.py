"""What the times of runs lost to others, and which order of their settings that leaves open."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import fmean

from hpml.formatting import counted, decimals
from hpml.report.collect import TIMED_FROM, Run, clean, in_words
from hpml.report.settings import Setting
from hpml.system.interference import Interference

# What others do to caches, memory and clocks is in no count: this part of a disturbed time.
UNSEEN_SHARE = 0.1
MOST_NAMED = 5


@dataclass(frozen=True)
class Span:
    """Where the mean time of an epoch of a setting may lie without what others took, in seconds.

    `lost_s` is what they took at most; None where nobody knows, as of a GPU that was slowed.
    """

    name: str
    time_s: float
    lost_s: float | None
    disturbed: bool

    @property
    def lowest_s(self) -> float:
        if self.lost_s is None:
            return 0.0
        unseen_s = UNSEEN_SHARE * self.time_s if self.disturbed else 0.0
        return max(0.0, self.time_s - self.lost_s - unseen_s)

    def is_below(self, other: "Span") -> bool:
        """Whether it is the shorter one, whatever others took from both."""
        return self.time_s < other.lowest_s

    @property
    def in_words(self) -> str:
        """`lost up to 53.3 s of 63.1 s an epoch to others`."""
        lost = "an unknown part"
        if self.lost_s is not None:
            lost = f"up to {self.lost_s:.{decimals(self.lost_s)}f} s"
        return f"lost {lost} of {self.time_s:.{decimals(self.time_s)}f} s an epoch to others"


def is_disturbed(run: Run, measure: str = "epoch_s") -> bool:
    seen = run.interference[measure]
    return seen is not None and seen.disturbed


def span(setting: Setting, measure: str) -> Span | None:
    """Of one of the times in TIMED_FROM; None where no completed run has it.

    Where nobody looked, nothing counts as lost.
    """
    runs = [run for run in setting.completed if run.figure(measure) is not None]
    if not runs:
        return None
    lost = [_lost_s(run.seen_from(TIMED_FROM[measure])) for run in runs]
    known = [value for value in lost if value is not None]
    return Span(
        setting.name,
        fmean(setting.all_of(measure)),
        fmean(known) if len(known) == len(runs) else None,
        any(is_disturbed(run, measure) for run in runs),
    )


def is_faster(one: Setting, other: Setting, measure: str) -> bool:
    """Whether one of its times is the shorter one, whatever others took from both."""
    spans = span(one, measure), span(other, measure)
    return spans[0] is not None and spans[1] is not None and spans[0].is_below(spans[1])


def in_doubt(spans: Sequence[Span | None]) -> list[bool]:
    """Which of some settings were disturbed beyond what separates them from another one."""

    def is_apart(one: Span, other: Span) -> bool:
        return one.is_below(other) or other.is_below(one)

    known = [span for span in spans if span is not None]
    return [
        one is not None
        and one.disturbed
        and not all(is_apart(one, other) for other in known if other is not one)
        for one in spans
    ]


def sentences(runs: Sequence[Run]) -> list[str]:
    """Which runs were disturbed, and by what: the worst first."""
    worst = []
    for run in runs:
        seen = [seen for seen in run.interference.values() if seen and seen.disturbed]
        if seen:
            worst.append((seen[0].share, f"run {run.name}: {clean(seen[0].in_words())}"))
    worst.sort(key=lambda pair: -pair[0])
    lines = [line for _, line in worst[:MOST_NAMED]]
    if (more := len(worst) - MOST_NAMED) > 0:
        lines.append(f"{counted(more, 'more run')}, marked ! in the table")
    return lines


def company(runs: Sequence[Run]) -> list[str]:
    """Which runs did not have their machine to themselves: by the launcher, or by their times.

    That disturbs no time by itself: each may have had cores, or a GPU, of its own.
    """
    of_sweep: dict[str, list[Run]] = {}
    for run in runs:
        of_sweep.setdefault(_at_once(run), []).append(run)
    alone = of_sweep.pop("1", [])
    lines = []
    for at_once, these in of_sweep.items():
        apart = all(str(run.record.environment.get("device")).startswith("cuda") for run in these)
        own = ", each on a GPU of its own" * apart
        lines.append(f"{counted(len(these), 'run')} of a sweep of {at_once} jobs at once{own}")
    at_same_time = _overlapping(runs)
    if shared := [run.name for run in alone if id(run) in at_same_time]:
        names = ", ".join(shared[:MOST_NAMED]) + ", …" * (len(shared) > MOST_NAMED)
        count = counted(len(shared), "run")
        lines.append(f"{count} at the same time as another one on the machine: {names}")
    return lines


def in_company(runs: Sequence[Run]) -> set[int]:
    """The ids of the runs that `company` counts."""
    return _overlapping(runs) | {id(run) for run in runs if _at_once(run) != "1"}


def _lost_s(seen: Sequence[Interference]) -> float | None:
    """The mean of some epochs; None where one does not tell."""
    if any(epoch.slowed_gpus for epoch in seen):
        return None
    return fmean(epoch.lost for epoch in seen) if seen else 0.0


def _at_once(run: Run) -> str:
    """How many jobs of its sweep had the machine, as its launcher says."""
    return in_words(run.record.environment.get("jobs_at_once", 1))


def _overlapping(runs: Sequence[Run]) -> set[int]:
    """The ids of runs of one host that began before another one of these had ended."""
    of_host: dict[str, list[tuple[float, float, int]]] = {}
    for run in runs:
        host, wall_s = run.record.environment.get("host"), run.record.wall_s
        if host and wall_s:
            # what an earlier process did was at other times
            here = [{"at": run.record.started_at}, *run.record.resumed][-1]
            begun = datetime.fromisoformat(here["at"]).timestamp()
            ended = begun + wall_s - (here.get("earlier_s") or 0.0)
            of_host.setdefault(in_words(host), []).append((begun, ended, id(run)))
    shared: set[int] = set()
    for times in of_host.values():
        until, last = 0.0, -1
        for begun, ended, run_id in sorted(times):
            if begun + 1 < until:  # a beginning is known to a second
                shared |= {run_id, last}
            if ended > until:
                until, last = ended, run_id
    return shared
