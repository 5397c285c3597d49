"""The lab's page, as others read it."""

import re
from pathlib import Path

import pytest
from helpers.records import make_run
from test_report import EVIL, read

from hpml.lab.report.page import Heading, Section, draw_for, write_lab_page
from hpml.report.comparison import Comparison
from hpml.report.tables import Cell, Table

TABLE = Table(["run", "s"], [[Cell(EVIL, EVIL), Cell("2", 2)]])


def evil_section(part: str = "C3", **changes: object) -> Section:
    fields: dict[str, object] = {
        "part": part,
        "title": EVIL,
        "asked": EVIL,
        "commands": [f"echo {EVIL}", "echo ```"],
        "hardware": [EVIL],
        "shortened": EVIL,
        "tables": [(TABLE, EVIL)],
        "code": f"```\nprint(1)  # {EVIL}",
        "answer": [EVIL],
        "missing": EVIL,
    }
    return Section(**(fields | changes))  # type: ignore[arg-type]


def test_text_is_never_markup(tmp_path: Path) -> None:
    """In any field of a section or of the heading; no control character stays."""
    heading = Heading(EVIL, EVIL, [EVIL], EVIL, f"{EVIL}\x1b[1m")
    path = write_lab_page([evil_section()], heading, tmp_path)
    assert path == tmp_path / "report.html"
    page = read(tmp_path)
    assert page.tags.count("script") == 1  # ours
    assert page.text.count(EVIL) == 17  # the title twice, the section's in the contents too
    assert all(target.startswith("#") for target in page.fetched)
    markdown = (tmp_path / "report.md").read_text()
    assert "\x1b" not in path.read_text() + markdown
    outside = re.sub(r"(`{3,})\n.*?\n\1", "", markdown, flags=re.DOTALL)
    assert "<script>" not in outside.replace("\\<script\\>", "")
    assert "````\n```\nprint(1)" in markdown  # what is fenced cannot leave its fence


def test_each_section_is_linked_from_the_contents(tmp_path: Path) -> None:
    """By an address of its own, in Markdown by that of its heading."""
    sections = [Section(part, "Workers, and: more", "?") for part in ("C3", "C4", "Q1")]
    text = write_lab_page(sections, Heading("t"), tmp_path).read_text()
    assert re.findall('<a href="#(.*?)">', text) == ["c3", "c4", "q1"]
    assert [name for name in read(tmp_path).ids if name in ("c3", "c4", "q1")] == ["c3", "c4", "q1"]
    markdown = (tmp_path / "report.md").read_text()
    assert "- [C3: Workers, and: more](#c3-workers-and-more)\n" in markdown
    assert "\n## C3: Workers, and: more\n" in markdown


def test_a_part_without_figures_says_why(tmp_path: Path) -> None:
    """In the contents and in its place; others do not say it."""
    sections = [
        Section("C5", "Devices", "?", missing="not run yet: python -m hpml.lab lab.parts=[c5]"),
        Section("C6", "Optimizers", "?", answer=["Fine."]),
    ]
    write_lab_page(sections, Heading("t"), tmp_path)
    page, markdown = read(tmp_path), (tmp_path / "report.md").read_text()
    for text in (page.text, markdown.replace("\\", "")):
        assert text.count("no figures yet") == 1
        assert text.count("No figures yet") == 1
        assert "not run yet: python -m hpml.lab lab.parts=[c5]" in text
        assert text.count("Answer, generated from the measured numbers") == 1


def test_what_was_shortened_and_every_machine_is_told(tmp_path: Path) -> None:
    """Above all and in the section; nothing is said of what was not shortened."""
    machines = ["EPYC 7B13, 2 cores", "H100, 16 cores"]
    short = "trained on 1,152 of 50,000 images"
    sections = [
        Section("C1", "Training", "?", hardware=machines, shortened=short),
        Section("C2", "Times", "?"),
    ]
    write_lab_page(sections, Heading("t", "s", machines[:1], short, "Budget 10 min"), tmp_path)
    for text in (read(tmp_path).text, (tmp_path / "report.md").read_text().replace("\\", "")):
        assert len(re.findall(r"shortened\W*: ", text)) == 2
        assert text.count(short) == 2
        assert [text.count(machine) for machine in machines] == [2, 1]
        assert "Budget 10 min" in text


def test_pictures_of_two_sections_do_not_meet(tmp_path: Path) -> None:
    """The same pictures of two comparisons are files and addresses of their own."""
    sections = []
    for part, key in (("C3", "data.num_workers"), ("C6", "optimizer.lr")):
        for value in (1, 2):
            make_run(tmp_path / part, f"{key}={value}")
        pictures = draw_for(part, Comparison([tmp_path / part]), tmp_path / "page")
        sections.append(Section(part, "t", "?", pictures=pictures))
    write_lab_page(sections, Heading("t"), tmp_path / "page")
    page = read(tmp_path / "page")
    assert {"c3_phases", "c6_phases", "c3_learning", "c6_learning"} <= set(page.ids)
    assert len(set(page.ids)) == len(page.ids)
    assert page.tags.count("svg") == sum(len(section.pictures) for section in sections)
    markdown = (tmp_path / "page" / "report.md").read_text()
    for name in re.findall(r"\]\((\S+\.png)\)", markdown):
        assert (tmp_path / "page" / name).is_file()


def test_markdown_is_whole(tmp_path: Path) -> None:
    """Blocks stand apart, and a table has as many cells in each row as in its heading."""
    sections = [evil_section("C1"), evil_section("C2"), Section("C4", "t", "?")]
    write_lab_page(sections, Heading("t", hardware=["a", "b"]), tmp_path)
    blocks = re.split(r"\n{2,}", (tmp_path / "report.md").read_text().strip())
    tables = [block.splitlines() for block in blocks if block.startswith("|")]
    assert len(tables) == 2
    for lines in tables:
        assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    assert sum(block.startswith("## ") for block in blocks) == 3
    assert all("\n" not in block for block in blocks if block.startswith("#"))


@pytest.mark.parametrize("table", [Table(["a"], []), TABLE])
def test_a_table_without_rows_is_not_shown(tmp_path: Path, table: Table) -> None:
    """Nor its caption."""
    write_lab_page(
        [Section("C1", "t", "?", tables=[(table, "The caption")])], Heading("t"), tmp_path
    )
    assert read(tmp_path).tags.count("table") == len(table.rows)
    assert (tmp_path / "report.md").read_text().count("The caption") == len(table.rows)
