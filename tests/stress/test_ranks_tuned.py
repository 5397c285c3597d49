"""Two gloo processes tuned on the real clock: what helps a rank that waits for its loader.

What other programs take from the machine is not looked at.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.configurations import TESTS
from helpers.programs import Program, run_program

from hpml.trials.rounds import FEWEST_ROUNDS

pytestmark = [pytest.mark.stress, pytest.mark.timeout(900)]

# A Trainer of two processes that Lightning starts, tuned and then fitted: whose samples are slow,
# and the rank and step in which Ctrl-C comes.
SCRIPT = """
import json, os, signal, sys, time
from pathlib import Path
import torch, lightning as L
torch.set_num_threads(1)
import hpml
from helpers.jobs import Convolutional, trainer, Images
from hpml.tuning import checks
from torch.utils.data import DataLoader
rank = int(os.environ.get("LOCAL_RANK", 0))
slow, interrupted, in_step = map(int, sys.argv[1:])
checks.LEAST_BUDGET_S, steps = 1.0, 0
class Slow(Images):
    def __getitem__(self, index):
        time.sleep(0.01 * (rank == slow))
        return super().__getitem__(index)
class Interrupting(Convolutional):
    def training_step(self, batch, batch_idx):
        global steps
        steps += 1
        if rank == interrupted and steps == in_step:
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.02)
        return super().training_step(batch, batch_idx)
torch.manual_seed(0)
module, loader = Interrupting(4), DataLoader(Slow(160), batch_size=4, shuffle=True)
before = {name: value.clone() for name, value in module.state_dict().items()}
fitting = trainer(Path("fit"), devices=2, strategy="ddp")
found = hpml.tune(fitting, module, loader, budget_s=120)
same = all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
fitting.fit(module, loader)
kept = {"found": found.as_dict(), "same": same, "steps": fitting.global_step}
kept |= {"lines": found.lines, "interrupted": found.search.was_interrupted}
Path(f"rank{fitting.global_rank}.json").write_text(json.dumps(kept))
torch.distributed.destroy_process_group()
"""


def tuned(folder: Path, *words: int) -> list[dict[str, Any]]:
    """What each of two ranks has found."""
    (folder / "script.py").write_text(SCRIPT)
    path = {"PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}", "HPML_PROC": str(folder)}
    program = Program(["script.py", *map(str, words)], folder, path)
    stdout, stderr = program.communicate(timeout=300)
    assert program.returncode == 0, stderr
    print(stdout)
    found = [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    print("\n".join(found[0]["lines"]))
    return found


@pytest.mark.parametrize("slow", [0, 1])
def test_a_worker_helps_the_rank_whose_samples_are_slow(slow: int, tmp_path: Path) -> None:
    """Both choose it from the same rounds; the Trainer trains afterwards, each with its samples."""
    first, second = tuned(tmp_path, slow, -1, -1)
    found, other = first["found"], second["found"]
    assert any(name.startswith("num_workers=1") for name in found["changes"])
    assert found["after_s"] < 0.8 * found["before_s"]
    for key in ("rounds", "changes", "alone", "same", "processes", "hosts"):
        assert found[key] == other[key], key
    assert (found["processes"], found["hosts"]) == (2, [socket.gethostname()])
    assert found["proven"].endswith("for a Trainer of your own cannot be started in another one")
    assert (first["same"], first["steps"]) == (second["same"], second["steps"]) == (True, 20)


def test_ctrl_c_of_one_rank_ends_all_with_the_answer_so_far(tmp_path: Path) -> None:
    """None of them waits for one that has gone."""
    first, second = tuned(tmp_path, 1, 1, 900)
    assert first["interrupted"]
    assert second["interrupted"]
    assert first["found"]["sentence"].startswith("not answered")
    assert first["found"]["rounds"]["search"] == second["found"]["rounds"]["search"]


# A Trainer of two processes, of which one fails in a step or at an epoch's end, where the other one
# waits for it; nothing but being told ends that.
FAILING = """
import os, sys
from pathlib import Path
import torch, lightning as L
torch.set_num_threads(1)
import hpml
from helpers.jobs import Convolutional, trainer, Images
from hpml.trials import ranks_agreement
from torch.utils.data import DataLoader
ranks_agreement.LOST_S = 1e6
steps, failing, place = 0, os.environ.get("LOCAL_RANK", "0") == sys.argv[1], sys.argv[2]
class Failing(Convolutional):
    def training_step(self, batch, batch_idx):
        global steps
        steps += 1
        if failing and place == "step" and steps == 40:
            raise RuntimeError("shapes do not fit")
        loss = super().training_step(batch, batch_idx)
        self.log("loss", loss, on_step=False, on_epoch=True, sync_dist=True)
        return loss
class AtEnd(L.Callback):
    def on_train_epoch_end(self, trainer, module):
        if failing and place == "end":
            raise KeyError("val/loss")
fitting = trainer(Path("fit"), devices=2, strategy="ddp", callbacks=[AtEnd()])
hpml.tune(fitting, Failing(4), DataLoader(Images(160), 4), budget_s=600)
"""


SAID = {"step": "RuntimeError: shapes do not fit", "end": "KeyError: 'val/loss'"}
TORCHRUN = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", "-m"]


@pytest.mark.parametrize("place", SAID)
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("launcher", [[], TORCHRUN[:-1]])
def test_a_rank_that_fails_alone_ends_all(
    launcher: list[str], rank: int, place: str, tmp_path: Path
) -> None:
    """Long before torch's half an hour; one line names it and its error."""
    (tmp_path / "script.py").write_text(FAILING)
    path = {"PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}", "HPML_PROC": str(tmp_path)}
    command = [sys.executable, *launcher, "script.py", str(rank), place]
    pipes: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 120}
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | path, check=False, **pipes)
    print(done.stderr)
    assert done.returncode != 0
    own = f"{SAID[place]}, on rank {rank} on {socket.gethostname()}"
    assert f"failed: {own} alone: the others wait for it\n" in done.stderr


JOB = ["hpml.tune", "experiment=demo", "data=synthetic", "device=cpu", "trainer.devices=2"]
JOB += ["data.train_samples=640", "callbacks=none", "logger=none", "tune.budget_s=120"]


@pytest.mark.parametrize("by", ["lightning", "torchrun"])
def test_the_command_on_two_processes(by: str, tmp_path: Path) -> None:
    """One answer, one `tune.json` with its page, whoever has started the processes."""
    words = [*(TORCHRUN if by == "torchrun" else ["-m"]), *JOB, "hydra.run.dir=out"]
    done = run_program(words, tmp_path, HPML_PROC=str(tmp_path))
    print(done.stdout)
    assert "Traceback" not in done.stdout + done.stderr
    kept = json.loads((tmp_path / "out" / "tune.json").read_text())
    assert done.stdout.count(kept["sentence"]) == 1
    assert (kept["processes"], kept["hosts"]) == (2, [socket.gethostname()])
    assert (tmp_path / "out" / "tune.html").exists()
    if kept["rounds"]["proof"]:
        fresh = kept["proven"].endswith("of fresh processes")
        assert fresh or kept["proven"].endswith(" s")  # that fresh ones would take


def test_a_termination_of_the_first_rank_ends_all_with_the_answer_so_far(tmp_path: Path) -> None:
    """The others, which heard of nothing, do not wait for it, nor does it for them."""
    command = [sys.executable, "-m", *JOB[:-1], "tune.budget_s=240", "hydra.run.dir=out"]
    environment = os.environ | {"HPML_PROC": str(tmp_path)}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, **pipes)
    assert process.stdout is not None
    races = re.compile(r"time for [1-9]|round \d+:")
    assert any(map(races.search, iter(process.stdout.readline, "")))
    process.send_signal(signal.SIGTERM)
    rest, _ = process.communicate(timeout=60)
    print(rest)
    assert process.returncode == 128 + signal.SIGTERM
    kept = json.loads((tmp_path / "out" / "tune.json").read_text())
    assert kept["sentence"] in rest
    assert "interrupted: this is the answer so far" in kept["sentences"]


LOADING = ["hpml.tune", "experiment=slow_loading", "device=cpu", "trainer.devices=2"]
LOADING += ["data.train_samples=1280", "data.test_samples=200", "callbacks=none", "logger=none"]


def test_a_whole_search_ends_in_fresh_processes(tmp_path: Path) -> None:
    """Those of each round train together; that a gain is proven takes a quiet machine."""
    words = ["-m", *LOADING, "tune.budget_s=240", "hydra.run.dir=out"]
    program = Program(words, tmp_path, {"HPML_PROC": str(tmp_path)})
    stdout, stderr = program.communicate(timeout=400)
    print(stdout, stderr)
    assert program.returncode == 0
    kept = json.loads((tmp_path / "out" / "tune.json").read_text())
    assert kept["proven"].endswith("of fresh processes")
    before, after = kept["rounds"]["proof"].values()
    assert len(before) == len(after) >= FEWEST_ROUNDS
    paces = [each["pace"] for rounds in (before, after) for each in rounds.values()]
    assert {len(pace["waits_s"]) for pace in paces} == {kept["processes"]} == {2}


FRESH = """
import json, os, sys
from pathlib import Path
from helpers.configurations import QUICK, composed
from hpml.training.build import end_processes
from hpml.training.prepare import prepare
from hpml.trials.ranks_agreement import agreement_of
from hpml.trials.pace import Pace
from hpml.trials.subject import subject_of
from hpml.tuning import fresh_trials
from hpml.tuning.change import NONE
from hpml.tuning.trials_with_changes import Ours, Trials
if __name__ == "__main__":
    fresh_trials.runs_a_script = lambda: False
    rank = int(os.environ.get("LOCAL_RANK", 0))
    cfg = composed(Path("out"), *QUICK, "trainer.devices=2")
    subject = subject_of(prepare(cfg), agreement_of)
    again = lambda config: subject_of(prepare(config), lambda trainer: subject.agreement)
    ours = Ours(cfg, subject, again)
    trials = Trials(ours, 0.0, Pace(1.0, 0.0, None), None, 0)
    fresh = fresh_trials.FreshTrials(ours, trials, 1.0, subject.agreement)
    assert fresh.begin() == ""
    found = []
    for number in (0, 1):
        timed, seen = fresh.watch(lambda: fresh(NONE)(number))
        found.append([timed.epoch_s, timed.pace.waits_s, seen.wall_s])
    Path(f"rank{rank}.json").write_text(json.dumps(found))
    ours.close()
    end_processes()
"""


def test_the_last_rounds_are_of_fresh_processes_that_train_together(tmp_path: Path) -> None:
    """One for each rank; both ranks get the same figures of both."""
    (tmp_path / "script.py").write_text(FRESH)
    path = {"PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}"}
    command = [sys.executable, str(tmp_path / "script.py")]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | path, timeout=300, check=False)
    assert done.returncode == 0
    first, second = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    assert [len(waits_s) for _, waits_s, _ in first] == [2, 2]
    assert first[0] != first[1]


WATCHED = """
import time
import lightning as L, torch
from helpers.jobs import Convolutional, Images, trainer
from pathlib import Path
from torch.utils.data import DataLoader
torch.set_num_threads(1)
class Slow(Images):
    def __getitem__(self, index):
        time.sleep(0.01)
        return super().__getitem__(index)
if __name__ == "__main__":
    own = trainer(Path("fit"), devices=2, strategy="ddp", num_sanity_val_steps=0)
    own.fit(Convolutional(4), DataLoader(Slow(160), 4))
"""


@pytest.mark.parametrize("launcher", [[], TORCHRUN[:-1]])
@pytest.mark.parametrize("measure", ["diagnose", "tune"])
def test_a_watched_program_of_two_ranks_is_measured(
    launcher: list[str], measure: str, tmp_path: Path
) -> None:
    """One answer with its page, and what to run next, where it can be known."""
    (tmp_path / "train.py").write_text(WATCHED)
    path = os.pathsep.join([str(TESTS), str(TESTS.parent)])
    command = [sys.executable, *launcher, "-m", "hpml.watch", f"--{measure}", "--budget-s=40"]
    pipes: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 400}
    environment = os.environ | {"PYTHONPATH": path, "HPML_PROC": str(tmp_path)}
    done = subprocess.run([*command, "train.py"], cwd=tmp_path, env=environment, **pipes)
    print(done.stderr)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    name = "diagnosis" if measure == "diagnose" else "tune"
    folder = tmp_path / "outputs/watch/train"
    assert all((folder / f"{name}.{kind}").is_file() for kind in ("json", "html"))
    last = {
        ("diagnose", False): "-m hpml.watch --tune train.py",
        ("diagnose", True): "next: begin it as before, with --tune instead of --diagnose",
        ("tune", False): "-m hpml.watch train.py",
    }.get((measure, bool(launcher)), "tune.html")
    assert done.stderr.strip().splitlines()[-1].endswith(last)
    if measure == "tune":
        assert json.loads((folder / "tune.json").read_text())["processes"] == 2
