"""Tables of more rows than a page shows at once."""

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from helpers.configurations import slow
from helpers.pages import EVIL
from helpers.records import make_run

from hpml.report.comparison import Comparison
from hpml.report.page import render, write_pages
from hpml.report.paging import MOST_ROWS, PAGE_ROWS, is_paged, rows_as_json
from hpml.report.tables import Cell, Table, setting_table

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
        if isinstance(part, str):
            text = part
        elif part != 0:
            text = text[: part[0]] + part[2] + text[len(text) - part[1] :]
        texts.append(text)
    return texts


def filled(parts: list[Any], names: list[str]) -> list[str]:
    """The same of links and commands, with the parts of their rows' names."""
    of_names = [re.split("[,=/]", name) for name in names]
    return [
        re.sub("[\x0e-\x1f]", lambda at, own=own: own[ord(at[0]) - 14], text)
        for text, own in zip(expanded(parts), of_names, strict=True)
    ]


def table(count: int) -> Table:
    rows = [
        [
            Cell(f"{TEXTS[n % len(TEXTS)]}{n // 3}", f"{n}", command=TEXTS[n % 7] + f"def{n}"),
            Cell(f"{n}", None if n % 5 == 0 else n / 7),
            Cell("log", "x", link=f"../abcabc{n // 3}/{n}/script>{n // 3}/train.log"),
        ]
        for n in range(count)
    ]
    return Table(["run", "epoch s", "log"], rows)


def drawn(folder: Path, count: int) -> Comparison:
    """Runs of two keys that were drawn, so that all digits of their names differ."""
    generator = random.Random(0)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("hpml.records.run_record.write_whole", Path.write_text)  # no fsync
        for _ in range(count):
            lr, decay, accuracy = (generator.random() for _ in range(3))
            name = f"optimizer.lr={lr!r},optimizer.weight_decay={decay!r},seed=0"
            make_run(folder / "sweep", name, epochs=2, noise=0.1, accuracy=accuracy)
            (folder / "sweep" / name / "train.log").touch()
    return Comparison([folder / "sweep"])


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
            coded, names = column.get(f"{name}s", [0] * 300), [row[0].text for row in whole.rows]
            assert filled(coded, names) == texts
    assert data["columns"][0]["keys"] == [True]  # of all rows
    assert data["columns"][1]["keys"][:3] == [None, 0.142857, 0.285714]


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


def test_a_key_whose_value_is_0_is_a_number(tmp_path: Path) -> None:
    """The column is sorted by its numbers, and not by the letters of 0."""
    for workers in (0, 10, 2):
        make_run(tmp_path, f"data.num_workers={workers}", epochs=1)
    settings = setting_table(Comparison([tmp_path]))
    assert {row[0].value for row in settings.rows} == {0.0, 2.0, 10.0}
    assert {type(key) for key in json.loads(rows_as_json(settings))["columns"][0]["keys"]} == {
        float
    }


@pytest.mark.parametrize("count", [1000, slow(10_000)])
def test_a_page_has_at_most_five_megabytes(tmp_path: Path, count: int) -> None:
    """Of ten thousand runs, each of another setting, with a log; of fewer in proportion."""
    write_pages(drawn(tmp_path, count), [], "Report", tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert len(page.encode()) < 500 * count
    _, runs = map(json.loads, re.findall(r'<script type="application/json">(.*)</script>', page))
    run, *_, log = runs["columns"]
    names = expanded(run["texts"])
    commands = filled(run["commands"], names)
    assert commands == [f"python -m hpml.train {name.replace(',', ' ')}" for name in names]
    links = [f"sweep/{name}/train.log".replace(",", "%2C").replace("=", "%3D") for name in names]
    assert filled(log["links"], names) == links
