"""Two hosts on this machine: network namespaces of their own, a link between them, two names.

It takes no privileges where the system lets users make namespaces; `possible` tells.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from helpers.configurations import TESTS

# One host's part of a fit: the same work, and some megabytes of gradients a step.
HOST = """
import json, os, sys, time
from pathlib import Path
import torch, lightning as L
torch.set_num_threads(1)
import hpml
from torch.utils.data import DataLoader
from hpml.callbacks import EpochTimer, RunRecorder
class Module(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.network = torch.nn.Sequential(*[torch.nn.Linear(512, 512) for _ in range(4)])
    def training_step(self, batch, batch_idx):
        time.sleep(0.06)
        return self.network(batch).square().mean()
    def on_train_start(self):
        if os.environ["NO_SYNC"]:  # for the whole fit
            self.no_sync = self.trainer.strategy.model.no_sync()  # which ends when it is lost
            self.no_sync.__enter__()
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)
timer = EpochTimer(say=print)
recorder = RunRecorder(Path("record"), timer, say=print)
off = "logger enable_checkpointing enable_progress_bar enable_model_summary"
trainer = L.Trainer(accelerator="cpu", strategy="ddp", devices=1, num_nodes=2, max_epochs=3,
                    **dict.fromkeys(off.split(), False), callbacks=[timer, recorder])
data = DataLoader(torch.randn(4 * 2 * 24, 512), batch_size=4)
trainer.fit(Module(), data)
if os.environ["DIAGNOSED"]:
    found = hpml.diagnose(trainer, Module(), data, budget_s=30)
    if trainer.is_global_zero:
        Path("diagnosis.json").write_text(json.dumps(found.as_dict()))
"""
# The first host has the link, and gives its other end to the second one.
BOTH = """
set -e
ip link set lo up
ip link add host-a type veth peer name host-b
ip addr add 10.9.9.1/24 dev host-a
ip link set host-a up
mkfifo made ready
unshare --net --uts bash -c '
    echo > made
    read < ready
    hostname b
    ip link set lo up
    ip addr add 10.9.9.2/24 dev host-b
    ip link set host-b up
    if [ -n "$RATE" ]; then
        tc qdisc add dev host-b root tbf rate $RATE burst 64kbit latency 2s
    fi
    GLOO_SOCKET_IFNAME=host-b exec $START --node-rank=1 host.py > b.log 2>&1' &
read < made
ip link set host-b netns $!
echo > ready
hostname a
if [ -n "$RATE" ]; then
    tc qdisc add dev host-a root tbf rate $RATE burst 64kbit latency 2s
fi
GLOO_SOCKET_IFNAME=host-a $START --node-rank=0 host.py > a.log 2>&1
wait
"""


def possible() -> bool:
    """Whether namespaces, a link and its speed can be made here."""
    probe = "ip link add host-a type veth peer name host-b"
    probe += " && tc qdisc add dev host-a root tbf rate 1mbit burst 32kbit latency 1s"
    command = ["unshare", "-Urn", "--uts", "bash", "-c", probe]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def fit_on_two_hosts(
    folder: Path, rate: str = "", no_sync: bool = False, diagnosed: bool = False
) -> dict[str, Any]:
    """The record of a fit by torchrun on both, over a link of a rate, as `200mbit`.

    With `no_sync` gradients stay where they are. `diagnosed` leaves `diagnosis.json` in the folder.
    """
    folder.mkdir()
    (folder / "host.py").write_text(HOST)
    start = f"{sys.executable} -m torch.distributed.run --nnodes=2 --nproc-per-node=1"
    start += " --master-addr=10.9.9.1 --master-port=29500"
    path = os.pathsep.join([str(TESTS), str(TESTS.parent)])
    environment = {
        **os.environ,
        "RATE": rate,
        "NO_SYNC": "1" * no_sync,
        "DIAGNOSED": "1" * diagnosed,
        "START": start,
        "PYTHONPATH": path,
    }
    command = ["timeout", "240", "unshare", "-Urn", "--uts", "bash", "-c", BOTH]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    logs = [
        (folder / name).read_text()[-2000:]
        for name in ("a.log", "b.log")
        if (folder / name).exists()
    ]
    assert done.returncode == 0, "\n".join([done.stderr, *logs])
    record: dict[str, Any] = json.loads((folder / "record" / "record.json").read_text())
    return record
