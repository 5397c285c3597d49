"""Which of several ranks is late, and in what: on virtual clocks, each of its own time."""

import itertools
import math
import random

import pytest
from helpers.ranks import SimulatedRanks

from hpml.timing.advice import JobFacts
from hpml.timing.imbalance import advise_rank, imbalance
from hpml.timing.likely_cause import Share, judge
from hpml.timing.rank_comparison import OWN, Comparisons, Late, RankTimes, compare, place_in_words

STEPS = 20
MS = 10**6
PLACES = ("data", "forward", "backward", "optimizer", "callbacks", "validation")


def slow_s(place: str, ns: int) -> float:
    """What a delay makes of an epoch: all but validation comes once a step."""
    return ns * (1 if place == "validation" else STEPS) / 1e9


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("ranks", "rank"), [(2, 0), (2, 1), (4, 0), (4, 3)])
def test_the_late_rank_its_phase_and_by_how_much(place: str, ranks: int, rank: int) -> None:
    """Exactly, wherever the others wait for it: a slow backward is not that of those who wait."""
    delay_ns = 400 * MS if place == "validation" else 20 * MS
    compared = compare(SimulatedRanks(ranks, {(rank, place): delay_ns}).epoch(STEPS), STEPS)
    late_s = slow_s(place, delay_ns)
    assert compared.late is not None
    assert (compared.late.rank, compared.late.phase) == (rank, place)
    assert compared.late.late_s == pytest.approx(late_s, rel=1e-6)
    others = [s for other, s in enumerate(compared.late_s) if other != rank]
    assert others == pytest.approx([0.0 if ranks > 2 else -late_s] * len(others), abs=1e-6)
    assert compared.sampled_steps == STEPS
    if place in ("data", "forward", "backward"):  # before the exchange: the others wait in it
        assert compared.last == [STEPS * (each == rank) for each in range(ranks)]


@pytest.mark.parametrize("ranks", [2, 4])
def test_beside_noise_the_right_one_is_found_every_time(ranks: int) -> None:
    """Each place and rank, where every rank takes up to a fifth more or less in each phase."""
    draw = random.Random(0)
    for place, rank in itertools.product(PLACES, range(ranks)):
        noise = {
            (each, where): round(draw.uniform(-2, 2) * MS)
            for each in range(ranks)
            for where in PLACES
        }
        noise[rank, place] = 300 * MS if place == "validation" else 15 * MS
        late = compare(SimulatedRanks(ranks, noise).epoch(STEPS), STEPS).late
        assert late is not None
        assert (late.rank, late.phase) == (rank, place)


def test_ranks_alike_have_no_late_one() -> None:
    """However much they wait for a slow link: that is nobody's fault."""
    compared = compare(SimulatedRanks(4, {}, link_ns=30 * MS).epoch(STEPS), STEPS)
    assert compared.late is None
    assert compared.late_s == pytest.approx([0.0] * 4, abs=1e-6)


def test_what_the_exchange_holds_up_is_told_from_waiting_for_a_rank() -> None:
    """The rank that comes last waits for the link alone."""
    slow = {(1, "backward"): 40 * MS}
    compared = compare(SimulatedRanks(2, slow, link_ns=5 * MS).epoch(STEPS), STEPS)
    assert compared.exposed_s == pytest.approx(STEPS * 0.005)
    assert compared.talk_s == pytest.approx(0.010 + 0.020 + 0.005)  # from its first bucket


def test_a_few_steps_tell_what_the_exchange_holds_up() -> None:
    """Where the link is slow at times: by their part of the whole waiting, not by their own."""
    own = [[1.0] * len(OWN)] * 2
    sampled = [[0.1, 0.3], [0.2, 0.1]]  # the last one waits 0.1 in each
    ranks = [
        RankTimes([20.0] * 6, times, waited_s, waits, waits)
        for times, waited_s, waits in zip(own, [6.0, 8.0], sampled, strict=True)
    ]
    ranks = [RankTimes.from_row(rank.as_row()) for rank in ranks]
    assert compare(ranks, STEPS).exposed_s == pytest.approx(7.0 * 0.1 / 0.175)
    unknown = [RankTimes(r.times, r.own, math.nan, r.waits, r.talks) for r in ranks]
    assert compare(unknown, STEPS).exposed_s == pytest.approx(STEPS * 0.1)


def test_a_backward_pass_that_nobody_looked_into_is_left_out() -> None:
    """Without samples it is not known who waits in it: the rest is compared."""
    simulated = SimulatedRanks(2, {(0, "backward"): 40 * MS, (1, "data"): 10 * MS}).epoch(STEPS)
    own = [
        [math.nan if name == "backward" else s for name, s in zip(OWN, rank.own, strict=True)]
        for rank in simulated
    ]
    compared = compare([RankTimes(r.times, o) for r, o in zip(simulated, own, strict=True)], STEPS)
    assert compared.late is not None
    assert (compared.late.rank, compared.late.phase) == (1, "data")
    assert compared.exposed_s is None
    assert compared.sampled_steps == 0


def test_a_slow_logger_is_told_where_nothing_else_is_late() -> None:
    """What may hide waiting counts last."""
    own = [[1.0] * 7 + [2.0], [1.0] * 7 + [0.1]]
    ranks = [RankTimes([10.0] * 6, times) for times in own]
    late = compare(ranks, STEPS).late
    assert late == Late(0, "logging", pytest.approx(1.9))
    own[1][0] = 2.9  # rank 0 waits in its logging for the data of rank 1
    late = compare(ranks, STEPS).late
    assert late == Late(1, "data", pytest.approx(1.9))


def epochs_of(*slow: tuple[int, str] | None) -> Comparisons:
    found = Comparisons()
    for which in slow:
        delays = {} if which is None else {which: 20 * MS}
        found.epochs.append(compare(SimulatedRanks(3, delays).epoch(STEPS), STEPS))
    return found


def test_over_epochs_it_has_to_be_late_in_most() -> None:
    """Chance has another one late each time."""
    late = epochs_of((2, "data"), (2, "data"), None).late
    assert late is not None
    assert late == (Late(2, "data", pytest.approx(2 * 0.4 / 3)), 2)
    assert epochs_of((2, "data"), (1, "data"), None).late is None
    assert epochs_of((2, "data"), (1, "data"), (0, "forward")).late is None
    assert Comparisons().late is None


def test_an_imbalance_is_one_where_nothing_in_common_costs_more() -> None:
    """A slow link, or loading that is slow on all ranks, comes before a rank that is a bit late."""
    slow, alike = {(1, "backward"): 20 * MS}, {(rank, "data"): 60 * MS for rank in range(2)}
    cases = (
        (slow, 0, True),
        (slow, 60 * MS, False),
        (slow | alike, 0, False),
        (slow, 10 * MS, True),
    )
    for delays, link_ns, is_one in cases:
        simulated = SimulatedRanks(2, delays, link_ns, work_ns=MS)
        compared = Comparisons([compare(simulated.epoch(STEPS), STEPS)])
        assert compared.late is not None
        assert compared.late[0].rank == 1
        assert (compared.imbalance is not None) == is_one


def test_a_rank_is_named_with_its_host() -> None:
    """And with its device, where they have different ones."""
    places = [{"host": "a", "device": f"cuda:{n}"} for n in range(2)]
    assert place_in_words(1, places) == "rank 1 on a (cuda:1)"
    assert place_in_words(1, [{"host": "b", "device": "cpu"}] * 2) == "rank 1 on b"
    assert place_in_words(1, []) == "rank 1"


def test_the_verdict_of_an_imbalance() -> None:
    """Which rank, by how much, in what, how often; advice by what it is late in."""
    compared = epochs_of((1, "data"), (1, "data"))
    late, count = compared.late or pytest.fail("none is late")
    places = [{"host": "a", "device": "cpu"}] * 3
    advice = advise_rank(late, JobFacts(num_workers=0), None, 0.0)
    verdict = imbalance(late, count, compared, places, advice)
    assert verdict["kind"] == "imbalance"
    assert verdict["evidence"] == (
        "rank 1 on a is late by 0.4 s of 1.6 s an epoch, in data, in 2 of 2 epochs; "
        "the others wait for it"
    )
    assert "num_workers" in verdict["advice"]
    words = {p: advise_rank(Late(0, p, 1.0), JobFacts(), ("Own.hook", 0.9), 0.0) for p in OWN}
    assert words["backward"] == words["forward"] == words["optimizer"]
    assert "as many batches" in words["validation"]
    assert "90% of `other` is Own.hook" in words["callbacks"]


def test_communication_bound_where_the_exchange_leads() -> None:
    """What several ranks exchange is no more computing, and the advice is about it."""
    shares = {"input": 0.1, "transfer": 0.0, "compute": 0.85, "overhead": 0.05}
    pieces = {cause: Share(share, 0.005) for cause, share in shares.items()}
    assert judge(pieces, exposed_share=0.2)["kind"] == "compute-bound"
    verdict = judge(pieces, exposed_share=0.6)
    assert verdict["kind"] == "communication-bound"
    assert verdict["evidence"] == (
        "exchanging gradients 60%, training 25%, waiting for data 10%, other 5%, transfer 0%"
    )
    assert "accumulate_grad_batches=2" in verdict["advice"]
    assert "fp16" not in verdict["advice"]
    assert "fp16" in judge(pieces, JobFacts(on_gpu=True), exposed_share=0.6)["advice"]
    halved = judge(pieces, validation_share=0.5, exposed_share=0.3)
    assert halved["kind"] == "communication-bound"
    assert halved["evidence"].startswith("validation 50%, exchanging gradients 30%")
