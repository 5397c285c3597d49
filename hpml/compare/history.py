"""The answers of many comparisons: their course over commits, and where it changed.

Times of different machines are never compared: what is kept of an answer is the ratio of its two
sides, measured on one machine within minutes. Answers with one BEFORE give one point each, beside
that; answers that lead from commit to commit are chained, and their ratios multiplied.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from hpml.compare.question import METRICS
from hpml.compare.rounds import SIDES
from hpml.errors import UserError
from hpml.report.page import render, save
from hpml.report.picture_style import INK, STYLE, in_percent, looks
from hpml.report.pictures import Picture
from hpml.report.tables import Cell, Table
from hpml.statistics import LEVEL
from hpml.system.files import finite, read_json, write_json

TEMPLATES = Path(__file__).parent / "templates"
LIBRARY = "ruptures"
# Points on either side of a change, and of all where one is looked for.
LEAST_POINTS, FEWEST_POINTS = 2, 5
Key = tuple[str, str, str]  # of a course: its metric, its --run, its start
SHORT, LONGEST = 10, 20  # characters of a commit, and of a name in the picture


@dataclass(frozen=True)
class Point:
    """One answer in a course: `value` is the logarithm of its time over that of the course's start.

    `step` is the answer's own ratio with the half-width of its interval. It is to the point before
    where `is_chained`, else to the course's start.
    """

    commit: str
    date: str
    value: float
    step: float
    half_width: float
    is_chained: bool = False


@dataclass(frozen=True)
class Course:
    """Points one after the other: beside one start, or each beside the one before."""

    metric: str
    start: str
    points: Sequence[Point]
    run: str = ""

    @property
    def is_chained(self) -> bool:
        """Whether any of its points is beside the one before."""
        return any(point.is_chained for point in self.points)

    @property
    def changes(self) -> list[int]:
        """The places of the points at which it changed.

        Of points beside one start: by a change-point test on all of them. A point that is chained
        is a test of its own change, at a level divided by their number; so is the first one of a
        chain, which is beside the start and beside the point before at once.
        """
        own = self._own
        others = [place for place in range(len(self.points)) if place not in own]
        found = change_points([self.points[place].value for place in others])
        proven = [place for place in own if self._is_proven(self.points[place])]
        return sorted([*(others[place] for place in found), *proven])

    @property
    def _own(self) -> list[int]:
        """The places of points that are tests of their own."""
        chained = [place for place, point in enumerate(self.points) if point.is_chained]
        return [0, *chained] if chained[:1] == [1] else chained

    def _is_proven(self, point: Point) -> bool:
        # intervals hold at LEVEL; of many some would miss by chance
        widened = math.sqrt(math.log(2 * len(self.points) / LEVEL) / math.log(2 / LEVEL))
        return abs(point.step) > widened * point.half_width

    @property
    def title(self) -> str:
        """What it is the course of."""
        title = METRICS[self.metric].title if self.metric in METRICS else self.metric
        return f"{title} of {self.run}" if self.run else title

    @property
    def sentence(self) -> str:
        title = self.title
        if len(self.points) < FEWEST_POINTS and not self.is_chained:
            return f"{title}: {len(self.points)} of the {FEWEST_POINTS} answers that a change needs"
        if not (places := self.changes):
            return f"{title}: no change over {len(self.points)} answers since {self.start}"
        words = [f"{self._jump(place):+.1%} at {self.points[place].commit}" for place in places]
        return f"{title}: changed by {', '.join(words)}"

    def _jump(self, place: int) -> float:
        if place in self._own:
            return math.expm1(self.points[place].step)
        borders = [0, *self.changes, len(self.points)]
        at = borders.index(place)
        levels = [
            median(point.value for point in self.points[a:b])
            for a, b in ((borders[at - 1], place), (place, borders[at + 1]))
        ]
        return math.expm1(levels[1] - levels[0])


def check(folder: Path) -> None:
    """Raises UserError where no history can be kept; before anything is measured."""
    if find_spec(LIBRARY) is None:
        raise UserError(f'--history: {LIBRARY} is not installed; pip install "hpml[history]"')
    check_folder("--history", folder)


def check_folder(option: str, folder: Path) -> None:
    """Raises UserError where something else is there, or above it."""
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if not there.is_dir():
        raise UserError(f"{option}={folder}: {there} is no folder")


def change_points(values: Sequence[float]) -> list[int]:
    """Where the mean of independent values changes: the places of the first after each change.

    A change is worth its cost: twice the variance times the logarithm of their number, a half more
    for chance. The variance is that of neighbours, by their median, which changes do not move.

    Source: Killick, Fearnhead and Eckley (2012), "Optimal detection of changepoints with a linear
    computational cost", by the library `ruptures`.
    """
    if len(values) < FEWEST_POINTS:
        return []
    import numpy as np
    import ruptures

    apart = [abs(b - a) for a, b in pairwise(values)]
    deviation = max(median(apart) / 0.6745 / math.sqrt(2), 1e-4)
    penalty = 3 * 2 * deviation**2 * math.log(len(values))
    search = ruptures.Pelt(model="l2", min_size=LEAST_POINTS, jump=1)
    found = search.fit(np.array(values).reshape(-1, 1)).predict(pen=penalty)
    return [int(place) for place in found[:-1]]


def keep(content: Mapping[str, Any], folder: Path) -> list[str]:
    """Adds an answer, draws the courses, and says where they changed. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC)
    kept = {key: value for key, value in content.items() if key != "measured"}
    name = now.strftime("%Y-%m-%d_%H-%M-%S-%f")
    at = {"at": now.isoformat(timespec="seconds")}
    write_json(folder / f"{name}.json", at | finite(kept))
    courses = courses_of(read_answers(folder))
    return [*(course.sentence for course in courses), f"course: {write_page(courses, folder)}"]


def read_answers(folder: Path) -> list[dict[str, Any]]:
    """Those that can be read, in the order in which they were given."""
    files = sorted(folder.glob("*.json"))
    answers = [read_json(file, "at", "names", "outcomes") for file in files]
    return [answer for answer in answers if answer is not None]


def courses_of(answers: Sequence[Mapping[str, Any]]) -> list[Course]:
    """Those of each metric, --run and start; an answer that begins where one has ended goes on it.

    A pair of commits counts once. What has no interval yet is no point.
    """
    found: dict[Key, list[Point]] = {}
    seen = set()
    for answer in answers:
        before, after = (_name(answer, side) for side in SIDES)
        run, commits = str(answer.get("run") or ""), answer.get("commits") or {}
        for outcome in answer["outcomes"]:
            metric, ratio = str(outcome["metric"]), outcome.get("ratio")
            pair = (metric, run, before, after)
            if ratio is None or ratio["half_width"] is None or pair in seen:
                continue
            if all(commits.get(side) for side in SIDES):  # what is only named may have changed
                seen.add(pair)
            step, half = float(ratio["mean"]), float(ratio["half_width"])
            key, base = _place(found, (metric, run, before))
            date = str(answer["at"])[:10]
            point = Point(after, date, (base or 0.0) + step, step, half, base is not None)
            found.setdefault(key, []).append(point)
    return [Course(metric, start, points, run) for (metric, run, start), points in found.items()]


def _place(found: Mapping[Key, Sequence[Point]], key: Key) -> tuple[Key, float | None]:
    """The course that an answer goes on; and where its last point lies, if it begins there."""
    *of, before = key
    for other, points in found.items():
        if [*other[:2]] == of and other[2] != before and points[-1].commit == before:
            return other, points[-1].value
    return key, None


def _name(answer: Mapping[str, Any], side: str) -> str:
    commit = (answer.get("commits") or {}).get(side)
    return str(commit)[:SHORT] if commit else str(answer["names"][side]) or "as it is"


def write_page(courses: Sequence[Course], folder: Path) -> Path:
    """`history.html`, with a picture of each course."""
    pictures = [save(draw(course, f"course-{n}"), folder) for n, course in enumerate(courses)]
    values = {
        "title": "Course over commits",
        "summary": f"{sum(len(course.points) for course in courses)} answers",
        "sentences": [course.sentence for course in courses],
        "pictures": pictures,
        "tables": [_table(course) for course in courses],
    }
    return render("history", values, folder, TEMPLATES, files=("history.html",))[0]


def draw(course: Course, name: str) -> Picture:
    """The ratio to the start over the commits, with intervals and the changes."""
    places = range(len(course.points))
    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=(8, 3), layout="constrained")
        axes = figure.subplots()
        ratios = [math.exp(point.value) for point in course.points]
        halves = [
            ratio * math.sinh(point.half_width)
            for ratio, point in zip(ratios, course.points, strict=True)
        ]
        axes.axhline(1.0, color=INK, linewidth=0.5)
        axes.errorbar(places, ratios, yerr=halves, capsize=3, **next(looks()))
        for place in course.changes:
            axes.axvline(place - 0.5, color=INK, linestyle="--", linewidth=1)
        commits = [_shown(point.commit) for point in course.points]
        axes.set_xticks(places, commits, rotation=60, ha="right", fontsize=8)
        in_percent(axes.yaxis)
        axes.set_ylabel(f"{_shown(course.start)} is 100%")
    chained = {point.is_chained for point in course.points[1:]}
    beside = "each beside the start"
    if True in chained:
        beside = "some beside the one before" if False in chained else "each beside the one before"
    return Picture(name, f"{course.title} over commits, {beside}; dashed: where it changed", figure)


def _shown(name: str) -> str:
    """A commit, or the end of what was typed: there it differs."""
    return name if len(name) <= LONGEST else f"…{name[1 - LONGEST :]}"


def _table(course: Course) -> Table:
    rows = [
        [
            *(point.commit, point.date, f"{math.expm1(point.value):+.1%}"),
            f"{math.expm1(point.step):+.1%}",
            "changed" if place in course.changes else "",
        ]
        for place, point in enumerate(course.points)
    ]
    headings = ["commit", "date", f"since {course.start}", "its answer", ""]
    return Table(headings, [[Cell(text, text) for text in row] for row in rows], 2)
