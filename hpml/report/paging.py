"""Tables of thousands of rows: as compact JSON, of which the page's script shows a part."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence

from markupsafe import Markup

from hpml.report.collect import clean
from hpml.report.tables import Cell, Table

MOST_ROWS = 500  # of a table that the page and the Markdown hold as it is
PAGE_ROWS = 100
MOST_TOLD = 100  # lines of one kind, as of runs that failed
DIGITS = 6  # of what a column is sorted by
# In a link or a command a control character stands for each longer part of what its row begins
# with; `clean` leaves none in any text.
BETWEEN_PARTS, FIRST_PART, MOST_PARTS = re.compile("[,=/]"), 14, 18
LONGER = 4


def is_paged(table: Table) -> bool:
    return len(table.rows) > MOST_ROWS


def rows_as_json(table: Table) -> Markup:
    """For a script element: of each column texts, commands, links and what it is sorted by.

    `true` stands for the text; one key is that of all rows. No text in it can end the element.
    """
    parts = [BETWEEN_PARTS.split(clean(row[0].text))[:MOST_PARTS] for row in table.rows]
    indices = range(len(table.headings))
    columns = [_column([row[index] for row in table.rows], parts) for index in indices]
    data = {"names": table.names, "size": PAGE_ROWS, "columns": columns}
    text = json.dumps(data, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _column(cells: Sequence[Cell], parts: Sequence[Sequence[str]]) -> dict[str, list[object]]:
    values: list[object] = [
        float(f"{cell.value:.{DIGITS}g}") if isinstance(cell.value, float | int) else cell.value
        for cell in cells
    ]
    keys = [bool(value) or None if isinstance(value, str) else value for value in values]
    column: dict[str, list[object]] = {
        "keys": keys[:1] if len({*map(repr, keys)}) == 1 else keys,
        "texts": [*_differences([clean(cell.text) for cell in cells])],
    }
    for name in ("link", "command"):
        texts = [getattr(cell, name) for cell in cells]
        if any(texts):
            column[f"{name}s"] = [*_differences(map(_by_parts, texts, parts))]
    return column


def _by_parts(text: str, parts: Sequence[str]) -> str:
    text = clean(text)
    for place, part in enumerate(parts):
        if len(part) >= LONGER:
            text = text.replace(part, chr(FIRST_PART + place))
    return text


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


def _differences(texts: Iterable[str]) -> Iterator[object]:
    """Each text by what it has in common with the one before: 0 for all of it.

    Else how many characters at its start, how many at its end, and what is between these; the text
    where that is no longer.
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
        coded = [start, end, text[start : len(text) - end]]
        yield coded if start + end > len(f"[{start},{end},]") else text
        before = text
