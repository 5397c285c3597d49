"""Compares two sides, in rounds or by their records, until the questions are answered."""

import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hpml.compare.answer import Answer
from hpml.compare.answer_of_rounds import of_rounds
from hpml.compare.question import METRICS, Question
from hpml.compare.records import of_records
from hpml.compare.rounds import AFTER, BEFORE, SIDES, Round, Rounds, run_round, run_rounds
from hpml.compare.side import RECORDS, Side, sides
from hpml.compare.side_process import GRACE_S, FailedError, KilledError, end_all_of, started
from hpml.compare.worktree import LoggedError
from hpml.errors import UserError

BUDGET_S = 300.0
# Where something kills sides so often, no other round is tried.
MOST_KILLS = 2
Report = Callable[[str], None]


def compare(
    before: str,
    after: str,
    questions: Sequence[Question],
    *,
    run: str | None = None,
    install: str | None = None,
    budget_s: float = BUDGET_S,
    steps: int | None = None,
    undecided_passes: bool = False,
    report: Report = lambda line: None,
    logs: Path | None = None,
) -> Answer:
    """Whether AFTER is slower than BEFORE, as `python -m hpml.compare` asks.

    Ctrl-C ends it with what is known by then. Raises UserError for wrong input, which a program
    that fails is too: what that has printed is kept in the folder `logs`.
    """
    names = {BEFORE: before, AFTER: after}
    folder = Path(tempfile.mkdtemp(prefix="hpml-compare-")).resolve()
    try:
        with sides(names, run, install, folder, report) as made:
            if made[BEFORE].kind == RECORDS:
                if steps is not None:
                    raise UserError(f"--steps={steps}: has no effect on records")
                of = [made[side].records for side in SIDES]
                return of_records(of[0], of[1], names, questions, undecided_passes)
            commits = {side: made[side].commit for side in SIDES}
            rounds = Rounds(questions)
            ended_by, interrupted = _measure(rounds, made, folder, budget_s, steps, report)
            facts = {"commits": commits, "run": run, **_facts(rounds)}
            return of_rounds(
                *(rounds, names, budget_s, ended_by),
                interrupted=interrupted,
                undecided_passes=undecided_passes,
                facts=facts,
            )
    except LoggedError as error:
        if logs is None:
            raise
        raise UserError(f"{error}; its output: {_kept(error.log, logs)}") from error
    finally:
        end_all_of(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _kept(log: Path, folder: Path) -> Path | str:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(log, folder))
    except OSError as error:
        return f"not kept, {error.strerror}"


def _measure(
    rounds: Rounds,
    made: dict[str, Side],
    folder: Path,
    budget_s: float,
    steps: int | None,
    report: Report,
) -> tuple[str, bool]:
    """Why it has ended before its time, if it has, and whether somebody interrupted it."""
    asked = {question.metric.name for question in rounds.questions}
    kills: list[str] = []
    until_s = time.perf_counter() + budget_s
    start = {
        side: partial(started, made[side], folder / f"{side}.log", until_s + GRACE_S)
        for side in SIDES
    }

    def measure(number: int) -> Round:
        while True:
            try:
                round_ = run_round(
                    start,
                    number,
                    steps,
                    at_once="startup" not in asked,
                    is_late=lambda: time.perf_counter() > until_s,
                )
            except KilledError as error:
                kills.extend(side for side in SIDES if made[side] is error.side)
                if len(kills) >= MOST_KILLS:
                    _refuse_one_sided(kills, error)
                    raise
                report(f"{error}; the round is repeated")
            else:
                _check_known(round_, rounds.questions)
                return round_

    try:
        run_rounds(rounds, measure, budget_s, report)
    except KilledError as error:
        return f"{error}; sides were killed {MOST_KILLS} times", False
    except KeyboardInterrupt:
        return "interrupted", True
    return "", False


def _refuse_one_sided(kills: Sequence[str], error: KilledError) -> None:
    """Raises UserError where one side alone is killed: that it cannot run is a difference."""
    if len(set(kills)) == 1:
        hint = "both processes of a round have to fit into memory"
        why = f"was killed {len(kills)} times, and the other side never: {hint}"
        raise FailedError(error.side, error.log, why)


def _check_known(round_: Round, questions: Sequence[Question]) -> None:
    """Raises UserError where a question is of a figure that nobody measures here."""
    for question in questions:
        name = question.metric.name
        if any(round_.figure(side, question.metric) is None for side in SIDES):
            why = {
                "joules": "no GPU tells here what it draws",
                "samples": "how many samples a batch has is not known",
            }.get(name, "it is not measured here")
            known = [each for each in METRICS if each != name]
            raise UserError(f"--of={name}: {why}; give some of {', '.join(known)}")


def _facts(rounds: Rounds) -> dict[str, Any]:
    """The machine, and all that was measured."""
    machine: dict[str, Any] = {}
    measured = []
    for each in rounds.every:
        processes = {side: dict(facts) for side, facts in each.processes.items()}
        for facts in processes.values():
            machine = facts.pop("environment", machine)
            for name in ("batches", "weights"):
                facts.pop(name, None)
        turns = [
            {
                side: dict(turn.figures) | {"disturbed": turn.disturbed}
                for side, turn in pair.items()
            }
            for pair in each.pairs
        ]
        measured.append({"processes": processes, "pairs": turns, "disturbed": each.disturbed})
    return {"environment": machine, "measured": measured}
