"""How often `hpml.compare` is wrong: one program twice, and the same with a planted 5 %.

    python benchmarks/compare.py [--same 20] [--planted 7] [--budget-s 300] [--slower-than 3%]
                                 [--minutes 90]

Each comparison is one whole answer, with processes of its own, of a small training whose step takes
about 25 ms on one core. Planted are a sleep in the data set, two layers more than 36, and a
logging call that waits; what they cost is a twentieth of the step as it is. `right` are answers
`slower` for what is planted, and `not slower` for the same twice; `wrong` the contrary ones; the
rest is undecided. `in its phase` are right answers that name the phase of the plant, and no other.
The floor is half the interval at the end. After `--minutes` it asks no more, and the page holds
what was answered.
"""

import math
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from harness import Page, by_key, main, spread

from hpml.compare.answer import Answer
from hpml.compare.comparison import compare
from hpml.compare.question import questions_of
from hpml.compare.verdict import NOT_SLOWER, SLOWER

JOB = Path(__file__).parents[1] / "tests" / "helpers" / "gated_job.py"
BASE = "--base-ms=8 --width=256 --depth=40"
PART = 0.05
SAME = "the same twice"
# What is added to BASE, for a step of so many milliseconds, and the phase that it is in.
PLANTS = {
    "sleep in the data set": (lambda step_ms: f"--sleep-ms={PART * step_ms:.3f}", "data"),
    "two layers more": (lambda step_ms: "--base-ms=0 --depth=38", "train"),
    "logging call": (lambda step_ms: f"--log-ms={PART * step_ms:.3f}", "train"),
}


def answered(before: str, after: str, budget_s: float, slower_than: str) -> Answer:
    sides = (f"{JOB} {words}" for words in (before, after))
    report = partial(print, flush=True)
    return compare(*sides, questions_of("step", slower_than), budget_s=budget_s, report=report)


def ratios(pairs: list[dict[str, Any]]) -> list[float]:
    """Of a round, after over before, of each of its fits."""
    steps = [[pair[side]["step"] for side in ("after", "before")] for pair in pairs]
    return [round(after / before, 5) for after, before in steps]


def figures(answer: Answer, wanted: str, phase: str) -> dict[str, Any]:
    (outcome,) = answer.outcomes
    ratio = outcome.ratio
    changed = [each.name for each in answer.phases if each.changed]
    known = ratio is not None and ratio.half_width is not None
    right = answer.verdict == wanted
    return {
        "right": float(right),
        "wrong": float(answer.verdict in {SLOWER, NOT_SLOWER} - {wanted}),
        "in_phase": float(right and changed == [phase]) if phase else math.nan,
        "ratio": math.expm1(ratio.mean) if ratio else math.nan,
        "floor": math.expm1(ratio.half_width) if known and ratio else math.nan,
        "rounds": float(answer.rounds),
        "disturbed": float(answer.disturbed),
        "step_ms": 1e3 * (outcome.figures[0] or math.nan),
        "sentence": answer.sentence,
        "step_ratios": [ratios(one["pairs"]) for one in answer.facts.get("measured") or ()],
    }


def measure(
    same: int = 20,
    planted: int = 7,
    budget_s: float = 300.0,
    slower_than: str = "3%",
    minutes: float = 90.0,
) -> Page:
    """Asks the gate, case after case: the same twice and a plant in turn."""
    until = time.monotonic() + 60 * minutes
    seen: dict[str, list[dict[str, Any]]] = {}

    def ask(name: str, before: str, after: str, wanted: str, phase: str) -> None:
        answer = answered(before, after, budget_s, slower_than)
        seen.setdefault(name, []).append(figures(answer, wanted, phase))
        print(f"{name}: {answer.sentence}", flush=True)

    for number in range(max(same, len(PLANTS) * planted)):
        if seen and time.monotonic() > until:
            break
        if number < same or not seen:
            ask(SAME, BASE, BASE, NOT_SLOWER, "")
        if number < len(PLANTS) * planted:
            name = list(PLANTS)[number % len(PLANTS)]
            plant, phase = PLANTS[name]
            before = f"{BASE} --base-ms=0 --depth=36" if "layers" in name else BASE
            after = f"{BASE} {plant(seen[SAME][0]['step_ms'])}"
            ask(name, before, after, SLOWER, phase)
    return page_of(seen)


def page_of(seen: dict[str, list[dict[str, Any]]]) -> Page:
    headings = ["case", "answers", "right", "wrong", "in its phase", "difference", "floor"]
    rows = [[*headings, "rounds", "disturbed"]]
    for name, of in seen.items():
        by = by_key(of)
        counts = [str(len(of)), f"{sum(by['right']):.0f}", f"{sum(by['wrong']):.0f}"]
        phase = "–" if name == SAME else f"{sum(by['in_phase']):.0f}"
        known = by["floor"][~np.isnan(by["floor"])]
        floor = spread(100 * known, ".1f") + " %" if len(known) else "–"
        differences = by["ratio"][~np.isnan(by["ratio"])]
        difference = spread(100 * differences, "+.1f") + " %" if len(differences) else "–"
        ran = [spread(by["rounds"]), spread(by["disturbed"])]
        rows.append([name, *counts, phase, difference, floor, *ran])
    return Page([rows], seen)


if __name__ == "__main__":
    main(measure, same=1, planted=1, budget_s=20.0)
