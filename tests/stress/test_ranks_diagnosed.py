"""Two gloo processes diagnosed on the real clock: the late rank, and what no exchange would save.

What other programs take from the machine is not looked at.
"""

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from helpers.configurations import TESTS
from helpers.programs import Program, run_program

pytestmark = [pytest.mark.stress, pytest.mark.timeout(900)]

# Diagnosed, and then trained with the link made fast: place delays_s link_s work_s
SCRIPT = """
import json, os, sys, time
from pathlib import Path
import torch, lightning as L
torch.set_num_threads(1)
import hpml
from helpers.delays import Delays, Module, Planted, loaders, silent
from hpml.callbacks import DataLoadTimer, TrainTimer
place, delays_s, link_s, work_s = sys.argv[1:]
rank, link = int(os.environ.get("LOCAL_RANK", 0)), {"s": float(link_s)}
delays = Delays((place,), lambda ns: time.sleep(json.loads(delays_s)[rank]))
def slow_exchange(state, bucket):
    time.sleep(link["s"])
    sent = bucket.buffer().div_(2)
    exchange = torch.distributed.all_reduce(sent, async_op=True)
    return exchange.get_future().then(lambda future: future.value()[0])
class Linked(Module):
    def on_train_start(self):
        self.trainer.strategy.model.register_comm_hook(None, slow_exchange)
    def training_step(self, batch, batch_idx):
        time.sleep(float(work_s))
        return super().training_step(batch, batch_idx)
off = "logger use_distributed_sampler enable_checkpointing enable_progress_bar enable_model_summary"
def trainer(*timers):
    return L.Trainer(accelerator="cpu", strategy="ddp", devices=2, max_epochs=3,
                     **dict.fromkeys(off.split(), False), limit_val_batches=0,
                     callbacks=[*timers, Planted(delays)])
data, _ = loaders(delays, batches=60)
found = hpml.diagnose(trainer(), Linked(delays), data, budget_s=20)
link["s"], timer = 0.0, silent()
fitting = trainer(DataLoadTimer(), TrainTimer(), timer)
fitting.fit(Linked(delays), data)
if rank == 0:
    print(found)
    epochs = [epoch.time["epoch_s"] for epoch in timer.epochs]
    Path("found.json").write_text(json.dumps({"found": found.as_dict(), "epochs": epochs}))
torch.distributed.destroy_process_group()
"""
# place: what it is late in, and seconds a call; a batch has two samples
PLACES = {
    "dataset": ("input", 0.015),
    "forward": ("compute", 0.03),
    "backward": ("compute", 0.03),
    "callback_batch_end": ("overhead", 0.03),
}


def diagnosed(
    folder: Path, place: str, delays_s: list[float], link_s: float = 0.0, work_s: float = 0.02
) -> dict[str, Any]:
    (folder / "script.py").write_text(SCRIPT)
    words = ["script.py", place, json.dumps(delays_s), str(link_s), str(work_s)]
    path = os.pathsep.join([str(TESTS), str(TESTS.parent)])
    program = Program(words, folder, {"PYTHONPATH": path, "HPML_PROC": str(folder)})
    stdout, stderr = program.communicate(timeout=300)
    assert program.returncode == 0, stderr
    print(stdout)
    found: dict[str, Any] = json.loads((folder / "found.json").read_text())
    return found


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("place", PLACES)
def test_the_late_rank_and_what_it_is_late_in(place: str, rank: int, tmp_path: Path) -> None:
    """By interventions in step on both, with the host's name."""
    cause, delay_s = PLACES[place]
    found = diagnosed(tmp_path, place, [delay_s * (each == rank) for each in (0, 1)])["found"]
    assert found["verdict"]["kind"] == "imbalance"
    late = found["ranks"]["late"]
    assert (late["rank"], late["cause"], late["host"]) == (rank, cause, socket.gethostname())
    assert late["late_s"]["mean"] == pytest.approx(60 * 0.03, rel=0.25)


def test_what_no_exchange_would_save_is_what_a_fast_link_saves(tmp_path: Path) -> None:
    """Within a tenth of the epoch with the link made fast, as the timers measure it."""
    kept = diagnosed(tmp_path, "none", [0.0, 0.0], link_s=0.1, work_s=0.08)
    found, epochs = kept["found"], kept["epochs"][1:]
    assert found["verdict"]["kind"] == "communication-bound"
    predicted_s, fast_s = found["epoch_s"]["communication_free"]["mean"], sum(epochs) / len(epochs)
    print(f"predicted {predicted_s:.3f} s, measured {fast_s:.3f} s", found["epoch_s"]["as_it_is"])
    assert predicted_s == pytest.approx(fast_s, rel=0.1)


TORCHRUN = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", "-m"]
JOB = ["hpml.diagnose", "experiment=demo", "data=synthetic", "device=cpu", "trainer.devices=2"]
JOB += ["data.train_samples=640", "callbacks=none", "logger=none", "diagnose.budget_s=8"]


@pytest.mark.parametrize("by", ["lightning", "torchrun"])
def test_the_command_on_two_processes(by: str, tmp_path: Path) -> None:
    """One table, one `diagnosis.json` with its page, whoever has started the processes."""
    words = [*(TORCHRUN if by == "torchrun" else ["-m"]), *JOB, "hydra.run.dir=out"]
    done = run_program(words, tmp_path, HPML_PROC=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert done.stdout.count("\nas it is ") == 1
    assert "with communication free" in done.stdout
    kept = json.loads((tmp_path / "out" / "diagnosis.json").read_text())["diagnoses"][""]
    assert [place["host"] for place in kept["ranks"]["places"]] == [socket.gethostname()] * 2
    assert (tmp_path / "out" / "diagnosis.html").exists()
