"""The search for workers, on loaders of which the answer is known."""

import itertools
import json
import math
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from helpers.labs import timed

from hpml.formatting import duration_in_words
from hpml.system.interference import Interference
from hpml.trials.interference_watch import Watch
from hpml.worker_counts import answer
from hpml.worker_counts.counts_to_try import counts_to_try
from hpml.worker_counts.search import ENDLESS, Search
from hpml.worker_counts.search_result import AGAIN, EPOCH, LOADING, SearchResult

STEPS = 100
KEY = "data.num_workers"
Figures = Callable[[int], tuple[float, float]]  # loading alone, and end to end


def measuring(load_s: Any, step_s: float, noise: float, seed: int = 0) -> Figures:
    """An epoch whose batch takes `load_s(workers)` to load and `step_s` to train."""
    draws = random.Random(seed)

    def measure(workers: int) -> tuple[float, float]:
        load, step = load_s(workers) * draws.gauss(1, noise), step_s * draws.gauss(1, noise)
        return STEPS * load, STEPS * (load + step if workers == 0 else max(load, step))

    return measure


def sleeping(workers: int) -> float:
    """8 ms a batch, which as many workers as there are sleep through side by side."""
    return 0.008 / max(1, workers)


def in_memory(workers: int) -> float:
    """Next to nothing; to pass a batch between processes costs more."""
    return 0.00001 if workers == 0 else 0.0005


def searched(
    figures: Figures, counts: Any, rounds: int = 10, calls: list[Any] | None = None, **more: Any
) -> Search:
    """With each measurement noted in `calls`."""

    def trial(figure: str, count: int) -> Any:
        def measure(number: int) -> Any:
            if calls is not None:
                calls.append((figure, count, number))
            return timed(figures(count)[figure != LOADING])

        return measure

    search = Search(trial, rounds, **more)
    search.run(iter(counts))
    return search


def found_by(figures: Figures, cores: int = 2, step: int = 4, rounds: int = 10) -> SearchResult:
    return searched(figures, counts_to_try(cores, step), rounds).found


@pytest.mark.parametrize(
    ("load_s", "step_s", "step", "expected"),
    # with three workers an epoch takes 6 % longer than with four: those are enough
    [(sleeping, 0.002, 4, {4}), (sleeping, 0.0025, 1, {3, 4}), (in_memory, 0.002, 4, {0})],
)
def test_it_finds_the_known_answer(
    load_s: Any, step_s: float, step: int, expected: set[int]
) -> None:
    """In at least 19 of 20 searches, with figures that vary by 2 %."""
    searches = [measuring(load_s, step_s, 0.02, seed) for seed in range(20)]
    found = [answer.recommended(found_by(each, step=step), 0) for each in searches]
    assert sum(count in expected for count in found) >= 19


def test_counts_that_do_nothing_are_not_told_apart() -> None:
    """However often it looks, and though it ends when it has seen enough."""
    wrong = 0
    for seed in range(60):
        found = found_by(measuring(lambda n: 1e-6, 0.002, 0.05, seed))
        wrong += found.tied != found.settings
    assert wrong <= 3


def test_both_answers() -> None:
    """None win where each worker makes it slower; loading may want more than training."""
    for seed in range(20):
        found = found_by(measuring(lambda n: 0.004 + 0.002 * n, 0.0002, 0.02, seed))
        assert found.best_loading == answer.recommended(found, 0) == 0
    found = found_by(measuring(sleeping, 0.004, 0.001), 8, 4)
    assert answer.recommended(found, 0) == 2
    assert found.best_loading > 2
    first, second, third = answer.sentences(found, 0, KEY)
    assert first.startswith(f"by loading alone {found.best_loading} workers are fastest, ")
    assert second.startswith("end to end 2 workers are")
    assert third.startswith("beside data.num_workers=0 that saves 0.800 ± ")
    assert "(67%)" in third


def test_which_counts_are_tried() -> None:
    """Always up to 3, every count on a small machine, then in steps; the last is the most."""
    for (cores, step, most), counts in {
        (2, 4, None): [0, 1, 2, 3, *range(4, 33, 4)],
        (8, 4, 10): [*range(9), 10],
        (16, 4, 14): [0, 1, 2, 3, 4, 8, 12, 14],
        (40, 16, None): [0, 1, 2, 3, 16, 32, 48, 64, 80],
        (16, 4, 2): [0, 1, 2],
        (16, 1, 5): [0, 1, 2, 3, 4, 5],
        (1, 4, 0): [0],
    }.items():
        assert [*counts_to_try(cores, step, most)] == counts


def test_it_stops_after_two_counts_that_bring_nothing() -> None:
    """Each is measured once a round, all before any again but the training of one; it ends where
    workers hold an epoch.
    """
    calls: list[Any] = []
    searched(measuring(in_memory, 0.002, 0), counts_to_try(2), 3, calls)
    one = [(figure, count) for count in (0, 1, 2) for figure in (LOADING, EPOCH)]
    assert [call[:2] for call in calls] == [*one, (AGAIN, 0)] * 3
    holding = searched(
        lambda n: (10.0 / (n + 1), 10.0), counts_to_try(2), 3, holds_epoch=lambda n: n >= 8
    )
    assert max(holding.found.settings) == 8


def test_it_goes_on_where_more_rounds_show_a_gain() -> None:
    """A first round that was disturbed does not end the search for good."""
    rounds: Counter[int] = Counter()

    def figures(workers: int) -> tuple[float, float]:
        rounds[workers] += 1
        seconds = 10.0 - workers if rounds[workers] > 2 or workers in (0, 1) else 11.0
        return seconds, seconds

    found = searched(figures, (0, 1, 2, 3, 4, 5)).found
    assert {4, 5} <= set(found.settings)


def test_a_machine_that_grows_slow_ends_no_search() -> None:
    """New counts are compared with those of their own rounds."""
    few = {0: 10.0, 1: 8.0}

    def trial(figure: str, count: int) -> Any:
        def measure(number: int) -> Any:
            seconds = few.get(count, 7.4 if number else 8.0)
            return timed(seconds * (3 if number >= 10 else 1) * (1 + 0.001 * (number % 2)))

        return measure

    found = Search(trial, 10).run(iter(range(9)))
    assert found.settings == [0, 1, 2, 3, 4, 5]
    assert (found.best_loading, found.tied) == (2, [1, 2, 3, 4, 5])


def test_it_ends_once_the_answer_is_clear() -> None:
    """What is proven slower is not measured again, nor anything once enough workers are known."""
    calls: list[Any] = []
    found = searched(measuring(sleeping, 0.002, 0.01), counts_to_try(2), 20, calls).found
    assert answer.recommended(found, 0) == 4
    rounds = {n: sum(c[:2] == (EPOCH, n) for c in calls) for n in found.settings}
    assert rounds[0] < rounds[4] < 20
    assert rounds[4] >= 4
    loading = {n: sum(c[:2] == (LOADING, n) for c in calls) for n in found.settings}
    assert set(loading.values()) == {4}
    assert [call[2] for call in calls if call[0] == AGAIN] == [0, 1, 2, 3]


def test_the_same_twice_in_a_round() -> None:
    """What it differs by is measured with the present number, else with the first; and told."""
    draws = measuring(sleeping, 0.002, 0.0)
    again: list[float] = []

    def trial(figure: str, count: int) -> Any:
        def measure(number: int) -> Any:
            apart_s = (0.11, 0.09, 0.12, 0.08)[number] if figure == AGAIN else 0.0
            again.extend([apart_s] * (figure == AGAIN))
            return timed(draws(count)[figure != LOADING] + apart_s)

        return measure

    for now, twice in ((4, 4), (None, 0), (50, 0)):
        again.clear()
        found = Search(trial, 4, now=now).run(counts_to_try(2))
        assert (found.twice, len(again)) == (twice, 4)
        apart = found.apart
        assert apart is not None
        assert (apart.mean, apart.n) == (pytest.approx(-0.1), 4)
        assert apart.floor == found.as_dict()["floor_s"] == pytest.approx(0.1)
        who = f"{twice} workers"
        told = (
            f"  the same twice in a round, with {who}, differs by ± 0.100 s, as means over 4 rounds"
        )
        assert answer.lines(found, "workers")[-1] == told
        rounds = found.as_dict()["settings"][str(twice)]["rounds"]
        assert [rounds[n]["again_s"] - rounds[n]["epoch_s"] for n in range(4)] == pytest.approx(
            again
        )
    again.clear()
    assert Search(trial, 1).run(counts_to_try(2)).as_dict()["floor_s"] is None
    assert not again


def test_it_keeps_to_its_time() -> None:
    """Upwards no further than a second round has time for; two rounds in any case."""
    left = itertools.count(100, -4)
    found = searched(
        lambda n: (1.0 / (n + 1), 1.0 / (n + 1)), range(50), left_s=left.__next__
    ).found
    assert len(found.settings) < 30
    late = searched(measuring(sleeping, 0.002, 0.02), (0, 1, 2), left_s=lambda: 0.0).found
    assert late.rounds == 2


def test_it_goes_on_until_it_is_answered_or_the_time_is_over() -> None:
    """Without a number of rounds: two that look a third apart are told apart in the end."""
    figures = measuring(lambda n: (0.012, 0.008, 0.006)[n], 0.0, 0.25, seed=3)
    few = searched(figures, (0, 1, 2), rounds=5).found
    assert not few.is_answered
    assert 1 in few.tied
    assert "not told apart from it: " in answer.sentences(few, 0, KEY)[1]
    assert "; * fastest, or not told apart from it" in answer.lines(few, "workers")[4]
    many = searched(figures, (0, 1, 2), rounds=ENDLESS).found
    assert many.is_answered
    assert answer.recommended(many, 0) == 2
    late = itertools.count(400, -1)
    ended = searched(figures, (0, 1, 2), rounds=ENDLESS, left_s=late.__next__).found
    assert ended.took_s == 400 - next(late) - 1


@pytest.mark.parametrize(("last", "counts"), [(3, {0}), (4, {0, 1}), (9, {0, 1, 2}), (1, None)])
def test_an_interrupt_gives_the_answer_so_far(last: int, counts: set[int] | None) -> None:
    """Of the counts of which both figures were measured; where there is none it is interrupted."""
    draws, measured = measuring(sleeping, 0.002, 0.02), itertools.count(1)

    def figures(workers: int) -> tuple[float, float]:
        if next(measured) > last:
            raise KeyboardInterrupt
        return draws(workers)

    if counts is None:
        with pytest.raises(KeyboardInterrupt):
            searched(figures, (0, 1, 2))
        return
    found = searched(figures, (0, 1, 2)).found
    assert set(found.settings) == counts
    assert "interrupted: this is the answer so far" in answer.sentences(found, 0, KEY)
    assert found.as_dict()["interrupted"] is True


FULL = "RuntimeError: No space left on device"


@pytest.mark.parametrize(
    ("fails", "counts", "best"),
    [
        ((3, LOADING, 0), [0, 1, 2], 2),
        ((3, EPOCH, 0), [0, 1, 2], 2),
        ((1, EPOCH, 0), [0], 0),
        ((8, LOADING, 2), [0, 1, 2, 3, 4], 4),  # not in the first round
        ((0, AGAIN, 1), [1, 2, 3, 4, 8], 4),
    ],
)
def test_a_count_that_fails_is_left_out(
    fails: tuple[int, str, int], counts: list[int], best: int
) -> None:
    """It is the last one, in whichever round; the answer is of the others, and says why."""
    draws, calls = measuring(sleeping, 0.002, 0.01), Counter[Any]()

    def trial(figure: str, count: int) -> Any:
        def measure(number: int) -> Any:
            calls[count, figure, number] += 1
            if (count, figure, number) == fails:
                raise RuntimeError("No space left on device")
            return timed(draws(count)[figure != LOADING])

        return measure

    found = Search(trial, 10).run(iter((0, 1, 2, 3, 4, 8)))
    assert found.settings == counts
    assert max(count for count, _, _ in calls) == max(*counts, fails[0])
    assert answer.recommended(found, 0) == best
    (why,) = found.failed.values()
    assert why.startswith(f"{FULL} in measure (")
    assert f"{answer.in_words(fails[0])} failed: {why}" in answer.sentences(found, 0, KEY)
    assert found.as_dict()["failed"] == {str(fails[0]): why}
    assert found.apart is not None
    assert found.twice == min(counts)
    content = answer.content_of(found, fails[0], KEY, f"{KEY}={best}")
    assert answer.advice(content) == f"use: {KEY}={best}"


def test_what_trains_twice_says_nothing_of_the_rounds() -> None:
    found = SearchResult()
    for number in range(4):
        for figure in (LOADING, EPOCH):
            found.add((figure, 0), number, timed(1.0))
    found.add((AGAIN, 0), 3, timed(1.0))
    assert found.rounds == 4


def test_what_fails_without_another_one_is_raised() -> None:
    """The first count, and the last of settings that all fail."""
    tried: list[Any] = []

    def trial(figure: str, setting: Any) -> Any:
        def measure(number: int) -> Any:
            tried.append(setting)
            raise RuntimeError("No space left on device")

        return measure

    with pytest.raises(RuntimeError, match="No space left"):
        Search(trial).run(iter(range(3)))
    with pytest.raises(RuntimeError, match="No space left"):
        Search(trial).race(["a", "b"])
    assert tried == [0, "a", "b"]


def test_the_present_count_is_not_kept_where_it_fails() -> None:
    """Where nothing is proven, too."""
    found = SearchResult()
    for count in (0, 1):
        for figure in (LOADING, EPOCH):
            found.add((figure, count), 0, timed(1.0))
    found.failures[EPOCH, 2] = FULL
    assert answer.recommended(found, 2) == 0
    told = "one round is too few to tell a difference from chance: take data.num_workers=0; "
    assert any(sentence.startswith(told) for sentence in answer.sentences(found, 2, KEY))


def test_what_is_not_sure_is_told() -> None:
    """One round alone; what may be faster still; and where the rounds differ by a quarter."""
    found = found_by(measuring(sleeping, 0.002, 0.02), rounds=1)
    told = "one round is too few to tell a difference from chance: keep data.num_workers=0"
    assert f"{told}; a longer search may tell" in answer.sentences(found, 0, KEY)
    assert "one round" in answer.lines(found, "workers")[-1]
    for noise, is_busy in ((0.02, False), (0.6, True)):
        found = found_by(measuring(sleeping, 0.002, noise))
        sentences = " ".join(answer.sentences(found, 4, KEY))
        assert ("other work on this machine" in sentences) == is_busy
        told = "which are enough cannot be told: keep data.num_workers=4; a longer search may tell"
        assert (told in sentences) == is_busy  # it has not told how long it took


def test_it_says_how_long_an_answer_would_take() -> None:
    """Wherever there is none, with what to give for it: what ended the search was too little."""
    figures = measuring(lambda n: (0.0106, 0.0101, 0.01)[n], 0.0, 0.05)
    found = searched(figures, (0, 1, 2), rounds=6).found
    assert not found.is_answered
    gain = found.epoch_gain(found.tied[0], 2)
    assert gain is not None
    assert gain.half_width is not None
    assert found.needed == pytest.approx(
        (gain.half_width / max(math.log(1.1) - gain.mean, gain.mean - math.log(1.02))) ** 2
    )
    assert found.needed > 1
    found.took_s, found.had_time = 60.0, False
    assert found.as_dict()["needed_s"] == found.needed_s == 60 * found.needed
    needed_s = 10 * math.ceil(6 * found.needed)
    told = f"which are enough cannot be told: keep {KEY}=0; {duration_in_words(found.needed_s)}"
    told += " may tell"
    assert f"{told} (workers.budget_s={needed_s})" in answer.sentences(found, 0, KEY)
    found.had_time = True
    rounds = math.ceil(6 * found.needed)
    assert f"{told} (workers.rounds={rounds})" in answer.sentences(found, 0, KEY)
    told = told.replace(KEY, "num_workers")
    assert f"{told} (budget_s={needed_s})" in answer.sentences(found, 0, "num_workers")
    found.was_interrupted = True
    assert told in answer.sentences(found, 0, "num_workers")
    few = searched(figures, (0, 1, 2), rounds=2).found
    assert few.needed == 2  # four rounds have an interval
    clear = found_by(measuring(sleeping, 0.002, 0.01))
    assert clear.needed is clear.as_dict()["needed_s"] is None


def test_disturbed_rounds_are_searched_again() -> None:
    """The answer and its table are those of the others; the file says which, and of what."""
    figures, rounds = measuring(sleeping, 0.002, 0.01), Counter[int]()
    quiet, busy = Interference(4.0), Interference(4.0, lost_s={"others": 3.0})
    is_busy = False

    def disturbed(workers: int) -> tuple[float, float]:
        nonlocal is_busy
        rounds[workers] += 1
        is_busy = workers in (1, 4) and rounds[workers] == 4
        return (90.0, 90.0) if is_busy else figures(workers)

    def watch(measure: Any) -> Any:
        return measure(), busy if is_busy else quiet

    watched: Watch[Any] = watch
    found = searched(disturbed, counts_to_try(2), 5, watch=watched).found
    assert answer.recommended(found, 0) == 4
    assert max(found.of(EPOCH, count).mean for count in found.settings) < 2
    assert found.disturbed.keys() == {1}
    assert found.next_round >= 5
    assert any("rounds was disturbed and left out" in one for one in answer.lines(found, "workers"))
    kept = json.loads(json.dumps(found.as_dict()))
    assert kept["disturbed_rounds"] == [1]
    assert kept["settings"]["0"]["rounds"]["0"]["interference"]["disturbed"] is False


def test_the_table_marks_the_fastest() -> None:
    """In both columns, with what is tied with it."""
    found = SearchResult()
    for setting, seconds in (("a", 1.0), ("b", 2.0)):
        for number, part in enumerate((0.01, 0.03, 0.02, 0.05, 0.04)):
            uneven = part * seconds
            found.add((LOADING, setting), number, timed(seconds + uneven**2))
            found.add((EPOCH, setting), number, timed(3.0 - seconds + uneven / 9))
    heading, first, second, caption = answer.lines(found, "setting")
    assert heading.split() == ["setting", "loading", "alone", "end", "to", "end"]
    assert first.split()[0] == "a"
    assert first.count("*") == second.count("*") == 1
    assert first.index("*") < second.index("*")
    assert caption.endswith("* fastest, or tied with it")


def test_what_it_keeps() -> None:
    """Every round of every count, with both figures where both were measured."""
    kept = found_by(measuring(sleeping, 0.002, 0.02)).as_dict()
    assert {"0", "1", "2", "4"} <= kept["settings"].keys()
    rounds = kept["settings"]["4"]["rounds"]
    assert len(rounds) >= 4
    assert rounds[0].keys() == {"loading_s", "epoch_s", "interference"}
    assert [rounds[n]["loading_s"] is None for n in (0, len(rounds) - 1)] == [
        False,
        len(rounds) > 4,
    ]
