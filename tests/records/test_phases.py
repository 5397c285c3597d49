"""The phases of an epoch stand in one file."""

import ast
from pathlib import Path

from helpers.programs import run_program

import hpml
from hpml.records import phases

PACKAGE = Path(hpml.__file__).parent

# Adds a phase where its file is imported, before all others are, and looks at what it reaches.
PROGRAM = """
import sys
for name in [name for name in sys.modules if name.partition(".")[0] == "hpml"]:
    del sys.modules[name]
import hpml.records
from pathlib import Path
source = Path(hpml.records.__path__[0], "phases.py").read_text()
line = '    Phase("decode", "decode", "decoding", "#0072b2", "", "decoding", "wait_decode"),'
import hpml.records.phases as phases
exec(source.replace("PHASES = (", "PHASES = (" + line.strip(), 1), vars(phases))

from helpers.records import make_run
from hpml.callbacks import EpochTimer
from hpml.records.epoch_lines import EpochLines
from hpml.report.make import make_report
from hpml.timing.device_clock import KINDS
from hpml.timing.epoch_times import EpochTimes
from hpml.timing.live_shares import LiveShares
from hpml.timing.likely_cause import CAUSES, by_cause, judge
import hpml.tuning.change

causes = phases.INPUT, phases.TRANSFER, phases.COMPUTE, phases.OVERHEAD
names = [CAUSES[cause].name for cause in causes]
assert names == ["data", "transfer", "train", "other"]
assert EpochTimes(0, {"decode/jpeg": 2_000_000_000}).in_s()["decode_s"] == 2
assert "wait_decode" in KINDS
assert "decode_s" in EpochTimer.times
live = LiveShares(2)
for ns in (0, 9, 18, 27):
    live.step_ended(1)
    window = live.look({"decode": ns, "train/forward": ns // 9}, None)
    assert window is None or "decode_s" in window
verdict = judge(live.of_all.shares())
assert verdict["kind"] == "decoding-bound" and verdict["evidence"].startswith("decoding 90%")
record = make_run(Path("sweep"), "seed=0")
assert record.epochs[0].time["decode_s"] == 0
assert "decode" in EpochLines().lines(record.epochs[0])[0].split()
make_report([Path("sweep")], Path("report"))
assert "decoding" in Path("report/phases.svg").read_text()
assert "| decode |" in " ".join(Path("report/report.md").read_text().split())
assert "decode_s" in Path("report/runs.csv").read_text()
"""


def test_a_phase_is_added_in_one_place(tmp_path: Path) -> None:
    """Clocks, verdict, records, the epochs' table and reports have it from there."""
    (tmp_path / "program.py").write_text(PROGRAM)
    run_program(["program.py"], tmp_path, PYTHONPATH=str(Path(__file__).parents[1]))


def test_no_other_file_lists_the_phases() -> None:
    """No dictionary, list, set or tuple holds three of their names, keys, causes or kinds.

    But for what Lightning's actions belong to, which the sensor has to know. A cause is written by
    its name there, as where a diagnosis takes out its cost.
    """
    words = [
        {word for phase in phases.PHASES if (word := getattr(phase, name))}
        for name in ("name", "key", "cause", "device_kind")
    ]
    lists = set()
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            items = getattr(node, "keys", getattr(node, "elts", ()))
            texts = {item.value for item in items if isinstance(item, ast.Constant)}
            if any(len(texts & of_phases) > 2 for of_phases in words):
                lists.add(file.relative_to(PACKAGE).as_posix())
    assert lists == {"timing/profiler_actions.py"}
