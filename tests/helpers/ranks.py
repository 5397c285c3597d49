"""Several ranks that train together, with a known delay in one place: real ones, and simulated."""

import json
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace
from typing import Any

import torch

from helpers.configurations import TESTS
from helpers.programs import Program
from hpml.diagnosis import experiment
from hpml.diagnosis.experiment import Experiment
from hpml.records.phases import TIMES
from hpml.timing.advice import JobFacts
from hpml.timing.epoch_times import NS_PER_S, EpochTimes
from hpml.timing.fit_clock import FitClock
from hpml.timing.profiler_actions import BROADCAST, LOOP, VALIDATION, VALIDATION_END
from hpml.timing.rank_comparison import MOST_SAMPLES, RankTimes, own_times
from hpml.trials.failed_ranks import FailedRanks
from hpml.trials.job_loader import Loading
from hpml.trials.pace import Pace, joint
from hpml.trials.ranks_agreement import RanksAgreement

# One rank of a fit: RANK ranks place delays_s batches epochs, and the rank whose GPU gets too hot
RANK = """
import json, os, sys, time
from pathlib import Path
import torch, lightning as L
torch.set_num_threads(1)
from helpers.delays import Delays, Module, Planted, loaders, silent
from hpml.callbacks import DataLoadTimer, TrainTimer
from hpml.system.gpus import GpuReading, GpuWitness
ranks, place, delays_s, batches, epochs, hot = sys.argv[1:]
rank = int(os.environ["LOCAL_RANK"])
gpu = GpuReading(f"GPU {rank}", power_w=200.0 + rank, clock_reasons=0x20 * (rank == int(hot)))
GpuWitness.read = lambda *_: [gpu] * (int(hot) >= 0)
delays = Delays((place,), lambda ns: time.sleep(json.loads(delays_s)[rank]))
timer = silent()
off = "logger use_distributed_sampler enable_checkpointing enable_progress_bar enable_model_summary"
trainer = L.Trainer(accelerator="cpu", strategy="ddp", devices=int(ranks), max_epochs=int(epochs),
                    **dict.fromkeys(off.split(), False), num_sanity_val_steps=0,
                    callbacks=[DataLoadTimer(), TrainTimer(), timer, Planted(delays)])
trainer.fit(Module(delays), *loaders(delays, batches=int(batches)))
metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
found = {"metrics": metrics, "verdict": timer.verdict, "places": timer.places,
         "epochs": [vars(epoch) for epoch in timer.epochs]}
Path(f"{rank}.json").write_text(json.dumps(found))
torch.distributed.destroy_process_group()
"""


def on_ranks(
    folder: Path,
    *,
    place: str,
    delays_s: list[float],
    batches: int,
    epochs: int = 2,
    hot: int = -1,
) -> list[dict[str, Any]]:
    """What each of several processes found, each with its delay: metrics, verdict, epochs.

    The GPU of the rank `hot` is too hot, as its driver says; without, no rank has one.
    """
    (folder / "rank.py").write_text(RANK)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    ranks = len(delays_s)
    words = [str(folder / "rank.py"), str(ranks), place, json.dumps(delays_s)]
    words += [str(batches), str(epochs), str(hot)]
    shared = {"PYTHONPATH": str(TESTS), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    programs = [Program(words, folder, {**shared, "LOCAL_RANK": str(n)}) for n in range(ranks)]
    for program in programs:
        _, stderr = program.communicate(timeout=120)
        assert program.returncode == 0, stderr
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(ranks)]


class SimulatedRanks:
    """Ranks on virtual clocks of their own, which train in step, as Lightning and DDP do it.

    Each clock began at another time. `slow` has nanoseconds by rank and place: `data`, `forward`,
    `backward`, `callbacks` and `optimizer` in each step, `validation` once. In each step all wait
    where they ask whether to stop and where they exchange gradients, which takes `link_ns`; at the
    epoch's end where they compare a metric.
    """

    def __init__(
        self, ranks: int, slow: dict[tuple[int, str], int], link_ns: int = 0, work_ns: int = 10**7
    ) -> None:
        self.slow, self.link_ns, self.work_ns = slow, link_ns, work_ns
        self.now = [10**12 * rank for rank in range(ranks)]
        self.clocks: list[FitClock] = []
        for rank in range(ranks):
            clock = FitClock(lambda: 0, None)
            clock._time_ns = lambda rank=rank: self.now[rank]
            clock.take()
            clock.armed = True
            clock.begin_loop()
            clock.enter(LOOP)
            self.clocks.append(clock)
        self.samples: list[list[tuple[int, int, int]]] = [[] for _ in range(ranks)]

    def spend(self, place: str, phase: str) -> None:
        """Each rank does its part by itself."""
        for rank, clock in enumerate(self.clocks):
            depth = clock.enter(phase)
            self.now[rank] += self.work_ns + self.slow.get((rank, place), 0)
            clock.leave(depth)

    def meet(self, phase: str, cost_ns: int = 0) -> None:
        """All leave at the same moment, which is another one on each clock."""
        behind = [now - 10**12 * rank for rank, now in enumerate(self.now)]
        for rank, clock in enumerate(self.clocks):
            depth = clock.enter(phase)
            self.now[rank] += max(behind) - behind[rank] + cost_ns
            clock.leave(depth)

    def backward(self) -> None:
        """Bucket by bucket; the exchange is waited for inside of the pass."""
        begun = list(self.now)
        half = [
            self.work_ns + self.slow.get((rank, "backward"), 0) // 2 for rank in range(len(begun))
        ]
        done = [now + 2 * ns for now, ns in zip(begun, half, strict=True)]
        offsets = [10**12 * rank for rank in range(len(begun))]
        over = max(now - offset for now, offset in zip(done, offsets, strict=True)) + self.link_ns
        for rank, clock in enumerate(self.clocks):
            depth = clock.enter("train/backward")
            self.now[rank] = offsets[rank] + over
            clock.leave(depth)
            end = self.now[rank]
            self.samples[rank].append(
                (end - begun[rank], end - done[rank], end - begun[rank] - half[rank])
            )

    def epoch(self, steps: int) -> list[RankTimes]:
        """Trains and validates; each rank's figures, as it would send them."""
        for _ in range(steps):
            self.meet(BROADCAST)
            self.spend("data", "data")
            self.spend("forward", "train/forward")
            self.backward()
            self.spend("optimizer", "train/optimizer")
            self.spend("callbacks", "other/Planted.on_train_batch_end")
        self.spend("validation", VALIDATION)
        self.meet(VALIDATION_END)
        return [self._times(rank, steps) for rank in range(len(self.clocks))]

    def _times(self, rank: int, steps: int) -> RankTimes:
        times = EpochTimes(0, ns=self.clocks[rank].take())
        seen = self.samples[rank][-MOST_SAMPLES:]
        own_s = fmean(whole - wait for whole, wait, _ in seen) / NS_PER_S
        waits, talks = ([s[place] / NS_PER_S for s in seen] for place in (1, 2))
        whole = [times.in_s()[name] or 0.0 for name in TIMES]
        waited_s = times.ns["train/backward"] / NS_PER_S - own_s * steps
        sent = RankTimes(whole, own_times(times.ns, own_s * steps), waited_s, waits, talks)
        return RankTimes.from_row(sent.as_row())


class Threads(RanksAgreement):
    """The agreement of ranks that are threads of this process."""

    def __init__(
        self, rank: int, ranks: int, shared: list[Any], barrier: threading.Barrier
    ) -> None:
        self.rank, self._shared, self._barrier = rank, shared, barrier
        self.places = [{"host": f"node{n}", "device": "cpu"} for n in range(ranks)]
        self._failed = FailedRanks(rank, torch.distributed.HashStore(), list)

    def _gathered(self, own: Any) -> list[Any]:
        self._shared[self.rank] = own
        self._barrier.wait(timeout=20)
        given = list(self._shared)
        self._barrier.wait(timeout=20)
        return given

    def _arrive(self, error: Exception | None, passed_over: Exception | None = None) -> None:
        """None of them is left behind in an exchange."""


def in_threads(ranks: int, work: Callable[[Any], Any], kind: type[Threads] = Threads) -> list[Any]:
    """What some work gives on each of several ranks, which are threads."""
    shared, barrier = [None] * ranks, threading.Barrier(ranks)
    with ThreadPoolExecutor(ranks) as pool:
        each = [pool.submit(work, kind(n, ranks, shared, barrier)) for n in range(ranks)]
        return [future.result(timeout=60) for future in each]


@dataclass(eq=False)
class PlantedSubject:
    """One rank of a job whose steps take planted milliseconds for each thing, in step with others.

    `costs` has them by rank and cause; exchanging takes `link`. `tried` keeps which trials ran.
    """

    agreement: Threads
    costs: list[dict[str, float]]
    link: float = 0.0
    epoch_steps: int = 100
    tried: list[Any] = field(default_factory=list)
    callback_names: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    callbacks: dict[str, Any] = field(default_factory=dict)
    has_hooks = has_transfer = True
    device = torch.device("cpu")
    data = SimpleNamespace(num_workers=0)
    trainer = SimpleNamespace(callbacks=[], accumulate_grad_batches=1, precision="32-true")
    witness = SimpleNamespace(read=lambda: SimpleNamespace(at_s=0.0))
    stops = nullcontext()

    def keep_batches(self, count: int, seed: int) -> None:
        self.tried.append((count, seed))

    def loading(self) -> Any:
        return Loading(0, 0, False)

    def fit(self, intervention: Any, warm_up: int, measured: int, seed: int, **_: Any) -> Pace:
        """A step ends when the slowest rank has done its part, and all have exchanged."""
        assert isinstance(measured, int)
        self.tried.append((intervention, warm_up, measured, seed))
        free = {"input": intervention.loading, "transfer": intervention.transfer}
        free |= {"compute": intervention.compute, "overhead": intervention.hooks}
        own = self.costs[self.agreement.rank]
        by_itself_s = sum(ms for cause, ms in own.items() if not free[cause]) / 1e3
        every = self.agreement.every(by_itself_s)
        if intervention.communication:
            own_s = [[each] * 2 for each in every]
            return joint([Pace(each, 0.0, None) for each in every], own_s)
        step_s = max(every) + self.link / 1e3
        waits_s = [0.0 if intervention.loading else each["input"] / 1e3 for each in self.costs]
        return joint([Pace(step_s, wait_s, None) for wait_s in waits_s], [[] for _ in every])

    def load(self, warm_up: int, measured: int, seed: int) -> Pace:
        self.tried.append((warm_up, measured, seed))
        paces = [Pace(each["input"] / 1e3, each["input"] / 1e3, None) for each in self.costs]
        return joint(paces, [[] for _ in paces])

    def keep_batches_of(self, number: int, count: int) -> None:
        """They do not differ."""


def diagnosed_in_threads(costs: list[dict[str, float]], link: float = 0.0) -> list[Any]:
    """Of each rank its subject and its diagnosis, by the whole of `hpml.diagnosis`."""

    def diagnosed(agreement: Threads) -> Any:
        subject: Any = PlantedSubject(agreement, costs, link)
        (found,) = experiment.run([Experiment(subject, JobFacts(), 30.0, lambda line: None)])
        return subject, found

    return in_threads(len(costs), diagnosed)
