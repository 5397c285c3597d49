"""What an answer says and writes: sentences, tables, exit codes, files."""

import json
import math
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from helpers.compared import Machine, compared, rounds_with

from hpml.compare.answer import Answer, Outcome, PhaseChange, in_unit
from hpml.compare.answer_files import as_junit, as_markdown, write
from hpml.compare.answer_of_rounds import of_rounds
from hpml.compare.losses import in_words
from hpml.compare.question import METRICS, Question, questions_of
from hpml.compare.rounds import AFTER, BEFORE
from hpml.compare.verdict import in_percent, ratio_of
from hpml.errors import UserError
from hpml.statistics import AnytimeEstimate

QUIET = [((-1) ** number * 0.004, 0.0) for number in range(17)]
NAMES = {BEFORE: "main", AFTER: "train.py --width 2 | `x`"}


def answered(slower: float, **settings: Any) -> Answer:
    rounds = compared(Machine(QUIET, 5), slower, budget_s=120.0)
    return of_rounds(rounds, NAMES, 120.0, **settings)


def test_slower_says_by_how_much_and_where() -> None:
    """The sentence has the interval, both times, the threshold and the phase; exit code 1."""
    answer = answered(0.2)
    assert (answer.verdict, answer.exit_code) == ("slower", 1)
    assert re.match(
        r"slower: a step \+(19|20)\.\d ± \d\.\d % \(20\.\d → 24\.\d ms\), more than 3 %; "
        r"waiting for data \+(19|20)\.\d ± ",
        answer.sentence,
    )
    assert answer.sentence.endswith(" % of a step, the rest is not known to have changed")
    assert answer.rows[0][4:] == ["3 %", "slower"]
    states = [row[4] for row in answer.phase_rows]
    assert (states[0], states[1]) == ("changed", "unchanged")
    assert "changed" not in states[2:]


def test_not_slower_and_undecided() -> None:
    """Exit codes 0 and 3, or 0 where undecided is to pass; undecided names the floor."""
    same = answered(0.0)
    assert (same.verdict, same.exit_code) == ("not slower", 0)
    assert "less than 3 %" in same.sentence
    unknown = answered(0.03)
    assert (unknown.verdict, unknown.exit_code) == ("undecided", 3)
    assert unknown.sentence.startswith(
        "undecided: cannot be told within the budget of 120 s: the floor here is "
    )
    assert answered(0.03, undecided_passes=True).exit_code == 0
    assert answered(0.03, ended_by="interrupted").sentence.startswith("undecided: interrupted (a")


def test_an_interrupted_answer_says_so() -> None:
    """Its exit code is 130 also where undecided is to pass, and a field of its own tells it."""
    content = answered(0.03, interrupted=True, undecided_passes=True).as_dict()
    assert (content["exit_code"], content["interrupted"]) == (130, True)
    assert answered(0.03).as_dict()["interrupted"] is False


def test_each_file_says_the_same(tmp_path: Path) -> None:
    """JSON has all, Markdown both tables, JUnit a failed test, the page the sentence."""
    files = write({"command": "python"} | answered(0.2).as_dict(), tmp_path / "compare")
    assert [file.name for file in files] == [
        f"compare.{end}" for end in ("json", "md", "xml", "html")
    ]
    content = json.loads(files[0].read_text())
    assert content["outcomes"][0]["ratio"]["mean"] == pytest.approx(math.log(1.2), abs=0.01)
    markdown = files[1].read_text()
    assert markdown.startswith("### Slower: `train.py --width 2 | x` beside `main`\n")
    assert "\n| waiting for data | " in markdown
    suite = ElementTree.fromstring(files[2].read_text())
    assert suite.attrib | {"name": ""} == {
        **{"name": "", "tests": "1", "failures": "1", "errors": "0", "skipped": "0"}
    }
    assert suite[0][0].tag == "failure"
    assert "more than 3 %" in files[3].read_text()
    again = write(
        answered(0.0).as_dict() | {"command": "python", "loss": math.nan}, files[0].parent
    )
    assert again == files
    content = json.loads(files[0].read_text())
    assert (content["verdict"], content["loss"]) == ("not slower", None)


def test_junit_and_markdown_of_what_is_undecided() -> None:
    """It is an error where it fails the job, and skipped where it is to pass."""
    for passes, tag in ((False, "error"), (True, "skipped")):
        content = answered(0.03, undecided_passes=passes).as_dict()
        assert ElementTree.fromstring(as_junit(content))[0][0].tag == tag
        assert as_markdown(content).startswith("### Undecided: ")
    assert not list(ElementTree.fromstring(as_junit(answered(0.0).as_dict()))[0])


def test_the_first_losses_are_compared() -> None:
    """To the bit, within rounding, beyond it; what varies on one side alone is no difference."""
    assert in_words(rounds_with(([1.0, 0.5], [1.0, 0.5]))).endswith("the same to the bit")
    assert "within rounding (1e-05)" in in_words(rounds_with(([1.0], [1.00001])))
    assert "differ by 50.0%" in in_words(rounds_with(([1.0], [0.5])))
    assert "of other batches differ by" in in_words(rounds_with(([1.0], [0.5]), batches=2))
    assert "not finite after: they" in in_words(rounds_with(([1.0], [math.nan])))
    both = in_words(rounds_with(([math.nan], [math.nan])))
    assert both == "the first losses are not finite before and after: they cannot be compared"
    own = in_words(rounds_with(([1.0], [1.1]), ([1.1], [1.0])))
    assert own.endswith("as they do on one side alone")
    silent = rounds_with(([], []))
    assert in_words(silent).startswith("the weights after the first steps are the same")
    silent[0].processes[AFTER]["weights"] = 1
    assert in_words(silent).endswith("the weights after the first steps differ")
    assert in_words([]) == ""


def test_questions_as_they_are_typed() -> None:
    """Names with commas, a threshold of its own behind one; wrong ones are told in one line."""
    step, memory = questions_of("step, memory=10%", "5")
    assert step == Question(METRICS["step"], 0.05)
    assert memory == Question(METRICS["memory"], 0.1)
    for words, threshold in (
        ("speed", "3%"),
        ("", "3%"),
        ("step", "x"),
        ("step", "0%"),
        ("step=-1", "3"),
    ):
        with pytest.raises(UserError, match="give"):
            questions_of(words, threshold)


def test_figures_have_their_units() -> None:
    """Seconds in the unit that suits them, and what is no time in its own."""
    step, memory = METRICS["step"], METRICS["memory"]
    shown = [in_unit(value, step) for value in (3.214, 0.0123, 1.5e-5, 1e-9)]
    assert shown == ["3.21 s", "12.3 ms", "15.0 µs", "0.00100 µs"]
    assert [in_unit(value, memory) for value in (2048.0, 3.14159)] == ["2,048 MiB", "3.14 MiB"]


def test_each_figure_has_its_own_threshold() -> None:
    """Of several questions the sentence names each one's, behind its figure."""
    outcomes = [
        Outcome(Question(METRICS[name], limit), AnytimeEstimate(0.2, 0.01, 9), (None, None))
        for name, limit in (("step", 0.03), ("memory", 0.1))
    ]
    assert Answer(NAMES, outcomes).sentence == (
        "slower: a step +22.1 ± 1.2 %, more than 3 %; peak memory +22.1 ± 1.2 %, more than 10 %"
    )


def test_what_is_unknown_is_not_called_unchanged() -> None:
    """A phase is unchanged only where its interval lies within one per cent of a step."""
    states = {
        (0.05, 0.01, 4): "changed",
        (0.0, 0.005, 4): "unchanged",
        (0.002, 0.001, 4): "unchanged",
        (0.0, 0.02, 4): "unknown",
        (0.05, 0.01, 3): "unknown",
        (0.05, None, 4): "unknown",
    }
    for share, state in states.items():
        assert PhaseChange("data", "data", (1.0, 1.0), AnytimeEstimate(*share)).state == state


def test_a_wide_interval_shows_both_ends() -> None:
    """Of a logarithm it is not alike on both sides; one beyond all bounds is shown too."""
    assert in_percent(AnytimeEstimate(0.28, 0.1, 4)) == "+32.3 ± 13.3 %"
    assert in_percent(AnytimeEstimate(0.28, 0.25, 4)) == "+32.3 % (+3.0 to +69.9 %)"
    assert in_percent(AnytimeEstimate(0.0, 1e9, 4)) == "+0.0 % (-100.0 to +inf %)"


def test_rounds_that_are_alike_are_not_certain() -> None:
    """Their interval is that of rounds that vary by 0.2 %; two are no bound yet."""
    alike, apart = (ratio_of([0.04 - off, 0.04 + off] * 2, 1) for off in (0.0, 0.002))
    assert alike is not None
    assert apart is not None
    assert apart.half_width is not None
    deviation = 0.002 * math.sqrt(4 / 3)
    assert alike.half_width == pytest.approx(apart.half_width * 0.002 / deviation)
    two = ratio_of([0.04, 0.04], 1)
    assert two is not None
    assert two.half_width is None


def test_a_ratio_needs_enough_rounds() -> None:
    """Three rounds are undecided however sure they look; four are enough."""
    question = Question(METRICS["step"])
    verdicts = [question.verdict(AnytimeEstimate(0.2, 0.01, n)) for n in (3, 4)]
    assert verdicts == ["undecided", "slower"]
    assert question.verdict(AnytimeEstimate(0.0, None, 9)) == "undecided"
    assert question.verdict(None) == "undecided"
    assert Outcome(question, None, (None, None)).in_words == "a step unknown"
