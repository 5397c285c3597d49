"""What a loader's samples cost, stage by stage: figures, a table, and what they say."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any

from hpml.formatting import counted, decimals, table
from hpml.loading.code_lines import CodeLine
from hpml.loading.stage_clock import COLLATING, READING
from hpml.statistics import Estimate

# A first pass is told where it takes so many times as long as the second one.
SLOWER = 1.25
# A worker is told whose batches surely take so many times as long as the mean of all.
UNEVEN = 1.25
# A stage of less is in no table.
LEAST_SHARE = 0.005
MOST_LINES = 3
# What takes no more than this part of its first time was kept from that.
KEPT = 0.2


@dataclass(frozen=True)
class Stage:
    """Seconds of a sample that go to one stage, without those of the stages within it."""

    name: str
    seconds: Estimate  # over the batches of the second pass
    first_s: float | None  # in the first pass over the same samples; None where it was not timed
    in_workers_s: float | None  # in the loader's workers, side by side; None where they were not
    line: str | None  # where most of it goes, as `photos.py:41`; None where no look found one


@dataclass(frozen=True)
class WorkerTimes:
    """What one worker did in the pass with workers."""

    batches: int  # after its first
    busy_s: float  # of those
    first_s: float | None  # of its first batch
    batch_s: Estimate | None  # of one of the others; None where there were none


@dataclass(frozen=True)
class LoaderStages:
    """A loader taken apart. Times are seconds; what is not known is None, and why is in `unknown`.

    `unit` is `sample`, or `batch` where the loader does not tell how many samples one has.
    """

    loader: str  # its class
    unit: str = "sample"
    counted: int = 0  # samples, or batches, that each pass had
    batches: int = 0
    stages: Sequence[Stage] = ()
    code: Sequence[CodeLine] = ()  # the dearest lines of the user's own
    unknown: dict[str, str] = field(default_factory=dict)  # why, by what is not known
    batch_samples: float | None = None  # in the mean
    first_s: float | None = None  # a sample in the first pass
    first_more: Estimate | None = None  # than in the second one, over the batches of both
    first_batch_s: float | None = None  # until the workers' first batch, their start included
    storage_bytes: int | None = None  # that the first pass read from storage
    workers: Sequence[WorkerTimes] = ()
    workers_end: bool = False  # with each epoch
    notes: Sequence[str] = ()

    @property
    def seconds(self) -> float | None:
        """Of a sample in all, one after the other in one process."""
        return sum(stage.seconds.mean for stage in self.stages) if self.stages else None

    @property
    def batch_s(self) -> float | None:
        """Of a batch in all."""
        return None if self.seconds is None else self.seconds * (self.batch_samples or 1)

    def share(self, stage: Stage) -> float:
        """Of a sample's time."""
        return stage.seconds.mean / self.seconds if self.seconds else 0.0

    @property
    def dearest(self) -> Stage | None:
        """The stage that costs most; None where nothing costs anything."""
        dearest = max(self.stages, key=lambda stage: stage.seconds.mean, default=None)
        return dearest if dearest is not None and dearest.seconds.mean > 0 else None

    @property
    def imbalance(self) -> float | None:
        """How many times as long the slowest worker's batches take as those of all."""
        slowest = self._slowest
        return None if slowest is None else slowest[0].mean / slowest[1]

    @property
    def _slowest(self) -> tuple[Estimate, float] | None:
        """Seconds of a batch of the slowest worker, and the mean of all workers."""
        every = [worker.batch_s for worker in self.workers if worker.batch_s is not None]
        mean = fmean([each.mean for each in every]) if len(every) > 1 else 0.0
        return (max(every, key=lambda each: each.mean), mean) if mean else None

    @property
    def rows(self) -> list[tuple[str, str, str]]:
        """Each stage, its milliseconds a sample, and its share; the smallest are left out."""
        shown = [stage for stage in self.stages if self.share(stage) >= LEAST_SHARE]
        return [
            (stage.name, _in_ms(stage.seconds), f"{self.share(stage):.0%}")
            for stage in shown or self.stages[:1]
        ]

    @property
    def cost(self) -> str | None:
        """`decoding (71% of a sample: photos.py:41)`, for advice; None where nothing is known."""
        if (stage := self.dearest) is None:
            return None
        line = f": {stage.line}" if stage.line else ""
        return f"{stage.name} ({self.share(stage):.0%} of a {self.unit}{line})"

    @property
    def sentences(self) -> list[str]:
        """What the figures say: the dearest stage and line, the first pass, and the workers."""
        sentences = []
        if (stage := self.dearest) is not None:
            line = f": {stage.line}" if stage.line else ""
            what = f"{stage.name} takes {self.share(stage):.0%} of a {self.unit}{line}"
            sentences.append(what)
        sentences += self._about_lines() + self._about_the_first_pass() + self._about_workers()
        unknown = [f"{what} ({why})" for what, why in self.unknown.items()]
        return [*sentences, *self.notes, *([f"not known: {'; '.join(unknown)}"] if unknown else [])]

    def _about_lines(self) -> list[str]:
        lines = [f"{line.place} ({line.share:.0%})" for line in self.code[:MOST_LINES]]
        return [f"the lines that cost most: {', '.join(lines)}"] if lines else []

    def _about_the_first_pass(self) -> list[str]:
        """Where it took longer, by more than the batches differ by."""
        whole, more = self.seconds, self.first_more
        if not whole or more is None or more.half_width is None or self.first_s is None:
            return []
        if more.mean < max(more.half_width, (SLOWER - 1) * whole):
            return []
        grown = max(self.stages, key=lambda stage: (stage.first_s or 0.0) - stage.seconds.mean)
        each = f"{_ms(self.first_s)} instead of {_ms(self.first_s - more.mean)} ms"
        sentence = f"the first pass over the same samples took {each} a {self.unit}"
        sentences = [f"{sentence}, most of it for {grown.name}"]
        is_kept = grown.seconds.mean < KEPT * (grown.first_s or 0.0)
        if self.workers_end and is_kept and grown.name not in (READING, COLLATING):
            sentences.append(
                "what the data set keeps from its first pass is lost with the workers, which end "
                "with each epoch: persistent_workers=True keeps them"
            )
        return sentences

    def _about_workers(self) -> list[str]:
        sentences = []
        if (first_s := self.first_batch_s) is not None:
            workers = counted(len(self.workers), "worker")
            sentences.append(f"the first batch came after {first_s:.2g} s, with {workers} to start")
        slowest, mean_s = self._slowest or (None, 0.0)
        if slowest is None or slowest.half_width is None:
            return sentences
        if slowest.mean - slowest.half_width >= UNEVEN * mean_s:
            busy = ", ".join(f"{worker.busy_s:.2g}" for worker in self.workers)
            sentences.append(
                f"the workers are uneven: one's batches take {slowest.mean / mean_s:.1f} times as "
                f"long as the mean ({busy} s busy), and the others' wait for them to come in order"
            )
        return sentences

    @property
    def lines(self) -> list[str]:
        """For a terminal: the table, and the sentences."""
        if not self.stages:
            return self.sentences
        heading = ("the loader taken apart", f"ms a {self.unit}", "share")
        whole = ("in all", _ms(self.seconds or 0.0), "100%")
        passed = counted(self.counted, self.unit)
        return [
            *table([heading, *self.rows, whole], "<>>"),
            f"  one after the other in one process; second pass over {passed}",
            *self.sentences,
        ]

    def as_dict(self) -> dict[str, Any]:
        return {
            **{"loader": self.loader, "unit": self.unit, "counted": self.counted},
            **{"batches": self.batches, "batch_samples": self.batch_samples},
            "seconds": self.seconds,
            "stages": [asdict(stage) | {"share": self.share(stage)} for stage in self.stages],
            "code": [asdict(line) | {"place": line.place} for line in self.code],
            "dearest": dearest.name if (dearest := self.dearest) else None,
            **{"first_s": self.first_s, "storage_bytes": self.storage_bytes},
            "first_more_s": asdict(self.first_more) if self.first_more else None,
            **{"first_batch_s": self.first_batch_s, "imbalance": self.imbalance},
            "workers": [asdict(worker) for worker in self.workers],
            **{"unknown": self.unknown, "rows": self.rows, "sentences": self.sentences},
        }


def _in_ms(estimate: Estimate) -> str:
    ms = estimate.in_units(0.001)
    half = "" if ms.half_width is None else f" ± {ms.half_width:.{_places(ms.mean)}f}"
    return f"{ms.mean:.{_places(ms.mean)}f}{half}"


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.{_places(1000 * seconds)}f}"


def _places(ms: float) -> int:
    return min(4, decimals(ms))
