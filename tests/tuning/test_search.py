"""The search for changes, on trials whose effects are known and whose noise is drawn."""

import math
from collections.abc import Callable, Mapping

import numpy as np
import pytest

from hpml.trials.pace import Pace, Timed
from hpml.trials.rounds import FEWEST_ROUNDS, Candidate, Measurements
from hpml.tuning.caveats import why_not_taken
from hpml.tuning.change import NONE, Change, Changes
from hpml.tuning.search import Search

BUDGET_S = 180.0


def change(name: str) -> Change:
    """Of the slot before its `=`."""
    return Change(name, frozenset({name.partition("=")[0]}), frozenset({"input"}))


def searched(
    effects: Mapping[str, float],
    seed: int = 0,
    noise: float = 0.01,
    pair: tuple[frozenset[str], float] = (frozenset("none"), 0.0),
    budget_s: float = BUDGET_S,
    fails: Callable[[int], None] = lambda count: None,
    may_choose: Callable[[Changes], bool] = lambda changes: True,
    slow: float = 1.0,
) -> Search:
    """A search among changes that add to the logarithm of an epoch's time; a `pair` adds more.

    The machine drifts, a burst comes once in twenty trials, and for a third of the time, in spells
    of a second or two, everything takes `slow` times as long.
    """
    generator, clock_s, drift, trials = np.random.default_rng(seed), 0.0, 0.0, 0
    spells = np.cumsum(generator.exponential([2.0, 1.0], (200, 2)).ravel())

    def trial(changes: Changes) -> Candidate[Timed]:
        def measure(number: int) -> Timed:
            nonlocal clock_s, drift, trials
            trials += 1
            fails(trials)
            names = {each.name for each in changes}
            drift = 0.95 * drift + 0.3 * noise * generator.normal()
            burst = generator.exponential(0.5) if generator.random() < 0.05 else 0.0
            effect = sum(effects[name] for name in names) + pair[1] * (pair[0] <= names)
            epoch_s = math.exp(effect + drift + burst + noise * generator.normal())
            epoch_s *= slow if np.searchsorted(spells, clock_s) % 2 else 1.0
            clock_s += 0.5 * epoch_s + 0.1
            return Timed(epoch_s, Pace(epoch_s / 100, 0.0, None))

        return measure

    changes = list(map(change, effects))
    search = Search(trial, changes, lambda: budget_s - clock_s, budget_s, may_choose=may_choose)
    search.run()
    assert clock_s < budget_s + 20
    return search


def claimed(search: Search) -> set[str]:
    """The changes that are recommended."""
    gain = search.gain
    return {each.name for each in search.chosen} if gain and gain.low > 0 else set()


@pytest.mark.parametrize("noise", [0.01, 0.1])
def test_changes_that_do_nothing_are_not_recommended(noise: float) -> None:
    """However often it looks: in at most 5 % of searches."""
    nothing = {f"change{number}=1": 0.0 for number in range(10)}
    wrong = sum(bool(claimed(searched(nothing, seed, noise))) for seed in range(60))
    assert wrong <= 3


def test_the_best_of_a_slot_and_what_helps_beside_it_are_combined() -> None:
    """Harmful changes, idle ones, and the second best of a slot are not."""
    effects = {"workers=1": -0.3, "workers=2": -0.5, "threads=1": -0.2, "a=1": 0.0, "b=1": 0.3}
    found = [searched(effects, seed) for seed in range(20)]
    right = [search for search in found if claimed(search) == {"workers=2", "threads=1"}]
    assert len(right) >= 14  # bursts hide the smaller one from the others
    for search in right:
        assert search.gain is not None
        assert search.gain.low <= 0.7 <= search.gain.high


def test_a_machine_of_two_speeds_needs_more_rounds_of_what_looks_best() -> None:
    """Others share the cores: rounds go on, of few changes, until what seems to help is known."""
    effects = {"workers=2": -0.5, "workers=1": -0.1, **{f"idle{n}=1": 0.0 for n in range(6)}}
    found = [searched(effects, seed, noise=0.05, slow=1.5, budget_s=70.0) for seed in range(10)]
    assert sum(claimed(search) == {"workers=2"} for search in found) >= 8


def test_what_time_is_too_short_to_prove_in_a_race_has_rounds_of_its_own() -> None:
    """Of many changes in few noisy rounds none is proven, for all have to be right at once."""
    effects = {"decoder=turbo": -0.4, "workers=1": -0.2, **{f"idle{n}=1": 0.0 for n in range(8)}}
    found = [searched(effects, seed, noise=0.15, budget_s=45.0) for seed in range(20)]
    gains = [search.gain_of(NONE, search.chosen) for search in found]
    unproven = [s for s, gain in zip(found, gains, strict=True) if gain and gain.low <= 0]
    claims = [name for search in unproven for name in claimed(search)]
    assert claims.count("decoder=turbo") >= 4
    assert not {*claims} - {*list(effects)[:2]}


def test_the_gain_is_inside_its_interval() -> None:
    """In 19 of 20 searches, though it stops when it has seen enough."""
    gains = [searched({"a=1": -0.2}, seed).gain for seed in range(40)]
    known = [gain for gain in gains if gain is not None]  # bursts hide it from the others
    assert len(known) >= 34
    assert sum(not gain.low <= 0.2 <= gain.high for gain in known) <= 2


def test_what_brings_nothing_in_company_is_taken_back() -> None:
    """Either of two changes alone is as good as both."""
    pair = frozenset({"a=1", "b=1"}), 0.5
    found = [searched({"a=1": -0.5, "b=1": -0.5}, seed, pair=pair) for seed in range(10)]
    assert sum(len(claimed(search)) == 1 for search in found) >= 9


def test_two_that_help_together_only_are_found_as_one() -> None:
    """Workers and threads, offered together: each costs without the other."""
    effects = {"workers=2": 0.5, "threads=1": 0.1, "workers=2 + threads=1": -0.7}
    found = [searched(effects, seed) for seed in range(10)]
    assert sum(claimed(search) == {"workers=2 + threads=1"} for search in found) >= 9


def hidden(names: set[str], workers: str = "workers=2") -> float:
    """An epoch of a callback that costs nothing beside one worker, for that takes longer."""
    loading_s, callback_s = 3.0, 0.1 if "callback=20" in names else 1.5
    if "workers=1" in names:
        return max(loading_s, callback_s)
    return (loading_s + callback_s) / (1.4 if workers in names else 1.0)


@pytest.mark.parametrize(
    ("workers", "right"), [("workers=2", {"workers=2", "callback=20"}), ("none", {"workers=1"})]
)
def test_what_one_choice_hides_is_tried_beside_another(workers: str, right: set[str]) -> None:
    """One worker looks best alone: two with a cheaper callback are better, where two are faster."""
    noise, clock_s = np.random.default_rng(0), 0.0

    def trial(changes: Changes) -> Candidate[Timed]:
        def measure(number: int) -> Timed:
            nonlocal clock_s
            seconds = hidden({each.name for each in changes}, workers)
            seconds *= math.exp(0.02 * noise.normal())
            clock_s += 0.1 * seconds
            return Timed(seconds, Pace(seconds / 100, 0.0, None))

        return measure

    names = ["workers=1", "workers=2", "callback=20"]
    steps: list[str] = []
    changes = list(map(change, names))
    search = Search(trial, changes, lambda: BUDGET_S - clock_s, BUDGET_S, steps.append)
    search.run()
    assert claimed(search) == right
    assert {each.name for each, _ in search.steps} >= right
    before: Changes = frozenset()
    for _, after in search.steps:  # each has rounds that tell what it has brought
        assert search.gain_of(before, after) is not None
        before = after
    assert search.gain is not None
    faster = hidden(set(), workers) / hidden(right, workers)
    assert math.exp(search.gain.mean) == pytest.approx(faster, rel=0.05)


class SlowTrials:
    """Trials that take so long, of which one change alone halves an epoch; there are 60 s."""

    def __init__(self, faster: str, first_s: float, others_s: float) -> None:
        self.clock_s = 0.0
        self._faster, self._first_s, self._others_s = faster, first_s, others_s

    def __call__(self, changes: Changes) -> Candidate[Timed]:
        def measure(number: int) -> Timed:
            self.clock_s += self._others_s if self.clock_s else self._first_s
            seconds = 0.5 if self._faster in {each.name for each in changes} else 1.0
            return Timed(seconds + number / 1e4, Pace(0.01, 0.0, None))

        return measure

    def left_s(self) -> float:
        return 60.0 - self.clock_s


def test_trials_that_take_longer_than_the_first_one_leave_changes_out() -> None:
    """The worst so far go, so that the others have the rounds that an answer needs."""
    trials = SlowTrials("good=1", first_s=0.5, others_s=1.5)
    changes = list(map(change, [*(f"idle{number}=1" for number in range(9)), "good=1"]))
    search = Search(trials, changes, trials.left_s, 60.0)
    search.run()
    assert search.is_raced
    assert claimed(search) == {"good=1"}
    assert 0 < len(search.left_out) < 9
    assert "good=1" not in {each.name for each in search.left_out}
    assert set(why_not_taken(search).values()) == {"there was no time for enough rounds of it"}
    assert trials.clock_s < 70


def test_changes_left_out_are_taken_in_where_time_is_left_after_all() -> None:
    """A first trial may import and compile: it is no measure of how many there is time for."""
    trials = SlowTrials("last=1", first_s=2.0, others_s=0.3)
    changes = list(map(change, [*(f"idle{number}=1" for number in range(9)), "last=1"]))
    lines: list[str] = []
    search = Search(trials, changes, trials.left_s, 60.0, lines.append)
    search.run()
    assert "time for 4 of 10 changes" in lines
    assert not search.left_out
    assert search.is_raced
    assert claimed(search) == {"last=1"}


@pytest.mark.parametrize("others_s", [1.0, 1.25, 1.5, 1.75, 2.0])
def test_a_change_that_is_taken_in_and_has_too_few_rounds_is_told(others_s: float) -> None:
    """Each one has enough rounds, or is left out in the answer's words."""
    trials = SlowTrials("", first_s=2.0, others_s=others_s)
    changes = list(map(change, (f"idle{number}=1" for number in range(10))))
    search = Search(trials, changes, trials.left_s, 60.0)
    search.run()
    rounds = {of: len(rounds) for of, rounds in search.measured.by_name.items()}
    few = [each for each in changes if rounds.get(frozenset({each}), 0) < FEWEST_ROUNDS]
    assert set(few) == {*search.left_out}
    assert trials.clock_s < 70


def test_a_job_that_fails_takes_nothing_in() -> None:
    """Nothing is tried after it."""
    trials, lines = SlowTrials("", first_s=2.0, others_s=0.3), list[str]()

    def trial(changes: Changes) -> Candidate[Timed]:
        measure = trials(changes)

        def failing(number: int) -> Timed:
            if number > 1 and not changes:
                raise RuntimeError("the job itself")
            return measure(number)

        return failing

    changes = list(map(change, (f"idle{number}=1" for number in range(10))))
    search = Search(trial, changes, trials.left_s, 60.0, lines.append)
    search.run()
    assert "the job itself" in search.rounds.why_ended
    assert len(search.left_out) == 6
    assert not any("after all" in line for line in lines)


def test_a_resumed_search_keeps_what_the_first_one_proved() -> None:
    """Where there is time for none of its changes again."""
    changes = list(map(change, ["idle=1", "good=1", "new=1"]))
    measured: Measurements[Changes, Timed] = Measurements()
    for number in range(10):
        for of in (NONE, *(frozenset({each}) for each in changes[:2])):
            seconds = 0.5 if "good=1" in {each.name for each in of} else 1.0
            measured.add(of, number, Timed(seconds + number / 1e4, Pace(0.01, 0.0, None)))
    trials = SlowTrials("good=1", first_s=5.0, others_s=5.0)
    search = Search(trials, changes, trials.left_s, 60.0, measured=measured)
    search.run()
    assert claimed(search) == {"good=1"}
    assert why_not_taken(search) == {changes[2]: "there was no time for it"}


def test_a_resumed_search_gives_its_time_to_what_is_new() -> None:
    """Those that had their rounds, and are not known to be idle, wait."""
    known, new = [change(f"idle{n}=1") for n in range(20)], [change("good=1"), change("new=1")]
    measured: Measurements[Changes, Timed] = Measurements()
    for number in range(6):
        for of in (NONE, *(frozenset({each}) for each in known)):
            seconds = 1.0 + 0.1 * ((number + len(measured.by_name)) % 3)
            measured.add(of, number, Timed(seconds, Pace(0.01, 0.0, None)))
    trials = SlowTrials("good=1", first_s=1.0, others_s=1.0)
    search = Search(trials, [*known, *new], trials.left_s, 60.0, measured=measured)
    search.run()
    assert claimed(search) == {"good=1"}
    assert search.is_raced
    assert not search.left_out


def test_what_may_not_be_chosen_together_is_told() -> None:
    search = searched({"a=1": -0.5, "b=1": -0.4}, may_choose=lambda changes: len(changes) < 2)
    (dropped,) = search.unlike
    assert why_not_taken(search) == {dropped: "all together would compute something else"}


def test_what_seems_to_help_beside_a_choice_and_had_no_time_is_told() -> None:
    """Not what the choice excludes: that was left for the better one."""
    ratios = {"workers=2": [0.5] * 6, "workers=1": [0.6, 0.9] * 3, "a=1": [0.6, 0.9] * 3}
    of = {name: frozenset({change(name)}) for name in ratios}
    every = {NONE: [1.0] * 6, **{of[name]: ratio for name, ratio in ratios.items()}}
    measured: Measurements[Changes, Timed] = Measurements()
    for changes, epochs_s in every.items():
        for number, epoch_s in enumerate(epochs_s):
            measured.add(changes, number, Timed(epoch_s, Pace(0.01, 0.0, None)))

    def trial(changes: Changes) -> Candidate[Timed]:
        raise AssertionError("no trial is needed")

    search = Search(trial, list(map(change, ratios)), lambda: 1.0, 1.0, measured=measured)
    search.chosen = of["workers=2"]
    gains = {name: search.gain_of(NONE, of[name]) for name in ratios}
    search.alone = {change(name): gain for name, gain in gains.items() if gain}
    told = {each.name: why for each, why in why_not_taken(search).items()}
    assert told == {"a=1": "looks 1.36 times as fast, which there was no time to prove"}


def test_what_fails_beside_a_choice_is_told() -> None:
    search = searched({"a=1": -0.5, "b=1": -0.4})
    a, b = search.changes
    search.chosen = frozenset({a})
    search.measured.failures = {frozenset({a, b}): "no memory", frozenset({a}): "once"}
    assert why_not_taken(search) == {b: "could not be tried beside a=1 (no memory)"}


def test_an_interrupt_gives_the_answer_so_far() -> None:
    """What was proven in the race is chosen; nothing is claimed before its own rounds."""

    def interrupts(count: int) -> None:
        if count == 30:
            raise KeyboardInterrupt

    search = searched({"a=1": -0.5, "b=1": 0.0}, fails=interrupts)
    assert search.was_interrupted
    assert search.measured.rounds > 0
    assert {each.name for each in search.alone} == {"a=1", "b=1"}  # as far as it got


@pytest.mark.parametrize(("round_", "right"), [(0, set()), (2, set()), (6, {"good=1"})])
def test_a_job_that_fails_as_it_is_ends_the_race(round_: int, right: set[str]) -> None:
    """In one round: what was proven before is chosen, and has its own rounds."""
    # of even rounds and of odd ones: the wild one looks better, and is not proven
    seconds_of = {"": (1.0, 1.0), "good=1": (0.5, 0.5), "wild=1": (0.02, 1.5)}

    def trial(changes: Changes) -> Candidate[Timed]:
        def measure(number: int) -> Timed:
            if not changes and number == round_ and not search.chosen:
                raise OSError("no space is left")
            seconds = seconds_of["".join(each.name for each in changes)][number % 2]
            return Timed(seconds + number / 1e4, Pace(0.01, 0.0, None))

        return measure

    search = Search(trial, list(map(change, ("good=1", "wild=1"))), lambda: BUDGET_S, BUDGET_S)
    search.run()
    assert "OSError: no space is left" in search.rounds.why_ended
    assert claimed(search) == right
    assert search.is_raced is bool(right)


def test_a_change_that_fails_is_dropped() -> None:
    """The others go on."""

    def trial(changes: Changes) -> Candidate[Timed]:
        def measure(number: int) -> Timed:
            if "bad=1" in {each.name for each in changes}:
                raise RuntimeError("no such kernel")
            seconds = 1.0 if not changes else 0.5
            return Timed(seconds + number / 1e4, Pace(0.01, 0.0, None))

        return measure

    search = Search(trial, [change("good=1"), change("bad=1")], lambda: BUDGET_S, BUDGET_S)
    search.run()
    assert {each.name for each in search.chosen} == {"good=1"}
    assert all("no such kernel" in reason for reason in search.measured.failures.values())


def test_slow_trials_leave_changes_out_and_keep_to_the_budget() -> None:
    """The first ones on the list are raced, for they promise most; what is left out is known."""
    trials = SlowTrials("first=1", first_s=2.0, others_s=2.0)
    changes = list(map(change, ("first=1", "second=1", "third=1", "fourth=1", "fifth=1")))
    search = Search(trials, changes, trials.left_s, 60.0)
    search.run()
    assert trials.clock_s <= 1.2 * 60.0
    assert [each.name for each in search.left_out] == ["fifth=1"]
    assert claimed(search) == {"first=1"}
    assert search.is_raced


def test_a_machine_that_grows_slow_ends_a_round_early() -> None:
    """The budget holds though each trial takes ten times as long as the first."""
    trials = SlowTrials("", first_s=1.0, others_s=10.0)
    search = Search(trials, list(map(change, "abcde")), trials.left_s, 60.0)
    search.run()
    assert trials.clock_s <= 60.0
    assert not search.is_raced
    assert search.rounds_had == 0
    assert not search.chosen


def test_what_compiles_at_first_makes_no_trial_dear() -> None:
    """One that takes forty times as long, once, leaves the others their rounds."""
    clock_s, seen = 0.0, set[str]()

    def trial(changes: Changes) -> Candidate[Timed]:
        def measure(number: int) -> Timed:
            nonlocal clock_s
            name = "".join(each.name for each in changes)
            clock_s += 20.0 if name == "compile" and name not in seen else 0.5
            seen.add(name)
            seconds = 0.5 if "good=1" in name else 1.0
            return Timed(seconds + number / 1e4, Pace(0.01, 0.0, None))

        return measure

    names = ["good=1", "compile", "idle=1"]
    search = Search(trial, list(map(change, names)), lambda: 90.0 - clock_s, 90.0)
    search.run()
    assert claimed(search) == {"good=1"}


def test_changes_that_may_not_be_together_are_not() -> None:
    """The one that was chosen last goes, before anything is claimed."""
    asked = []

    def may_choose(changes: Changes) -> bool:
        asked.append({each.name for each in changes})
        return len(changes) < 2

    search = searched({"a=1": -0.7, "b=1": -0.4}, may_choose=may_choose)
    assert claimed(search) == {"a=1"}
    assert asked == [{"a=1"}, {"b=1"}, {"a=1", "b=1"}]


def test_a_single_slow_round_rules_nothing_out() -> None:
    """Others may have slowed it; two do, and one that took ten times as long."""
    slowed = {("good=1", 1): 5.0, ("slow=1", 1): 5.0, ("slow=1", 2): 5.0, ("stuck=1", 1): 20.0}
    tried: list[tuple[str, int]] = []

    def trial(changes: Changes) -> Candidate[Timed]:
        def measure(number: int) -> Timed:
            name = "".join(each.name for each in changes)
            tried.append((name, number))
            seconds = slowed.get((name, number), 0.5 if changes else 1.0)
            return Timed(seconds + number / 1e4, Pace(0.01, 0.0, None))

        return measure

    names = ["good=1", "slow=1", "stuck=1"]
    search = Search(trial, list(map(change, names)), lambda: BUDGET_S, BUDGET_S)
    search.is_raced = False
    search.rounds.run([frozenset()])
    search._race({each: frozenset({each}) for each in search.changes})
    rounds = [max(number for name, number in tried if name == each) for each in names]
    assert rounds[0] > 4
    assert rounds[1:] == [2, 1]


def test_changes_that_rest_are_not_told_as_raced() -> None:
    """Once each had its rounds, those that look best go on alone."""
    told: list[str] = []
    clock_s = 0.0

    def trial(changes: Changes) -> Candidate[Timed]:
        def measure(number: int) -> Timed:
            nonlocal clock_s
            clock_s += 1.0
            first = "first=1" in {each.name for each in changes}
            seconds = 0.8 * (1 + 0.2 * (number % 2)) if first else 1.0 + number / 1e2
            return Timed(seconds * (1 + 0.1 * bool(changes) * (number % 2)), Pace(0.01, 0.0, None))

        return measure

    changes = list(map(change, ("first=1", "second=1", "third=1")))
    Search(trial, changes, lambda: 1000.0 - clock_s, 1000.0, told.append).run()
    counts = [line.partition(": ")[2].partition(",")[0] for line in told if line[:5] == "round"]
    assert counts[:5] == [*(["3 changes"] * 4), "1 change"]
