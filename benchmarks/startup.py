"""From the command to the first training step, against what importing torch and Lightning costs.

    python benchmarks/startup.py

Each case in a fresh process, in turn: `import torch, lightning` alone; the demo's job; the same
with a ResNet-18; the same compiled. Timed: from before the process is started to the call of the
first `training_step`; of the imports, to their end. hpml imports the same with Python's garbage
collector at rest, which is quicker. Median (lowest to highest), after a round that warms up and
compiles; the ratios are within a round, and say more than the seconds where other programs use the
same cores. `stamps.py`, which runs in these processes, says where the time goes.
"""

import json
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from harness import Page, interleaved, main, spread
from stamps import COMPILING, DATA, REST

START = "start of Python"
IMPORTS = "import torch, lightning"
CASES = {
    IMPORTS: ["imports"],
    "experiment=demo": ["hpml.train", "experiment=demo"],
    "experiment=demo model=resnet18": ["hpml.train", "experiment=demo", "model=resnet18"],
    "experiment=[demo,fast]": ["hpml.train", "experiment=[demo,fast]"],
}
NAMES = list(CASES)


def stages_of(arguments: list[str], folder: Path) -> dict[str, float]:
    """Seconds by stage of a fresh process, from its start to its first training step."""
    out = folder / "stages.json"
    run_dir = [f"hydra.run.dir={folder / 'run'}", "resume=never"] if len(arguments) > 1 else []
    command = [sys.executable, str(Path(__file__).with_name("stamps.py")), str(out)]
    begun_s = time.monotonic()
    subprocess.run([*command, *arguments, *run_dir], check=True, stdout=subprocess.DEVNULL)
    stamped = json.loads(out.read_text())
    whole_s, stages = stamped["ended_s"] - begun_s, stamped["stages"]
    return {"all": whole_s, START: whole_s - sum(stages.values()), **stages}


def measure(rounds: int = 5, only: list[str] = NAMES) -> Page:
    """Every case in turn."""
    with tempfile.TemporaryDirectory() as folder:
        cases = {case: partial(stages_of, CASES[case], Path(folder)) for case in only}
        seen = interleaved(cases, rounds)
    rows = [["case", "seconds", "times the imports", "without data", "nor compiling"]]
    for case, of in seen.items():
        without_data = of["all"] - of.get(DATA, 0.0)
        times = [of["all"], without_data, without_data - of.get(COMPILING, 0.0)]
        compared = [spread(values / seen[IMPORTS]["all"], ".2f") for values in times]
        rows.append([case, spread(of["all"], ".2f"), *compared])
    # of the round of the median time the stages add up, which medians by stage would not
    middle = {case: of["all"].argsort()[rounds // 2] for case, of in seen.items()}
    names = [name for name in seen[only[-1]] if name not in (REST, "all")]
    stages = [["stage, seconds", *seen]]
    for name in (*names, REST, "all"):
        shown = (of[name][middle[case]] if name in of else 0.0 for case, of in seen.items())
        stages.append([name, *(f"{seconds:.2f}" for seconds in shown)])
    where = (
        "Where it goes, in the round of the median time. An import counts with what it imports, "
        "unless that has a line of its own."
    )
    return Page([rows, where, stages], seen, {case: " ".join(CASES[case]) for case in seen})


if __name__ == "__main__":
    main(measure, rounds=1, only=[IMPORTS, "experiment=demo"])
