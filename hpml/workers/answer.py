"""The answer of a search for workers as Python hands it back, read from `workers.json`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hpml.formatting import in_s
from hpml.statistics import Estimate


class WorkersAnswer:
    """How many workers to take; `found` is all that `workers.json` in `directory` holds."""

    def __init__(self, directory: Path, found: dict[str, Any]) -> None:
        self.directory = directory
        self.found = found

    @property
    def recommended(self) -> int:
        """The fewest workers that are tied with the fastest end to end: `data.num_workers`."""
        return int(self.found["recommended"])

    @property
    def best_loading(self) -> int:
        """With how many the loader alone is fastest."""
        return int(self.found["best_loading"])

    @property
    def sentences(self) -> list[str]:
        return list(self.found["sentences"])

    @property
    def rows(self) -> list[list[str]]:
        """Of each number of workers the seconds of an epoch: loading alone, and end to end."""
        rows = []
        for count, times in self.found["settings"].items():
            marked = [(times["loading_s"], "tied_loading"), (times["epoch_s"], "tied")]
            texts = (
                in_s(Estimate(**estimate)) + "*" * (int(count) in self.found[tied])
                for estimate, tied in marked
            )
            rows.append([count, *texts])
        return rows

    def __repr__(self) -> str:
        return "\n".join([*self.sentences, f"use: data.num_workers={self.recommended}"])

    def _repr_html_(self) -> str:
        from hpml.report.page import cell  # and matplotlib
        from hpml.report.tables import Cell, Table

        rows = [[Cell(text) for text in row] for row in self.rows]
        values = {
            "sentences": [*self.sentences, f"use: data.num_workers={self.recommended}"],
            "table": Table(["workers", "loading alone", "end to end"], rows, 0),
            "note": "seconds of an epoch, without validation; * fastest, or tied with it",
            "path": str(self.directory),
        }
        return cell(values, self._pictures())

    def _pictures(self) -> Iterator[Any]:
        from hpml.workers.picture import picture

        yield picture(self.found)
