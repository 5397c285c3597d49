"""Runs cases in turn, round by round, and writes what was measured as JSON and as Markdown.

A shared machine drifts: cases are compared by their ratio within a round, and the median over the
rounds is given with its extremes.
"""

import json
import re
import statistics
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

from hpml import environment

RESULTS = Path(__file__).parent / "results"


def interleaved(cases: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """What each case returns in each round; one round before that warms up and is dropped."""
    seen: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(rounds + 1):
        for name, case in cases.items():
            value = case()
            if number:
                seen[name].append(value)
            print(f"round {number}/{rounds}  {name}: {value:,.4g}", flush=True)
    return seen


def ratios(ones: list[float], others: list[float]) -> list[float]:
    """One over the other, round by round."""
    return [one / other for one, other in zip(ones, others, strict=True)]


def spread(values: list[float], form: str = ",.0f") -> str:
    """`median (lowest to highest)`."""
    shown = (statistics.median(values), min(values), max(values))
    middle, low, high = (format(value, form) for value in shown)
    return f"{middle} ({low} to {high})"


def write(theme: str, title: str, told: str, rows: list[list[str]], figures: Any) -> Path:
    """Writes `results/THEME-HARDWARE-DATE.json` and `.md`; the first row is the heading."""
    described = environment.describe("cpu")
    hardware = (described["accelerators"] or [described["cpu"]])[0]
    slug = re.sub(r"[^a-z0-9]+", "-", hardware.lower()).strip("-")
    path = RESULTS / f"{theme}-{slug}-{described['cpu_cores']}cores-{date.today()}"
    RESULTS.mkdir(exist_ok=True)
    kept = {key: described[key] for key in described if key not in ("host", "slurm_job_id")}
    path.with_suffix(".json").write_text(
        json.dumps({"theme": theme, "environment": kept, "figures": figures}, indent=1) + "\n"
    )
    heading, *body = rows
    table = [heading, ["---"] * len(heading), *body]
    lines = [f"# {title}", "", told, ""]
    lines += ["| " + " | ".join(cells) + " |" for cells in table]
    versions = ", ".join(f"{name} {described[name]}" for name in ("python", "torch", "lightning"))
    lines += ["", f"{hardware}, {described['cpu_cores']} usable cores; {versions}; {date.today()}."]
    text = "\n".join(lines) + "\n"
    path.with_suffix(".md").write_text(text)
    print("\n" + text)
    return path
