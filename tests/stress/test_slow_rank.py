"""One rank of two or four is slow in one place: real processes that exchange gradients."""

import json
import socket
from pathlib import Path

import pytest
from helpers.configurations import TESTS
from helpers.programs import Program
from helpers.ranks import on_ranks

pytestmark = [pytest.mark.stress, pytest.mark.timeout(900)]

# place: what it is late in, and seconds a call; a batch has two samples, a validation four
PLACES = {
    "dataset": ("data", 0.03),
    "forward": ("forward", 0.06),
    "backward": ("backward", 0.06),
    "callback_batch_end": ("callbacks", 0.06),
    "val_dataset": ("validation", 0.25),
}
TWENTY = [(ranks, place, rank) for ranks in (2, 4) for place in PLACES for rank in (0, ranks - 1)]


def test_the_right_rank_and_phase_in_19_of_20(tmp_path: Path) -> None:
    """In every epoch's record, and in the verdict of the whole."""
    wrong = []
    for number, (ranks, place, rank) in enumerate(TWENTY):
        folder = tmp_path / str(number)
        folder.mkdir()
        phase, delay_s = PLACES[place]
        delays_s = [delay_s * (each == rank) for each in range(ranks)]
        first, *_ = on_ranks(folder, place=place, delays_s=delays_s, batches=14, epochs=3)
        expected = f"rank {rank} on {socket.gethostname()} is late by "
        named = [(e["ranks"].get("late") or {}).get("rank") for e in first["epochs"]]
        found = first["verdict"]["evidence"], named
        if not (found[0].startswith(expected) and f"in {phase}, in " in found[0]):
            wrong.append((ranks, place, rank, found))
        print(ranks, place, rank, *found)
    assert len(wrong) <= 1, wrong


@pytest.mark.parametrize("hot", [0, 1])
def test_a_gpu_of_another_rank_disturbs_the_epoch(tmp_path: Path, hot: int) -> None:
    """The first one writes the record: of which GPU, and of which rank."""
    delays_s = [0.0, 0.0]
    first, other = on_ranks(tmp_path, place="forward", delays_s=delays_s, batches=4, hot=hot)
    own = [f"GPU {hot} ran slower for heat"]
    for rank, found in enumerate((first, other)):
        assert len(found["epochs"]) == 2
        for epoch in found["epochs"]:
            mine, *others = epoch["interference"]["gpus"]
            assert (mine["name"], mine["power_w"]) == (f"GPU {rank}", 200.0 + rank)
            assert mine["disturbed_by"] == own * (rank == hot)
            assert [gpu["rank"] for gpu in others] == [hot] * (rank != hot)
            assert all(gpu["disturbed_by"] == own for gpu in others)
            assert epoch["interference"]["disturbed"]


# Ranks that train by DDP alone, with the windows on and off: BITS ranks
BITS = """
import json, multiprocessing, os, sys
from pathlib import Path
import torch, torch.distributed as dist
from hpml.callbacks.gradient_windows import GradientWindows
from hpml.timing.fit_clock import FitClock
def train(rank, ranks, watched):
    torch.set_num_threads(1)
    store = dist.FileStore(f"store-{watched}", ranks)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=ranks)
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(32, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1))
    model = torch.nn.parallel.DistributedDataParallel(network, bucket_cap_mb=0.002)
    optimizer, losses = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), []
    windows, clock = GradientWindows(model), FitClock(lambda: 0, None)
    torch.manual_seed(1 + rank)
    for step in range(40):
        optimizer.zero_grad()
        loss = model(torch.randn(8, 32)).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item().hex())
        if watched:
            windows.batch_ended(step + 1, clock)
    if rank == 0:
        Path(f"{watched}.json").write_text(json.dumps([losses, len(windows.waits)]))
if __name__ == "__main__":
    ranks, context = int(sys.argv[1]), multiprocessing.get_context("fork")
    for watched in (False, True):
        processes = [context.Process(target=train, args=(n, ranks, watched)) for n in range(ranks)]
        [process.start() for process in processes]
        [process.join() for process in processes]
"""


@pytest.mark.parametrize("ranks", [2, 3])
def test_losses_are_the_same_bit_for_bit_with_the_windows_on_and_off(
    ranks: int, tmp_path: Path
) -> None:
    """Also of three ranks, whose mean a communication hook would round otherwise."""
    (tmp_path / "bits.py").write_text(BITS)
    program = Program(["bits.py", str(ranks)], tmp_path, {"PYTHONPATH": str(TESTS)})
    _, stderr = program.communicate(timeout=120)
    assert program.returncode == 0, stderr
    (off, none), (on, seen) = (
        json.loads((tmp_path / f"{w}.json").read_text()) for w in (False, True)
    )
    assert (none, seen) == (0, 8)
    assert on == off
    assert len(set(on)) == 40
