"""Short fits in slices, with a clock that only the training moves."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import psutil
import pytest
import torch
from helpers.delays import VirtualClock
from helpers.jobs import trainer
from torch.utils.data import DataLoader, Dataset

from hpml.compare.answer import CHANGED, UNCHANGED
from hpml.compare.answer_of_rounds import of_rounds
from hpml.compare.question import questions_of
from hpml.compare.rounds import AFTER, BEFORE, PAIRS, SIDES, Round, Rounds, Turn
from hpml.compare.short_fit import ShortFits, children_stopped, move_to
from hpml.compare.verdict import FEWEST_ROUNDS

MS = 1_000_000
SLICES, STEPS = 3, 7


class Rows(Dataset[Any]):
    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> torch.Tensor:
        self.clock.spend(5 * MS)
        return torch.zeros(1)


class Slow(L.LightningModule):
    clock: VirtualClock  # of the class: trials copy the module

    def __init__(self, transfer_ns: int = 0) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.transfer_ns = transfer_ns

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        self.clock.spend(self.transfer_ns)
        return super().transfer_batch_to_device(batch, device, dataloader_idx)

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        self.clock.spend(10 * MS)
        return self.layer(batch).sum()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_what_the_other_side_takes_is_no_time_of_a_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits before each slice and at the end; step and phases are the training's own."""
    clock = VirtualClock().install(monkeypatch)
    monkeypatch.setattr(Slow, "clock", clock, raising=False)
    loader = DataLoader(Rows(clock), batch_size=1)
    fits = ShortFits(trainer(tmp_path), Slow(), loader)
    waits = []

    def wait() -> None:
        waits.append(clock.ns)
        clock.spend(1000 * MS)

    figures = fits.fit(SLICES, STEPS, 0, 0, wait)["figures"]
    assert len(waits) == SLICES + 1
    assert figures["step"] == figures["samples"] == pytest.approx(0.015)
    assert figures["data"] == pytest.approx(0.005)
    assert figures["train"] == pytest.approx(0.010)
    assert figures["epoch"] == pytest.approx(64 * 0.015)


def test_a_slower_transfer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 5 % more of a step in it, as without pinned memory, it is the phase that has changed."""
    clock = VirtualClock().install(monkeypatch)
    monkeypatch.setattr(Slow, "clock", clock, raising=False)
    turns = {}
    for side, transfer_ns in ((BEFORE, MS), (AFTER, MS + 16 * MS // 20)):
        loader = DataLoader(Rows(clock), batch_size=1)
        fits = ShortFits(trainer(tmp_path), Slow(transfer_ns), loader)
        turns[side] = Turn(fits.fit(SLICES, STEPS, 0, 0, lambda: None)["figures"])
    round_ = Round([turns] * PAIRS, {side: {} for side in SIDES})
    rounds = Rounds(questions_of("step", "3%"), [round_] * FEWEST_ROUNDS)
    answer = of_rounds(rounds, {side: side for side in SIDES}, 1.0)
    states = {phase.name: phase.state for phase in answer.phases}
    assert states == dict.fromkeys(states, UNCHANGED) | {"transfer": CHANGED}
    assert answer.sentence.startswith("slower: a step +5.0 ± ")
    assert "; transfer +5.0 ± " in answer.sentence


def test_a_thread_is_moved_and_may_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    """To each core that it may use, round and round; it may use as many as before."""
    moves: list[set[int]] = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {2, 5}, raising=False)
    monkeypatch.setattr(
        os, "sched_setaffinity", lambda pid, cores: moves.append(cores), raising=False
    )
    for core in range(3):
        move_to(core)
    assert moves == [{2}, {2, 5}, {5}, {2, 5}, {2}, {2, 5}]


def comes_to(is_so: Callable[[], bool]) -> bool:
    """Whether a signal, which takes a moment, has had its effect within ten seconds."""
    until_s = time.monotonic() + 10
    while not is_so() and time.monotonic() < until_s:
        time.sleep(0.01)
    return is_so()


def test_workers_stand_still_meanwhile() -> None:
    """Each process that this one has begun is stopped, and goes on afterwards."""
    with subprocess.Popen(["sleep", "30"]) as process:
        seen = psutil.Process(process.pid)
        with children_stopped():
            assert comes_to(lambda: seen.status() == psutil.STATUS_STOPPED)
        assert comes_to(lambda: seen.status() != psutil.STATUS_STOPPED)
        process.send_signal(signal.SIGKILL)
