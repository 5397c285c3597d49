"""From the command to the first training step, against what importing torch and Lightning costs.

    python benchmarks/startup.py

Each case in a fresh process, in turn: `import torch, lightning` alone; the demo's job; the same
with a ResNet-18; the same compiled. `stamps.py`, which runs in these processes, says where the
time goes.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib
from harness import interleaved, named, ratios, spread, table, write
from matplotlib.figure import Figure
from stamps import COMPILING, DATA, IMPORTS, REST

from hpml.report.drawing import COLOURS, PAPER, STYLE

ROUNDS = 5  # odd: the median is a round
START = "start of Python"
BASE = "import torch, lightning"
CASES = {
    BASE: ["imports"],
    "experiment=demo": ["hpml.train", "experiment=demo"],
    "experiment=demo model=resnet18": ["hpml.train", "experiment=demo", "model=resnet18"],
    "experiment=[demo,fast]": ["hpml.train", "experiment=[demo,fast]"],
}
# In the picture these have a colour of their own, and all else is OURS.
OF_BASE = [stage for stage in IMPORTS.values() if "Hydra" not in stage and "Board" not in stage]
OURS = "hpml, Hydra, TensorBoard: imports, configuration, network, Trainer, fit"
HATCHES = ("", "//", "\\\\", "..", "", "xx", "--")


def stages_of(arguments: list[str], folder: Path) -> dict[str, float]:
    """Seconds by stage of a fresh process, from its start to its first training step."""
    out = folder / "stages.json"
    run_dir = [f"hydra.run.dir={folder / 'run'}", "resume=never"] if len(arguments) > 1 else []
    command = [sys.executable, str(Path(__file__).with_name("stamps.py")), str(out)]
    begun_s = time.monotonic()
    subprocess.run(
        [*command, *arguments, *run_dir], check=True, capture_output=True, env=os.environ
    )
    known = json.loads(out.read_text())
    return {START: known["started_s"] - begun_s, **known["stages"]}


def whole(stages: Mapping[str, float], *without: str) -> float:
    """Seconds of all stages, some of them left out."""
    return sum(seconds for stage, seconds in stages.items() if stage not in without)


def median_round(rounds: list[dict[str, float]]) -> dict[str, float]:
    """The round of the median time: its stages add up, which medians by stage would not."""
    return sorted(rounds, key=whole)[len(rounds) // 2]


def draw(shown: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """A bar a case, of what takes its time."""
    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=(9, 3.4), layout="constrained")
        axes = figure.subplots()
        begun = dict.fromkeys(shown, 0.0)
        apart = [*OF_BASE, DATA, COMPILING]
        for group, colour, hatch in zip(
            [*OF_BASE, OURS, DATA, COMPILING], COLOURS, HATCHES, strict=True
        ):
            look = {"color": colour, "hatch": hatch, "ec": PAPER, "lw": 0}
            for case, stages in shown.items():
                seconds = whole(stages, *apart) if group == OURS else stages.get(group, 0.0)
                label = group if case == BASE else None
                axes.barh(case, seconds, left=begun[case], label=label, **look)
                begun[case] += seconds
        for case, end in begun.items():
            axes.annotate(
                f"{end:.1f} s", (end, case), xytext=(4, 0), textcoords="offset points", va="center"
            )
        axes.invert_yaxis()
        axes.margins(x=0.1)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("time from the command (s)")
        figure.legend(loc="outside upper center", ncols=2, fontsize=9)
        figure.savefig(path, dpi=200)


def main() -> None:
    """Measures all and writes it down."""
    seen: dict[str, list[dict[str, float]]] = {case: [] for case in CASES}
    with tempfile.TemporaryDirectory() as folder:

        def measure(case: str) -> Callable[[], float]:
            def measured() -> float:
                seen[case].append(stages_of(CASES[case], Path(folder)))
                return whole(seen[case][-1])

            return measured

        seconds = interleaved({case: measure(case) for case in CASES}, ROUNDS)
    seen = {case: rounds[1:] for case, rounds in seen.items()}  # as interleaved drops the first
    rows = [["case", "seconds", "times the imports", "without data", "nor compiling"]]
    figures: dict[str, Any] = {}
    for case, rounds in seen.items():
        against = [
            ratios([whole(stages, *left_out) for stages in rounds], seconds[BASE])
            for left_out in ((), (DATA,), (DATA, COMPILING))
        ]
        rows.append([case, spread(seconds[case], ".2f"), *(spread(one, ".2f") for one in against)])
        figures[case] = {"stages_s": rounds, "ratios": against}
    shown = {case: median_round(rounds) for case, rounds in seen.items()}
    names = [*(name for name in list(shown.values())[-1] if name != REST), REST]
    parts = [["stage, seconds", *shown]]
    for name in names:
        parts.append([name, *(f"{stages.get(name, 0.0):.2f}" for stages in shown.values())])
    parts.append(["all", *(f"{whole(stages):.2f}" for stages in shown.values())])
    picture = named("startup").with_suffix(".png")
    draw(shown, picture)
    told = (
        f"{ROUNDS} rounds after one that warms up, each case in a fresh process, in turn: median "
        "(lowest to highest); the ratios are within a round. Other programs may have used the same "
        "cores: the ratios say more than the seconds. Timed: from before the process is "
        "started to the call of the first `training_step`; of the imports, to their end. hpml "
        "imports the same with Python's garbage collector at rest, which is quicker. "
        f"Without data: without the stage “{DATA}”; nor compiling: nor the stage “{COMPILING}”, "
        "to which the round that warms up brought the code."
    )
    more = [
        "Where it goes, in the round of the median time. An import counts with what it imports, "
        "unless that has a line of its own.",
        "",
        *table(parts),
        "",
        f"![Where the time until the first step goes]({picture.name})",
    ]
    configuration = {case: " ".join(arguments) for case, arguments in CASES.items()}
    write(
        "startup",
        "From the command to the first training step",
        told,
        rows,
        figures,
        configuration,
        "\n".join(more),
    )


if __name__ == "__main__":
    main()
