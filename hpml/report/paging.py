"""Tables of thousands of rows: as compact JSON, of which the page's script shows a part."""

import json
from collections.abc import Iterator, Sequence

from markupsafe import Markup

from hpml.report.tables import Cell, Table

MOST_ROWS = 500  # of a table that the page and the Markdown hold as it is
PAGE_ROWS = 100
MOST_TOLD = 100  # lines of one kind, as of runs that failed
DIGITS = 9  # of what a column is sorted by


def is_paged(table: Table) -> bool:
    return len(table.rows) > MOST_ROWS


def rows_as_json(table: Table) -> Markup:
    """For a script element: of each column texts, commands, links and what it is sorted by.

    `true` stands for the text. No text in it can end the element.
    """
    columns = [_column([row[index] for row in table.rows]) for index in range(len(table.headings))]
    data = {"names": table.names, "size": PAGE_ROWS, "columns": columns}
    text = json.dumps(data, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _column(cells: Sequence[Cell]) -> dict[str, list[object]]:
    keys: list[object] = [
        float(f"{cell.value:.{DIGITS}g}") if isinstance(cell.value, float | int) else cell.value
        for cell in cells
    ]
    column: dict[str, list[object]] = {
        "keys": [bool(key) or None if isinstance(key, str) else key for key in keys],
        "texts": [*_differences([cell.text for cell in cells])],
    }
    for name in ("link", "command"):
        texts = [getattr(cell, name) for cell in cells]
        if any(texts):
            column[f"{name}s"] = [*_differences(texts)]
    return column


def _alike(text: str, other: str) -> int:
    """How many characters two texts begin with together."""
    alike, most = 0, min(len(text), len(other))
    while alike < most:
        middle = (alike + most + 1) // 2
        if text[alike:middle] == other[alike:middle]:
            alike = middle
        else:
            most = middle - 1
    return alike


def _differences(texts: Sequence[str]) -> Iterator[object]:
    """Each text by what it has in common with the one before: 0 for all of it.

    Else how many characters at its start, how many at its end, and what is between these.
    """
    before = ""
    for text in texts:
        if text == before:
            yield 0
            continue
        start = end = 0
        if text.isascii() and before.isascii():  # a script counts other characters otherwise
            start = _alike(text, before)
            end = _alike(text[start:][::-1], before[start:][::-1])
        yield [start, end, text[start : len(text) - end]]
        before = text
