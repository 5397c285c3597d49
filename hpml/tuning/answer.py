"""What tuning has found: what to change, by how much that helps, and how well it is known."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from hpml.diagnosis.wording import Diagnosis
from hpml.formatting import counted, in_s, table
from hpml.statistics import AnytimeEstimate, Estimate
from hpml.system.files import disk_errors_in_one_line, write_json
from hpml.trials.pace import STEPS_SHOWN
from hpml.trials.sameness import Sameness
from hpml.tuning import without_gain
from hpml.tuning.caveats import proven, sentences_of
from hpml.tuning.change import DDP, LOADER, MODULE, NONE, SCRIPT, TRAINER, Change, in_order, names
from hpml.tuning.epoch_validation import EpochValidation
from hpml.tuning.racing import in_times
from hpml.tuning.search import Search

# Where lines go: what is written around them, and before the rest.
PLACES = {
    SCRIPT: "at the top of the script",
    MODULE: "in the module's __init__, once the parts are there",
    LOADER: "arguments of the DataLoader",
    TRAINER: "arguments of the Trainer, and of its callbacks",
    DDP: "arguments of DDPStrategy(…), the Trainer's strategy",
}


@dataclass(eq=False, repr=False)
class Tuning:
    """What was tried of a job, and what is recommended; `print` shows it."""

    diagnosis: Diagnosis
    search: Search
    skipped: Mapping[Change, str]  # what was not raced, and why
    same: Mapping[Change, Sameness]  # what the job computes with each change
    together: Sameness | None  # and with all that are recommended
    notes: list[str]
    epoch_steps: int | None
    is_ours: bool  # a configuration of ours, whose changes are overrides
    checks: EpochValidation = field(default_factory=EpochValidation)
    # what it is, and where it ran, for who resumes this
    job: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return "\n".join(self.lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from hpml.tuning.page import html  # and matplotlib

        return html(self.as_dict())

    @property
    def gain(self) -> AnytimeEstimate | None:
        """The logarithm of how many times as fast; None where nothing is recommended."""
        gain = self.search.gain
        return gain if gain is not None and gain.low > 0 else None

    @property
    def changes(self) -> list[Change]:
        """What is recommended: proven to help in rounds that nothing was chosen by."""
        return in_order(self.search.chosen) if self.gain is not None else []

    @property
    def before_s(self) -> float:
        """Seconds of an epoch, or of STEPS_SHOWN steps, as it is: a mean."""
        proof = self.search.proof
        if NONE in proof.measured.by_name:
            return proof.measured.estimate(NONE, proof.quantity).mean
        return self.diagnosis.epoch_s("as_it_is").mean

    @property
    def after_s(self) -> float:
        """The same with all changes."""
        return self.before_s * math.exp(-self.gain.mean) if self.gain else self.before_s

    @property
    def once_s(self) -> tuple[float, float]:
        """Of an epoch before and after, what comes once in it; 0 where that was not timed."""
        proof = self.search.proof
        if proof.left_out:
            return 0.0, 0.0
        every = [proof.measured.by_name.get(of, {}) for of in (NONE, self.search.chosen)]
        before, after = (
            fmean(timed.once_s for timed in rounds.values()) if rounds else 0.0 for rounds in every
        )
        return max(0.0, before), max(0.0, after)

    @property
    def sentence(self) -> str:
        what = "epoch" if self.epoch_steps else f"{STEPS_SHOWN:,} steps"
        gain, before = self.gain, in_s(Estimate(self.before_s, None, 1))
        if gain is None:
            return f"{without_gain.verdict(self)}: {what} {before}{without_gain.instead(self)}"
        after = in_s(Estimate(self.after_s, None, 1))
        times, least = math.exp(gain.mean), math.exp(gain.low)
        as_fast = f"{times:.2f} times as fast, proven ≥ {least:.2f}"
        many = counted(len(self.changes), "change")
        return f"{what} {before.removesuffix(' s')} → {after}, {as_fast}; {many}"

    @property
    def rows(self) -> list[tuple[str, str, str, str, str]]:
        """Of each change: its name, what it brings alone, in company, the same?, its price."""
        rows = []
        chosen = set(self.changes)
        for change in sorted(self.search.alone, key=lambda c: -self.search.alone[c].mean):
            company = self.search.company(change) if chosen > {change} else None
            if change in self.search.taken_back:
                company = self.search.taken_back[change]
            mark = "* " if change in chosen else ""
            same = self.same[change].in_words if change in self.same else ""
            if change.redraws:
                same = "other draws of the same kind"
            alone = in_times(self.search.alone[change])
            rows.append((mark + change.name, alone, in_times(company), same, change.price))
        return rows

    @property
    def way(self) -> list[dict[str, Any]]:
        """What was chosen in turn, and seconds of an epoch then, from the search's rounds.

        These are of what they had: what comes once in it besides stays as it is.
        """
        way: dict[Any, dict[str, Any]] = {}
        left, before = self.before_s, NONE
        stays_s, checks = self.once_s[0], self.checks
        if checks.proving is not None and checks.timed is None:  # only the last rounds had it
            stays_s += checks.seconds
        for change, after in self.search.steps if self.changes else ():
            gain = self.search.gain_of(before, after)
            left = stays_s + (left - stays_s) * (math.exp(-gain.mean) if gain else 1.0)
            if change in self.search.chosen:  # two may be chosen at once
                name = f"{way[after]['change']} + {change.name}" if after in way else change.name
                way[after] = {"change": name, "epoch_s": left}
            before = after
        return list(way.values())

    @property
    def processes(self) -> int:
        """That train together."""
        return max(1, len(self.diagnosis.places))

    @property
    def hosts(self) -> list[str]:
        """On which they run, each once; none for one process."""
        return list(dict.fromkeys(place["host"] for place in self.diagnosis.places))

    @property
    def snippet(self) -> list[str]:
        """Overrides to type, or lines to write."""
        if self.is_ours:
            words = [word for change in self.changes for word in change.overrides]
            return [" ".join(words)] if words else []
        lines = []
        for place, title in PLACES.items():
            own = [line for c in self.changes for where, line in c.lines if where == place]
            lines += [f"# {title}", *own] if own else []
        return lines

    @property
    def sentences(self) -> list[str]:
        """What qualifies the answer."""
        return sentences_of(self)

    @property
    def caption(self) -> str:
        """What the columns of figures are."""
        steps = f"an epoch's steps {'without' if self.checks.timed is None else 'with'} validation"
        return f"how many times as fast {steps} are, with an interval that holds whenever one looks"

    @property
    def lines(self) -> list[str]:
        heading = ("", "alone", "in company", "first losses", "price")
        shown = [heading, *self.rows]
        tried = table(shown, "<>><<") if self.rows else []
        caption = f"  {self.caption}; * recommended"
        return [
            *tried,
            *([caption] if tried else []),
            *(self.diagnosis.loader.lines if self.diagnosis.loader else ()),
            *self.sentences,
            self.sentence,
            *(f"  {line}" for line in self.snippet),
        ]

    def write(self, path: str | Path) -> None:
        """Keeps it as JSON: what `resume` takes. Raises UserError where it cannot be written."""
        file = Path(path).expanduser()
        with disk_errors_in_one_line(file):
            write_json(file, self.as_dict())

    def as_dict(self) -> dict[str, Any]:
        return {
            "environment": dict(self.environment),
            "job": dict(self.job),
            "processes": self.processes,
            "hosts": self.hosts,
            "sentence": self.sentence,
            "before_s": self.before_s,
            "after_s": self.after_s,
            "once_s": self.once_s,
            "epoch_steps": self.epoch_steps,
            "gain": self.gain and asdict(self.gain),
            "changes": [change.name for change in self.changes],
            "snippet": self.snippet,
            "way": self.way,
            "rows": self.rows,
            "sentences": self.sentences,
            "same": {c.name: asdict(same) for c, same in self.same.items()},
            "validation": self.checks.seen and asdict(self.checks.seen),
            "validation_is_timed": self.checks.timed is not None,
            "caption": self.caption,
            "skipped": {c.name: why for c, why in self.skipped.items()},
            "alone": {c.name: asdict(gain) for c, gain in self.search.alone.items()},
            "proven": proven(self.search.proof),
            "rounds": {
                "search": _rounds(self.search.measured),
                "left_out": sorted(self.search.measured.left_out),
                "proof": _rounds(self.search.proof.measured),
            },
            "diagnosis": self.diagnosis.as_dict(),
        }


def _rounds(measured: Any) -> dict[str, dict[int, Any]]:
    return {
        names(changes): {number: asdict(each) for number, each in rounds.items()}
        for changes, rounds in measured.by_name.items()
    }
