"""Sides that are made up: their turns take what a recorded machine's noise makes of a step."""

import json
import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpml.compare.question import Question, questions_of
from hpml.compare.rounds import AFTER, BEFORE, Round, Rounds, Turn, run_round, run_rounds
from hpml.system.interference import Interference

RECORDED = Path(__file__).parents[1] / "compare"
STEP_S = 0.02
# What a round takes on a quiet machine, and what processes of one program differ by.
ROUND_S, BETWEEN_PROCESSES = 18.0, 0.006
STEP = questions_of("step", "3%")


def noise(name: str) -> list[list[tuple[float, float]]]:
    """Of each recorded round, its turns: the logarithm of a step's time, and what was lost."""
    file = RECORDED / f"noise_{name}.json"
    if not file.exists():  # nobody has recorded it yet: four parts in a thousand, to and fro
        return [[((-1) ** turn * 0.004, 0.0) for turn in range(16)]]
    rounds = json.loads(file.read_text())["rounds"]
    series = []
    for each in rounds:
        typical = sorted(each["step_s"])[len(each["step_s"]) // 2]
        logs = [math.log(step_s / typical) for step_s in each["step_s"]]
        series.append(list(zip(logs, each["lost"], strict=True)))
    return series


@dataclass
class Machine:
    """How slow a machine is, turn by turn: recorded noise, with drift and bursts on top.

    `sees` tells whether a witness sees what others take there.
    """

    recorded: list[list[tuple[float, float]]]
    seed: int
    sees: bool = True
    drift: float = 0.0  # of a turn at most, up or down for a whole comparison
    bursts: float = 0.0  # how likely a turn begins one
    draws: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.draws = random.Random(self.seed)
        self._slope = self.draws.uniform(-self.drift, self.drift)
        self._turns, self._left, self._burst = 0, 0, 0.0
        self._series: list[tuple[float, float]] = []

    def begin_round(self) -> None:
        """Another recorded round, from any of its turns on."""
        series = self.draws.choice(self.recorded)
        start = self.draws.randrange(len(series))
        self._series = series[start:] + series[:start]

    def turn(self) -> tuple[float, float]:
        """The logarithm of how slow it is, and what part of the turn was lost."""
        log, lost = self._series[self._turns % len(self._series)]
        self._turns += 1
        if self._left == 0 and self.draws.random() < self.bursts:
            self._left, self._burst = self.draws.randint(1, 4), self.draws.uniform(0.1, 0.7)
        burst = 0.0
        if self._left:
            self._left -= 1
            burst = self._burst
        lost = 1 - (1 - lost) * math.exp(-burst)
        return log + burst + self._slope * self._turns, lost if self.sees else 0.0


@dataclass
class MadeUp:
    """A process of one side: it is slower by a part, which lies in one phase."""

    machine: Machine
    slower: float = 0.0
    phase: str = "data"

    def __post_init__(self) -> None:
        self._own = self.machine.draws.gauss(0.0, BETWEEN_PROCESSES)

    def first(self) -> dict[str, Any]:
        return {"startup": 6.0, "step_s": STEP_S, "losses": [1.0], "batches": [1], "notes": []}

    def fit(self, steps: int, seed: int) -> Turn:
        log, lost = self.machine.turn()
        usual = STEP_S * math.exp(log + self._own)
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
    questions: list[Question] = STEP,
) -> Rounds:
    """A whole comparison on a made-up machine, by the loop and the rules of a real one."""
    now = [0.0]
    rounds = Rounds(questions)

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
