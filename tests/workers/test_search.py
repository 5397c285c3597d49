"""The search for workers, on loaders of which the answer is known."""

import itertools
import json
import random
import re
from collections import Counter
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import pytest

from hpml.system.interference import Interference
from hpml.workers.search import Found, Measured, Timed, counts_to_try, epoch, search

STEPS = 100


def measuring(load_s: Any, step_s: float, noise: float, seed: int = 0) -> Any:
    """An epoch whose batch takes `load_s(workers)` to load and `step_s` to train."""
    draws = random.Random(seed)

    def measure(workers: int) -> Measured:
        load, step = load_s(workers) * draws.gauss(1, noise), step_s * draws.gauss(1, noise)
        whole = load + step if workers == 0 else max(load, step)
        return Measured(STEPS * load, STEPS * whole)

    return measure


def sleeping(workers: int) -> float:
    """8 ms a batch, which as many workers as there are sleep through side by side."""
    return 0.008 / max(1, workers)


def in_memory(workers: int) -> float:
    """Next to nothing; to pass a batch between processes costs more."""
    return 0.00001 if workers == 0 else 0.0005


def found_by(measure: Any, cores: int = 2, step: int = 4, rounds: int = 5) -> Found:
    return search(measure, counts_to_try(cores, step), rounds, lambda line: None)


@pytest.mark.parametrize(
    ("load_s", "step_s", "step", "answer"),
    [(sleeping, 0.002, 4, 4), (sleeping, 0.0025, 1, 4), (in_memory, 0.002, 4, 0)],
)
def test_it_finds_the_known_answer(load_s: Any, step_s: float, step: int, answer: int) -> None:
    """In at least 19 of 20 searches, with figures that vary by 2 %."""
    searches = [measuring(load_s, step_s, 0.02, seed) for seed in range(20)]
    assert [found_by(each, step=step).recommended for each in searches].count(answer) >= 19


def test_both_answers() -> None:
    """None win where each worker makes it slower; loading may want more than training."""
    for seed in range(20):
        found = found_by(measuring(lambda n: 0.004 + 0.002 * n, 0.0002, 0.02, seed))
        assert found.best_loading == found.recommended == 0
    found = found_by(measuring(sleeping, 0.004, 0.001), 8, 4)
    assert found.recommended == 2
    assert found.best_loading > 2
    first, second, third = found.sentences(now=0)
    assert first.startswith(f"by loading alone {found.best_loading} workers are fastest, ")
    assert second.startswith("end to end 2 workers are")
    assert third.startswith("beside data.num_workers=0 that saves 0.800 ± ")
    assert "(67%)" in third


def test_which_counts_are_tried() -> None:
    """From 0, always 1, every count on a small machine, then in steps; no further than asked."""
    for (cores, step), counts in {
        (2, 4): [0, 1, 2, 4, 8, 12],
        (8, 4): [0, 1, 2, 3, 4, 5, 6, 7, 8, 12],
        (64, 4): [0, 1, 4, 8, 12],
    }.items():
        assert [*itertools.islice(counts_to_try(cores, step), len(counts))] == counts
    assert [*counts_to_try(64, 10, 25)] == [0, 1, 10, 20]
    assert [*counts_to_try(1, 4, 0)] == [0]


def test_it_stops_after_two_counts_that_bring_nothing() -> None:
    """Each is measured once a round, all before any again; it ends where workers hold an epoch."""
    measure = Mock(side_effect=measuring(in_memory, 0.002, 0))
    found_by(measure, rounds=3)
    assert [workers for ((workers,), _) in measure.call_args_list] == [0, 1, 2] * 3
    found = found_by(lambda workers: Measured(10.0 / (workers + 1), 10.0, workers >= 8), rounds=3)
    assert max(found.by_name) == 8


def test_it_goes_on_where_more_rounds_show_a_gain() -> None:
    """A first round that was disturbed does not end the search for good."""
    rounds: Counter[int] = Counter()

    def measure(workers: int) -> Measured:
        rounds[workers] += 1
        seconds = 10.0 - workers if rounds[workers] > 1 or workers in (0, 1) else 11.0
        return Measured(seconds, seconds)

    found = search(measure, iter((0, 1, 2, 3, 4, 5)), 8, lambda line: None)
    assert {4, 5} <= set(found.by_name)


def test_what_is_not_sure_is_told() -> None:
    """One round alone; and where the rounds differ by a quarter and more."""
    found = found_by(measuring(sleeping, 0.002, 0.02), rounds=1)
    assert "one round is too few to tell a difference from chance" in found.sentences(now=0)
    assert "one round" in found.lines("workers")[-1]
    for noise, is_busy in ((0.02, False), (0.6, True)):
        sentences = found_by(measuring(sleeping, 0.002, noise)).sentences(now=4)
        assert ("other work on this machine" in " ".join(sentences)) == is_busy
        assert bool(re.search(r"or with workers.rounds=\d+", " ".join(sentences))) == is_busy


def test_disturbed_rounds_are_searched_again() -> None:
    """The answer and its table are those of the others; the file says which, and of what."""
    measure, rounds = measuring(sleeping, 0.002, 0.01), Counter[int]()

    def disturbed(workers: int) -> Measured:
        found, seen = measure(workers), Interference(4.0)
        rounds[workers] += 1
        if workers in (1, 4) and rounds[workers] == 2:
            found, seen = Measured(90.0, 90.0), Interference(4.0, lost_s={"others": 3.0})
        return replace(found, interference=seen)

    found = found_by(disturbed)
    assert found.recommended == 4
    assert max(found.estimate(count, epoch).mean for count in found.by_name) < 2
    assert found.disturbed.keys() == {1}
    assert found.next_round == 6
    assert any("1 of 6 rounds was disturbed and left out" in one for one in found.lines("workers"))
    kept = json.loads(json.dumps(found.as_dict()))
    assert kept["disturbed_rounds"] == [1]
    assert kept["settings"]["0"]["rounds"]["0"]["interference"]["disturbed"] is False


def test_the_table_marks_the_fastest() -> None:
    """In both columns, with what is tied with it."""
    timed = Timed()
    for setting, seconds in (("a", 1.0), ("b", 2.0)):
        for number, part in enumerate((0.01, 0.03, 0.02, 0.05, 0.04)):
            uneven = part * seconds
            timed.add(setting, number, Measured(seconds + uneven**2, 3.0 - seconds + uneven))
    heading, first, second, caption, floor = timed.lines("setting")
    assert heading.split() == ["setting", "loading", "alone", "end", "to", "end"]
    assert first.split()[0] == "a"
    assert first.count("*") == second.count("*") == 1
    assert first.index("*") < second.index("*")
    assert caption.endswith("* fastest, or tied with it")
    assert re.fullmatch(
        r"  two epochs of one setting differ by ± \d.\d+ s, as means over the rounds", floor
    )


def test_what_it_keeps() -> None:
    """The recommendation as an override, and every round of every count."""
    kept = found_by(measuring(sleeping, 0.002, 0.02)).as_dict()
    assert kept["override"] == f"data.num_workers={kept['recommended']}"
    assert {"0", "1", "2", "4"} <= kept["settings"].keys()
    assert len(kept["settings"]["4"]["rounds"]) == 5
