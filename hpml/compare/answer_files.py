"""The answer in files: JSON, Markdown for a job's summary, JUnit's XML, a page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

from hpml.compare.page import PICTURE, write_page
from hpml.compare.question import ASKED, IN_A_STEP
from hpml.compare.rounds import SIDES
from hpml.compare.verdict import SLOWER, UNDECIDED
from hpml.report.collect import clean
from hpml.system.files import finite, write_json, write_whole

NAME = "compare"
ENDINGS = ("json", "md", "xml", "html")


def clear(folder: Path) -> None:
    """Deletes an earlier answer, its picture, and logs: none is left as another comparison's own.

    Raises OSError.
    """
    answer = (f"{NAME}.{ending}" for ending in ENDINGS)
    logs = (f"{side}.log" for side in SIDES)
    for file in (*answer, f"{PICTURE}.png", f"{PICTURE}.svg", *logs):
        (folder / file).unlink(missing_ok=True)


def write(content: Mapping[str, Any], folder: Path) -> list[Path]:
    """`compare.json`, `.md`, `.xml`, `.html`, over those of an earlier answer; their paths.

    Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    in_json, md, xml = (folder / f"{NAME}.{ending}" for ending in ("json", "md", "xml"))
    write_json(in_json, finite(content))
    write_whole(md, as_markdown(content))
    write_whole(xml, as_junit(content))
    return [in_json, md, xml, write_page(content, folder)]


def as_markdown(content: Mapping[str, Any]) -> str:
    """A heading, the sentence, both tables."""
    names = content["names"]
    sides = f"{_code(names['after'])} beside {_code(names['before'])}"
    heading = f"### {content['verdict'].capitalize()}: {sides}"
    parts = [heading, _md(content["sentence"])]
    parts.append(_table(ASKED, content["rows"]))
    if content["phase_rows"]:
        parts.append(_table(IN_A_STEP, content["phase_rows"]))
    parts.append("\n".join(f"- {_md(note)}" for note in content["notes"]))
    return "\n\n".join(parts) + "\n"


def _code(text: str) -> str:
    return f"`{clean(text).replace('`', '')}`" if text.strip() else "as it is"


def _md(text: str) -> str:
    return clean(text).replace("|", "\\|").replace("<", "&lt;")


def _table(headings: Sequence[str], rows: list[list[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *([_md(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def as_junit(content: Mapping[str, Any]) -> str:
    """A test for each question: failed where slower; undecided is an error, or skipped."""
    outcomes = content["outcomes"]
    kinds = {SLOWER: "failure", UNDECIDED: "error" if content["exit_code"] else "skipped"}
    counts = dict.fromkeys(("failure", "error", "skipped"), 0)
    suite = Xml.Element("testsuite", name="hpml.compare", tests=str(len(outcomes)))
    for outcome in outcomes:
        names = content["names"]
        of = clean(f"{outcome['metric']}: {names['after']} beside {names['before']}")
        case = Xml.SubElement(suite, "testcase", classname="hpml.compare", name=of)
        if kind := kinds.get(outcome["verdict"]):
            counts[kind] += 1
            Xml.SubElement(case, kind, message=clean(content["sentence"])).text = clean(
                outcome["in_words"]
            )
    suite.set("failures", str(counts["failure"]))
    suite.set("errors", str(counts["error"]))
    suite.set("skipped", str(counts["skipped"]))
    return Xml.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"
