"""The course of answers over commits, and where it changed."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from hpml.compare import history
from hpml.compare.history import change_points, check, courses_of, keep, read_answers
from hpml.errors import UserError

pytest.importorskip("ruptures")


def answer(before: str, after: str, log: float, number: int = 0) -> dict[str, Any]:
    ratio = {"mean": log, "half_width": 0.01, "rounds": 6}
    return {
        "at": f"2026-01-{1 + number:02}T00:00:00+00:00",
        "names": {"before": before, "after": after},
        "commits": {"before": None, "after": None},
        "outcomes": [{"metric": "step", "ratio": ratio, "verdict": "slower"}],
    }


def noisy(levels: list[float], seed: int) -> list[float]:
    draws = random.Random(seed)
    return [level + draws.gauss(0, 0.005) for level in levels]


def test_a_step_beside_one_start_is_found_where_it_is() -> None:
    """Twelve answers beside v1, of which the last six are 5 % slower."""
    values = noisy([0.0] * 6 + [0.05] * 6, 1)
    answers = [answer("v1", f"c{n}", value, n) for n, value in enumerate(values)]
    (course,) = courses_of(answers)
    assert (course.start, course.is_chained, course.changes) == ("v1", False, [6])
    assert course.sentence.startswith("a step: changed by +4.")
    assert course.sentence.endswith(" at c6")


def test_noise_is_no_change() -> None:
    """Of a hundred courses without one, at most five have one."""
    found = sum(bool(change_points(noisy([0.0] * 20, seed))) for seed in range(100))
    assert found <= 5


def test_answers_in_a_chain_are_multiplied() -> None:
    """Each begins where the one before has ended; the one that changed says so itself."""
    steps = [("a", "b", 0.001), ("b", "c", 0.06), ("c", "d", -0.002)]
    (course,) = courses_of([answer(*step) for step in steps])
    assert [point.value for point in course.points] == pytest.approx([0.001, 0.061, 0.059])
    assert (course.is_chained, course.changes) == (True, [1])
    assert course.sentence == "a step: changed by +6.2% at c"


def test_points_beside_the_start_are_no_tests_of_their_own() -> None:
    """A chained answer at the end changes nothing for those beside the start before it."""
    values = noisy([0.05] * 6, 1)
    answers = [answer("v1", f"c{n}", value, n) for n, value in enumerate(values)]
    (course,) = courses_of([*answers, answer("c5", "d", 0.1)])
    assert [point.is_chained for point in course.points] == [False] * 6 + [True]
    assert course.changes == [6]
    assert course.sentence == "a step: changed by +10.5% at d"


def test_a_course_is_of_one_run_and_each_pair_once() -> None:
    """Repeats of a pair of commits and answers without an interval are no points."""
    commits = {"commits": {"before": "a" * 40, "after": "b" * 40}}
    first = answer("v1", "x", 0.1) | commits | {"run": "train.py"}
    other = answer("v1", "x", 0.2) | commits | {"run": "other.py"}
    early = answer("v1", "y", 0.3) | {"run": "train.py"}
    early["outcomes"][0]["ratio"]["half_width"] = None
    courses = courses_of([first, first, other, early])
    assert [(each.run, len(each.points)) for each in courses] == [("train.py", 1), ("other.py", 1)]
    assert courses[0].sentence.startswith("a step of train.py: 1 of the 5 answers")
    named = answer("v1", ".", 0.1)
    assert len(courses_of([named, named])[0].points) == 2


def test_few_answers_are_no_course_yet() -> None:
    """They are counted, and nothing is claimed."""
    (course,) = courses_of([answer("v1", "a", 0.0), answer("v1", "b", 0.3)])
    assert course.changes == []
    assert course.sentence == "a step: 2 of the 5 answers that a change needs"


def test_answers_are_kept_and_drawn(tmp_path: Path) -> None:
    """Each in a file of its own; what is no answer is passed over; the page has all commits."""
    folder = tmp_path / "history"
    folder.mkdir()
    for number in range(4):
        earlier = json.dumps(answer("v1", f"c{number}", 0.0, number))
        (folder / f"2026-01-{number}.json").write_text(earlier)
    (folder / "other.json").write_text("{")
    lines = keep(answer("v1", "c4", 0.0, 4) | {"measured": [1]}, folder)
    assert lines[0] == "a step: no change over 5 answers since v1"
    assert lines[1] == f"course: {folder / 'history.html'}"
    assert len(read_answers(folder)) == 5
    assert not any("measured" in each for each in read_answers(folder))
    assert all(f"c{number}" in (folder / "history.html").read_text() for number in range(5))


def test_a_history_needs_its_library_and_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are asked for before anything is measured."""
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(UserError, match="is no folder"):
        check(file)
    monkeypatch.setattr(history, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install"):
        check(tmp_path)
