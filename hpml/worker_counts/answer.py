"""The answer of a search for workers, in words and as Python hands it back."""

from collections.abc import Iterator, Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any

from hpml.formatting import counted, in_s, table
from hpml.statistics import Estimate
from hpml.worker_counts.search import EPOCH, FIGURES, LOADING, Found, seconds_of

# An interval this wide, as a part of the mean, tells more about the machine than about workers.
NOISY = 0.25
CAPTION = "seconds of an epoch, without validation"
HEADINGS = ("loading alone", "end to end")
TIED = {LOADING: "tied_loading", EPOCH: "tied"}  # of a search's content


def lines(found: Found, heading: str) -> list[str]:
    """A table; an asterisk marks the fastest, and what is tied with it."""
    told = [f"  {note}" for note in found.notes]
    if found.floor_s is not None:
        floor = in_s(Estimate(found.floor_s, None, 1))
        told.append(f"  two epochs of one setting differ by ± {floor}, as means over the rounds")
    marks = "; * fastest, or tied with it" if found.rounds > 1 else "; one round"
    shown = [
        [cell if "*" in cell else f"{cell}  " for cell in row] for row in rows(found.as_dict())
    ]
    return [*table([[heading, *HEADINGS], *shown], ">>>"), f"  {CAPTION}{marks}", *told]


def rows(content: Mapping[str, Any]) -> list[list[str]]:
    """Of each setting the seconds of an epoch: loading alone, and end to end."""
    tied = {figure: set(map(str, content[key])) for figure, key in TIED.items()}
    return [
        [
            setting,
            *(in_s(Estimate(**times[f])) + "*" * (setting in tied[f]) for f in FIGURES),
        ]
        for setting, times in content["settings"].items()
    ]


def recommended(found: Found) -> int:
    """The fewest workers that are tied with the fastest, end to end."""
    return int(min(found.tied))


def sentences(found: Found, now: int, key: str) -> list[str]:
    """Both answers, and what the recommended count saves beside the one that is set `now`."""
    best, fewest, fastest = (
        found.best_loading,
        recommended(found),
        found.fastest(EPOCH, found.settings),
    )
    loading_s, epoch_s = found.of(LOADING, best), found.of(EPOCH, fewest)
    as_fast = [count for count in found.tied_loading if count != best]
    tied = [count for count in found.tied if count not in (fewest, fastest)]
    enough = "fastest" if fewest == fastest else f"enough: tied with {fastest}"
    told = [
        f"by loading alone {_workers(best)} fastest, {in_s(loading_s)} an epoch"
        f"{_tied_with(as_fast)}",
        f"end to end {_workers(fewest)} {enough}, {in_s(epoch_s)} an epoch of training"
        f"{_tied_with(tied)}",
    ]
    noise = (epoch_s.half_width or 0.0) / epoch_s.mean
    if noise > NOISY:
        told.append(
            f"that is known to ± {noise:.0%} only: other work on this machine? Search again "
            "when it is quiet"
        )
        if found.rounds > 1 and key.startswith("data."):
            rounds = ceil(found.rounds * (noise / NOISY) ** 2)
            told[-1] += f", or with workers.rounds={rounds}"
    if found.rounds == 1:
        told.append("one round is too few to tell a difference from chance")
    elif not found.is_answered:
        told.append("more workers may still be faster by more than a tenth: nothing is proven")
    if now != fewest and now in found.settings:
        gain = found.saved((EPOCH, now), (EPOCH, fewest), seconds_of)
        share = gain.mean / found.of(EPOCH, now).mean
        sure = gain.half_width is not None and gain.mean > gain.half_width
        doubt = "" if sure else ", which may be chance"
        saves = "saves" if gain.mean >= 0 else "costs"
        size = f"{in_s(abs(gain))} an epoch ({abs(share):.0%})"
        told.append(f"beside {key}={now} that {saves} {size}{doubt}")
    return told


def content_of(found: Found, now: int, key: str, override: str) -> dict[str, Any]:
    """What `workers.json` holds of a search, beside one `now` of the `key`."""
    answers = {"recommended": recommended(found), "override": override}
    return answers | found.as_dict() | {"sentences": sentences(found, now, key)}


def _workers(count: int) -> str:
    return f"{counted(count, 'worker')} {'is' if count == 1 else 'are'}"


def _tied_with(others: Sequence[int]) -> str:
    return f"; tied with it: {', '.join(map(str, others))}" if others else ""


class WorkersAnswer:
    """How many workers to take.

    `found` is all that `workers.json` holds, in `directory` where it was kept.
    """

    def __init__(self, directory: Path | None, found: dict[str, Any]) -> None:
        self.directory = directory
        self.found = found

    @property
    def recommended(self) -> int:
        """The fewest workers that are tied with the fastest end to end."""
        return int(self.found["recommended"])

    @property
    def best_loading(self) -> int:
        """With how many the loader alone is fastest."""
        return int(self.found["best_loading"])

    @property
    def use(self) -> str:
        """What to type, or to write as an argument of the DataLoader."""
        return f"use: {self.found['override']}"

    @property
    def sentences(self) -> list[str]:
        return list(self.found["sentences"])

    @property
    def rows(self) -> list[list[str]]:
        """Of each number of workers the seconds of an epoch: loading alone, and end to end."""
        return rows(self.found)

    def __repr__(self) -> str:
        return "\n".join([*self.sentences, self.use])

    def _repr_html_(self) -> str:
        from hpml.report.page import cell  # and matplotlib
        from hpml.report.tables import Cell, Table

        values = {
            "sentences": [*self.sentences, self.use],
            "table": Table(["workers", *HEADINGS], [list(map(Cell, row)) for row in self.rows], 0),
            "note": f"{CAPTION}; * fastest, or tied with it",
        }
        if self.directory is not None:
            values["path"] = str(self.directory)
        return cell(values, self._pictures())

    def _pictures(self) -> Iterator[Any]:
        from hpml.worker_counts.picture import picture

        yield picture(self.found)
