"""Runs cases in turn, round by round, and writes what was measured as JSON and as Markdown.

A shared machine drifts: cases are compared by their ratio within a round, and the median over the
rounds is given with its extremes.
"""

import json
import re
import statistics
import tempfile
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from hpml.config.conf import find_conf, resolve
from hpml.config.fingerprint import identifying
from hpml.system import environment

RESULTS = Path(__file__).parent / "results"
KINDS = {"cpu": "cpu", "gpu": "cuda"}  # of devices, as torch calls them


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


def configured(*overrides: str) -> DictConfig:
    """A training of hpml's, in a directory that nobody keeps."""
    with initialize_config_dir(str(find_conf()), version_base="1.3"):
        return compose("train", overrides=[*overrides, f"run_dir={tempfile.mkdtemp()}"])


def contents(cfg: DictConfig) -> dict[str, Any]:
    """A whole configuration by dotted keys, without where its run goes."""
    return identifying(resolve(cfg))


def keep_nothing() -> None:
    """Has what is written go where nobody looks: of a run that only tells whether it runs."""
    global RESULTS
    RESULTS = Path(tempfile.mkdtemp())


def ratios(ones: list[float], others: list[float]) -> list[float]:
    """One over the other, round by round."""
    return [one / other for one, other in zip(ones, others, strict=True)]


def spread(values: list[float], form: str = ",.0f") -> str:
    """`median (lowest to highest)`."""
    shown = (statistics.median(values), min(values), max(values))
    middle, low, high = (format(value, form) for value in shown)
    return f"{middle} ({low} to {high})"


def write(
    theme: str,
    title: str,
    told: str,
    rows: list[list[str]],
    figures: Any,
    configuration: Mapping[str, Any] | None = None,
    more: str = "",
    device: str = "cpu",
) -> Path:
    """Writes `results/THEME-HARDWARE-DATE.json` and `.md`; gives the path of the latter.

    Args:
        theme: the name of the benchmark's file.
        title: the heading of the page.
        told: what was run how often, what the spread is, and what the timed region holds.
        rows: a table; the first row is its heading.
        figures: every single figure, for the JSON file.
        configuration: whole configurations by case, for the JSON file.
        more: Markdown below the table: a picture, another table.
        device: that it is about, cpu or gpu.
    """
    described = environment.describe(KINDS[device])
    path = named(theme, device)
    RESULTS.mkdir(exist_ok=True)
    kept = {key: described[key] for key in described if key not in ("host", "slurm_job_id")}
    written = {"theme": theme, "environment": kept, "figures": figures}
    if configuration is not None:
        written["configuration"] = configuration
    path.with_suffix(".json").write_text(json.dumps(written, indent=1) + "\n")
    versions = ", ".join(f"{name} {described[name]}" for name in ("python", "torch", "lightning"))
    ran_on = (
        f"{_hardware(device)}, {described['cpu_cores']} usable cores; {versions}; {date.today()}."
    )
    lines = [f"# {title}", "", told, "", *table(rows), "", *([more, ""] if more else []), ran_on]
    text = "\n".join(lines) + "\n"
    path.with_suffix(".md").write_text(text)
    print("\n" + text)
    return path.with_suffix(".md")


def table(rows: list[list[str]]) -> list[str]:
    """The lines of a Markdown table; the first row is its heading."""
    heading, *body = rows
    return ["| " + " | ".join(cells) + " |" for cells in [heading, ["---"] * len(heading), *body]]


def auto_device() -> str:
    """What `device=auto` comes to, among cpu and gpu."""
    return "gpu" if torch.cuda.is_available() else "cpu"


def named(theme: str, device: str = "cpu") -> Path:
    """`results/THEME-HARDWARE-DATE`, to which a suffix is added; for pictures too."""
    slug = re.sub(r"[^a-z0-9]+", "-", _hardware(device).lower()).strip("-")
    return RESULTS / f"{theme}-{slug}-{environment.usable_cores()}cores-{date.today()}"


def _hardware(device: str) -> str:
    described = environment.describe()
    return str(described["cpu"] if device == "cpu" else described["accelerators"][0])
