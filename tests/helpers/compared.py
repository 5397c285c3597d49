"""Sides that are made up: their slices take what a recorded machine's noise makes of a step."""

import json
import math
import random
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median
from typing import Any

from hpml.compare.question import questions_of
from hpml.compare.rounds import AFTER, BEFORE, Round, Rounds, Turn, run_round, run_rounds
from hpml.system.interference import Interference

# Of each slice the logarithm of a step's time, and what part of it others took.
Noise = list[tuple[float, float]]
RECORDED = Path(__file__).parents[1] / "compare"
STEP_S = 0.02
# What a round takes on a quiet machine, and what processes of one program differ by.
ROUND_S, BETWEEN_PROCESSES = 18.0, 0.006
STEP = questions_of("step", "3%")


def noise(name: str) -> Noise:
    """What was recorded here: `quiet`, or `busy`."""
    recorded = json.loads((RECORDED / f"noise_{name}.json").read_text())
    typical = median(recorded["step_ms"])
    logs = [math.log(ms / typical) for ms in recorded["step_ms"]]
    return list(zip(logs, recorded["lost"], strict=True))


@dataclass
class Machine:
    """How slow a machine is, slice by slice: recorded noise, with drift and bursts on top.

    `sees` tells whether a witness sees what others take there.
    """

    recorded: Noise
    seed: int
    sees: bool = True
    drift: float = 0.0  # of a slice at most, up or down for a whole comparison
    bursts: float = 0.0  # how likely a slice begins one
    draws: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.draws = random.Random(self.seed)
        self._slope = self.draws.uniform(-self.drift, self.drift)
        self._slices, self._left, self._burst = 0, 0, 0.0
        self.begin_round()

    def begin_round(self) -> None:
        """From any recorded slice on."""
        self._start = self.draws.randrange(len(self.recorded))

    def slice(self) -> tuple[float, float]:
        """The logarithm of how slow it is, and what part of the slice was lost."""
        log, lost = self.recorded[(self._start + self._slices) % len(self.recorded)]
        self._slices += 1
        if self._left == 0 and self.draws.random() < self.bursts:
            self._left, self._burst = self.draws.randint(20, 160), self.draws.uniform(0.1, 0.7)
        burst = 0.0
        if self._left:
            self._left -= 1
            burst = self._burst
        lost = 1 - (1 - lost) * math.exp(-burst)
        return log + burst + self._slope * self._slices, lost if self.sees else 0.0


@dataclass
class MadeUp:
    """A process of one side: it is slower by a part, which lies in one phase."""

    machine: Machine
    slower: float = 0.0
    phase: str = "data"

    def __post_init__(self) -> None:
        self._own = self.machine.draws.gauss(0.0, BETWEEN_PROCESSES)

    def is_ready(self, wait_s: float) -> bool:
        return True

    def first(self) -> dict[str, Any]:
        return {
            "startup": 6.0,
            "is_continuous": True,
            "losses": [1.0],
            "batches": [1],
            "notes": [],
        }

    def fit(self, slices: int, steps: int, seed: int, core: int) -> Generator[None, None, Turn]:
        assert slices <= steps
        yield
        taken = []
        for _ in range(slices):
            taken.append(self.machine.slice())
            yield
        lost = fmean(lost for _, lost in taken)
        usual = STEP_S * fmean(math.exp(log + self._own) for log, _ in taken)
        phases = {
            "data": 0.3 * usual,
            "transfer": 0.0,
            "train": 0.65 * usual,
            "other": 0.05 * usual,
        }
        phases[self.phase] += self.slower * usual
        seen = Interference(1.0, lost_s={"others": lost} if lost else {})
        return Turn({"step": usual * (1 + self.slower), **phases}, seen)

    def last(self) -> dict[str, Any]:
        return {"memory": 500.0}


def compared(
    machine: Machine,
    slower: float = 0.0,
    phase: str = "data",
    budget_s: float = 300.0,
) -> Rounds:
    """A whole comparison on a made-up machine, by the loop and the rules of a real one."""
    now = [0.0]
    rounds = Rounds(STEP)

    def measure(number: int) -> Round:
        machine.begin_round()
        now[0] += ROUND_S
        return run_round({BEFORE: started(0.0), AFTER: started(slower)}, number, None)

    def started(part: float) -> Any:
        @contextmanager
        def start() -> Iterator[MadeUp]:
            yield MadeUp(machine, part, phase)

        return start

    run_rounds(rounds, measure, budget_s, clock=lambda: now[0])
    return rounds


def rounds_with(*losses: tuple[list[float], list[float]], batches: int = 1) -> list[Round]:
    """Rounds with these first losses before and after; `batches` is the checksum of those after."""
    return [
        Round(
            [], {BEFORE: {"losses": a, "batches": [1]}, AFTER: {"losses": b, "batches": [batches]}}
        )
        for a, b in losses
    ]
