"""Tables of more rows than a page shows at once."""

import json
from pathlib import Path
from typing import Any

from helpers.pages import EVIL

from hpml.report.page import render
from hpml.report.paging import MOST_ROWS, PAGE_ROWS, is_paged, rows_as_json
from hpml.report.tables import Cell, Table

TEXTS = [
    "",
    "a",
    "a",
    "abc-def",
    "abd-def",
    "ö-def",
    "abcabc",
    "abc",
    EVIL,
    "</script>",
    "\U0001f600b",
    "b",
]


def expanded(parts: list[Any]) -> list[str]:
    """As the page's script does it."""
    text, texts = "", []
    for part in parts:
        if part != 0:
            text = text[: part[0]] + part[2] + text[len(text) - part[1] :]
        texts.append(text)
    return texts


def table(count: int) -> Table:
    rows = [
        [
            Cell(f"{TEXTS[n % len(TEXTS)]}{n // 3}", f"{n}", command=TEXTS[n % 7]),
            Cell(f"{n}", None if n % 5 == 0 else n / 7),
            Cell("log", "x", link=f"../{n}/train.log"),
        ]
        for n in range(count)
    ]
    return Table(["run", "epoch s", "log"], rows)


def test_all_rows_are_in_the_page_as_text(tmp_path: Path) -> None:
    """Each text, command and link comes back whole; none of them can end the element."""
    whole = table(300)
    text = str(rows_as_json(whole))
    assert not {"<", ">", "&"} & {*text}
    data = json.loads(text)
    for index, column in enumerate(data["columns"]):
        cells = [row[index] for row in whole.rows]
        assert expanded(column["texts"]) == [cell.text for cell in cells]
        for name in ("link", "command"):
            texts = [getattr(cell, name) for cell in cells]
            assert expanded(column.get(f"{name}s", [0] * 300)) == texts
    assert data["columns"][0]["keys"] == [True] * 300
    assert data["columns"][1]["keys"][:3] == [None, 0.142857143, 0.285714286]


def test_a_table_is_paged_from_so_many_rows_on() -> None:
    """Not before: a page of few runs prints whole."""
    assert [is_paged(table(count)) for count in (MOST_ROWS, MOST_ROWS + 1)] == [False, True]


def test_the_page_begins_with_some_rows_and_markdown_says_where_the_others_are(
    tmp_path: Path,
) -> None:
    """Without its script it shows the first rows; all of them stand in a script's data."""
    template = '{% from "macros.html.j2" import show %}{{ show(rows, "caption") }}'
    (tmp_path / "t.html.j2").write_text(template)
    (tmp_path / "t.md.j2").write_text(template.replace("html.j2", "md.j2"))
    for count in (MOST_ROWS, 2000):
        names = ("report.html", "report.md")
        paths = render("t", {"rows": table(count)}, tmp_path, tmp_path, names)
        page, text = (path.read_text() for path in paths)
        assert page.count("<td") == 3 * (count if count == MOST_ROWS else PAGE_ROWS)
        assert ("application/json" in page) == (count == 2000)
        assert text.count("\n| ") == MOST_ROWS + 1
        assert ("The first 500 of 2,000 rows; report.html has all" in text) == (count == 2000)
