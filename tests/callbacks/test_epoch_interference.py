"""What a fit's epochs lost to others: in record, table, curves and verdict."""

import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers.delays import fit, silent
from helpers.machine import PID, WORKER, Machine
from lightning.pytorch.callbacks import LambdaCallback

from hpml.callbacks import EpochTimer, epoch_interference
from hpml.callbacks.run_recorder import RunRecorder
from hpml.records.run_record import RunRecord
from hpml.system.between_readings import Reading, between
from hpml.system.interference import Interference

UNKNOWN = dict.fromkeys(Reading.__dataclass_fields__)
NOTHING = Reading(
    **UNKNOWN  # type: ignore[arg-type]
    | {"at_s": 0.0, "waited": {"main": 0.0}, "cpu_s": 0.0, "cores": {0: (0.0, 0.0)}}
    | {"pressure_s": 0.0}
)


class Seen:
    """A witness of a machine on which others took of each epoch what is told, of ten seconds."""

    def __init__(self, *lost_s: float) -> None:
        self.readings = self._after(lost_s)

    def _after(self, lost_s: tuple[float, ...]) -> Iterator[Reading]:
        reading = NOTHING
        yield reading
        for seconds in lost_s:
            waited = {"main": (reading.waited or {})["main"] + seconds}
            cores = {0: (reading.cores[0][0] + seconds, 0.0)}
            reading = replace(reading, at_s=reading.at_s + 10, waited=waited, cores=cores)
            yield reading
        while True:
            yield reading

    def read(self, ends: bool = True) -> Reading:
        return next(self.readings)

    def look_at_workers(self) -> None:
        """There are none."""


@pytest.fixture
def others_take(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    def take(*lost_s: float) -> None:
        monkeypatch.setattr(epoch_interference, "witness_of", lambda trainer, stops: Seen(*lost_s))

    return take


def test_a_disturbed_epoch_is_marked_and_said(tmp_path: Path, others_take: object) -> None:
    """A mark in its row, one sentence, figures in its record and in the curves, and no verdict."""
    others_take(0.1, 9.9)
    lines: list[str] = []
    timer = EpochTimer(say=lines.append)
    trainer = fit(tmp_path, timer, batches=60)
    marks = [line[4] for line in lines if line[:4].strip().isdigit()]
    assert marks == [" ", "!"]
    waited = "the process waited up to 9.9 s of 10.0 s for a core that other programs had"
    assert f"! epoch 1: {waited}" in lines
    assert timer.verdict is not None
    assert timer.verdict["kind"] == "disturbed"
    quiet, disturbed = (epoch.interference or {} for epoch in timer.epochs)
    assert (quiet["disturbed"], disturbed["disturbed"]) == (False, True)
    assert disturbed["lost_s"] == {"others": pytest.approx(9.9)}
    assert "pressure_s" not in disturbed["unknown"]
    assert trainer.callback_metrics["machine/lost_s"] == pytest.approx(9.9)


@pytest.mark.parametrize(
    ("looked", "marks", "said"),
    [(True, "0!*", "waited up to 20 s of 20 s"), (False, "0*", None)],
)
def test_a_resumed_epoch_is_told_of_both_processes(
    tmp_path: Path, others_take: Any, looked: bool, marks: str, said: str | None
) -> None:
    """Mark, sentence and record agree: what both lost, or nothing where the first did not look."""
    others_take(9.9)
    before, kept = EpochTimer(say=len), list[Any]()

    def keep(*_: Any) -> None:
        kept.append(before.open_epoch())

    fit(tmp_path, before, LambdaCallback(on_train_batch_end=keep))
    carried = kept[0] if looked else {**kept[0], "interference": None}
    others_take(9.9, 0.1)
    lines: list[str] = []
    timer = EpochTimer(say=lines.append)
    resume = LambdaCallback(on_train_start=lambda *_: timer.carry_over(carried))
    fit(tmp_path, timer, resume, batches=60)
    rows = re.findall(r"^ *(\d+[!*]*) ", "\n".join(lines), re.MULTILINE)
    assert rows == [marks, "1"]
    assert [said in line for line in lines if "! epoch" in line] == ([True] if said else [])
    assert (timer.epochs[0].interference or {}).get("disturbed") == (True if looked else None)


def test_a_quiet_machine_is_not_mentioned(tmp_path: Path, others_take: object) -> None:
    """No mark, no sentence, the verdict of the shares."""
    others_take(0.1, 0.1)
    lines: list[str] = []
    timer = EpochTimer(say=lines.append)
    fit(tmp_path, timer)
    assert not [line for line in lines if "!" in line or "disturbed" in line]
    assert timer.verdict is not None
    assert timer.verdict["kind"] != "disturbed"


def test_verdicts_of_one_second_share_a_reading(
    others_take: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first after an epoch's border has one of its own, so that no verdict lacks it."""
    others_take(0.0, 5.0, 5.0, 0.0)  # read when the fit begins, and then every ten seconds
    clock = SimpleNamespace(now=0.0, perf_counter=lambda: clock.now)
    monkeypatch.setattr(epoch_interference, "time", clock)
    watching = epoch_interference.EpochInterference()
    watching.begin(None)  # type: ignore[arg-type]
    try:
        lost = []
        for now in (0.1, 10.5, 11.5, 21.5):
            clock.now = now
            seen = watching.so_far()
            assert seen is not None
            lost.append(seen.lost_s.get("others", 0.0))
        assert lost == pytest.approx([0.0, 0.0, 5.0, 10.0])
        assert watching.epoch_ended(0, 0.0) is not None
        assert watching._latest is watching._last
    finally:
        watching.end()


def test_no_look_at_the_open_epoch_takes_from_what_it_has_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Verdicts and resume checkpoints read, too: a worker that has ended is the epoch's still."""
    machine = Machine(tmp_path)
    monkeypatch.setattr(epoch_interference, "witness_of", lambda trainer, stops: machine.witness)
    clock = SimpleNamespace(now=0.0, perf_counter=lambda: clock.now)
    monkeypatch.setattr(epoch_interference, "time", clock)
    machine.process(PID, children=(WORKER,))
    machine.process(WORKER)
    watching = epoch_interference.EpochInterference()
    watching.begin(None)  # type: ignore[arg-type]
    try:
        machine.process(WORKER, {WORKER: 4.0})
        clock.now = 2.0
        watching.look()
        machine.process(PID)
        assert watching.open_epoch(0.0) is not None
        parts = [watching.so_far(), watching.epoch_ended(0, 0.0), watching.epoch_ended(1, 0.0)]
        assert [part and part.workers_waited_s for part in parts] == [4.0, 4.0, 0.0]
    finally:
        watching.end()


def test_a_gpu_of_any_rank_disturbs_the_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The record has the one that was slowed, with its rank; its power is not of this rank."""

    def gpu(*reasons: str) -> list[dict[str, Any]]:
        return [{"power_w": 300.0, "disturbed_by": list(reasons)}]

    of_ranks = [gpu(), gpu(), gpu("GPU 2 ran slower for heat")]
    every = [Interference(10.0, lost_s={"others": 0.1 * n}, gpus=of_ranks[n]) for n in range(3)]
    sent: list[list[float]] = []

    def epoch_of(rank: int) -> tuple[dict[str, Any], Interference]:
        watching = epoch_interference.EpochInterference()
        watching.epochs[0] = every[rank]
        strategy = SimpleNamespace(broadcast=lambda own, src: of_ranks[src])
        trainer: Any = SimpleNamespace(global_rank=rank, strategy=strategy)
        return watching.of_all_ranks(trainer, 0), watching.epochs[0]

    def keep(trainer: Any, own: list[float]) -> torch.Tensor:
        sent.append(own)
        return torch.tensor([own])

    monkeypatch.setattr(epoch_interference, "of_all_ranks", keep)
    for rank in range(3):
        epoch_of(rank)
    monkeypatch.setattr(epoch_interference, "of_all_ranks", lambda *_: torch.tensor(sent))
    for rank, where in ((0, " (on rank 2)"), (2, "")):
        record, seen = epoch_of(rank)
        assert (record["disturbed"], record["rank"]) == (True, 2)
        assert seen.slowed_gpus == [f"GPU 2 ran slower for heat{where}"]
        assert seen.power_w == 300.0


def test_the_rank_counts_that_surely_lost_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """On all ranks alike: what one may have lost by chance hides nothing."""
    lost = {0: (0.09, 0.09, 0.1), 1: (0.08, 2.0, 0.1), 2: (0.07, None, None)}
    every = {
        rank: Interference(1.0, others_cpu_s=others, chance_s=chance, lost_s={"others": seconds})
        for rank, (seconds, others, chance) in lost.items()
    }
    sent: list[list[float]] = []

    def told(trainer: Any, own: list[float]) -> torch.Tensor:
        sent.append(own)
        return torch.tensor(sent, dtype=torch.float64)

    monkeypatch.setattr(epoch_interference, "of_all_ranks", told)
    for rank, of in every.items():
        watching = epoch_interference.EpochInterference()
        watching.epochs[0] = of
        record = watching.of_all_ranks(SimpleNamespace(), 0)  # type: ignore[arg-type]
        assert (record["rank"], record["disturbed"]) == ((1, True) if rank else (0, False))
        assert record["chance_s"] == 0.1


@pytest.mark.parametrize(("device", "unknown"), [("cpu", False), ("mps", True)])
def test_a_gpu_of_which_nobody_tells_is_named(device: str, unknown: bool) -> None:
    """A training on the CPU has none."""
    strategy = SimpleNamespace(launcher=None, root_device=torch.device(device))
    trainer: Any = SimpleNamespace(strategy=strategy, world_size=1)
    witness = epoch_interference.witness_of(trainer, epoch_interference.Suspensions())
    seen = between(witness.read(), witness.read())
    assert ("gpus" in seen.unknown) is unknown


def test_its_thread_ends_with_the_fit(tmp_path: Path) -> None:
    """Whether the fit ends well or not."""

    class BrokenError(Exception):
        pass

    def watching() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name == "hpml-stops"]

    class Fails(epoch_interference.L.Callback):
        def on_train_epoch_end(self, *_: object) -> None:
            assert watching()
            raise BrokenError

    with pytest.raises(BrokenError):
        fit(tmp_path, silent(), Fails())
    assert not watching()
    fit(tmp_path, silent())
    assert not watching()


def test_workers_on_one_core_are_said_once(
    tmp_path: Path, others_take: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With their cores, which the record has too; seen while they load, for they end with it."""
    others_take(0.1, 0.1)
    monkeypatch.setattr(epoch_interference, "LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(epoch_interference, "workers_affinity", lambda: [frozenset({3})] * 2)
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    lines: list[str] = []
    timer = EpochTimer(say=lines.append)
    fit(tmp_path, timer, RunRecorder(tmp_path / "record", timer), batches=120)
    (said,) = [line for line in lines if "wait for one another" in line]
    assert said.startswith("! 2 workers may run on 1 core only (3)")
    kept = RunRecord.read(tmp_path / "record").environment
    assert kept["workers_affinity"] == ["3", "3"]
