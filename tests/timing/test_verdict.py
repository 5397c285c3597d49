"""What the shares of time say, and what they leave open."""

from collections import Counter
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpml.timing.actions import BROADCAST, LOGGING, LOOP, RANKS
from hpml.timing.advice import JobFacts
from hpml.timing.epoch_times import EpochTimes
from hpml.timing.live import LiveShares
from hpml.timing.verdict import (
    CAUSES,
    Share,
    ShareMeter,
    _students_quantile,
    by_cause,
    in_words,
    judge,
)

PIECES = st.lists(
    st.fixed_dictionaries({cause: st.floats(0, 1e9) for cause in CAUSES}), min_size=1, max_size=30
)


def shares(**given: float) -> dict[str, Share]:
    return {cause: Share(given.get(cause, 0.0)) for cause in CAUSES}


@given(PIECES)
def test_it_never_contradicts_the_shares(pieces: list[Mapping[str, float]]) -> None:
    """A cause that is named has the largest share, by more than the uncertainty of both."""
    meter = ShareMeter()
    for piece in pieces:
        meter.add(piece)
    found = meter.shares()
    if not found:
        return
    verdict = judge(found)
    ranked = sorted(found.values(), key=lambda share: -share.share)
    lead = ranked[0].share - ranked[1].share
    uncertain = max(0.05, 2 * (ranked[0].error + ranked[1].error))
    if verdict["kind"] == "inconclusive":
        assert lead <= uncertain
    else:
        assert lead > uncertain
        assert found[verdict["kind"].removesuffix("-bound")] == ranked[0]


@given(PIECES)
def test_shares_sum_to_one(pieces: list[Mapping[str, float]]) -> None:
    """They are parts of a whole, and no error is negative."""
    meter = ShareMeter()
    for piece in pieces:
        meter.add(piece)
    found = meter.shares().values()
    assert not found or sum(share.share for share in found) == pytest.approx(1)
    assert all(share.error >= 0 for share in found)


def test_pieces_that_differ_make_a_share_uncertain() -> None:
    """The same sums: from steady pieces a verdict, from wild ones none."""
    steady, wild = ShareMeter(), ShareMeter()
    for number in range(10):
        steady.add({"input": 60, "compute": 40})
        wild.add({"input": 120, "compute": 10} if number % 2 else {"input": 0, "compute": 70})
    assert steady.shares()["input"].share == pytest.approx(wild.shares()["input"].share)
    assert judge(steady.shares())["kind"] == "input-bound"
    assert judge(wild.shares())["kind"] == "inconclusive"


def test_one_piece_alone_decides_nothing() -> None:
    """Of its uncertainty nothing is known."""
    meter = ShareMeter()
    meter.add({"input": 99, "compute": 1})
    assert judge(meter.shares())["kind"] == "inconclusive"


@pytest.mark.parametrize(
    ("cause", "setting", "other", "advice"),
    [
        ("input", JobFacts(data_keys=True, num_workers=0), None, "data.num_workers (now 0)"),
        ("input", JobFacts(data_keys=True, pipeline="per_sample"), None, "data.pipeline=batched"),
        ("input", JobFacts(num_workers=2), None, "num_workers for the DataLoader (now 2)"),
        ("transfer", JobFacts(data_keys=True, on_gpu=True), None, "data.pin_memory=true"),
        ("compute", JobFacts(keys=True), None, "Try experiment=fast, or a GPU"),
        (
            "compute",
            JobFacts(keys=True, on_gpu=True, channels_last=True),
            None,
            "trainer.precision=bf16-mixed, or compile=true",
        ),
        ("compute", JobFacts(keys=True, on_gpu=True), None, "Try experiment=fast"),
        (
            "compute",
            JobFacts(keys=True, experiments=("demo",)),
            None,
            "Try experiment=[demo,fast], or a GPU",
        ),
        ("overhead", JobFacts(data_keys=True), ("loop", 0.9), "data.batch_size"),
        ("overhead", JobFacts(), ("logging", 0.9), "90% of `other` is logging: raise log"),
        (
            "overhead",
            JobFacts(),
            ("lightning_broadcast", 0.9),
            "asking all ranks once a step: try l",
        ),
        (
            "overhead",
            JobFacts(),
            ("Slow.on_train_batch_end", 0.4),
            "40% of `other` is Slow.on_train_b",
        ),
        (
            "input",
            JobFacts(data_keys=True, num_workers=4, cores=4),
            None,
            "the loading itself cheaper",
        ),
        ("input", JobFacts(data_keys=True, pipeline="device"), None, "the loading itself cheaper"),
        ("input", JobFacts(data_keys=True, in_memory=False), None, "data.in_memory=true"),
        (
            "input",
            JobFacts(data_keys=True, on_gpu=True, pipeline="batched"),
            None,
            "pipeline=device",
        ),
        ("transfer", JobFacts(on_gpu=True, pin_memory=True), None, "the batch's transfer"),
        ("compute", JobFacts(keys=True, compiled=True), None, "Try a GPU"),
        (
            "compute",
            JobFacts(
                keys=True, on_gpu=True, compiled=True, channels_last=True, reduced_precision=True
            ),
            None,
            "a smaller network or a faster device",
        ),
    ],
)
def test_the_advice_names_what_to_change(
    cause: str, setting: JobFacts, other: tuple[str, float] | None, advice: str
) -> None:
    """A key of ours for our runs, an argument or a callback for others'."""
    verdict = judge(shares(**{cause: 1.0}), setting, other)
    assert verdict["kind"] == f"{cause}-bound"
    assert advice in verdict["advice"]
    assert in_words(verdict)[0].startswith(f"likely {cause}-bound: ")


def test_causes_of_host_and_device() -> None:
    """The device's times tell of the same causes as the host's phases; validation of none."""
    assert by_cause({"data": 1, "train": 2, "validation": 9}) == {
        "input": 1,
        "transfer": 0,
        "compute": 2,
        "overhead": 0,
    }
    assert by_cause({"wait_data": 1, "idle": 4})["overhead"] == 4


def test_workers_that_start_anew_are_kept() -> None:
    """More of them would make the start longer."""
    setting = JobFacts(num_workers=2, persistent_workers=False, cores=8)
    verdict = judge(shares(input=1.0), setting, start_share=0.9)
    assert verdict["advice"].startswith("Try persistent_workers=True: ")
    assert "num_workers for" in judge(shares(input=1.0), setting, start_share=0.1)["advice"]


def test_the_evidence_is_of_all_the_time() -> None:
    """Validation has its part in it; where it has most, that is what is told."""
    verdict = judge(shares(compute=0.75, input=0.25), validation_share=0.2)
    assert verdict["evidence"].startswith("training 60%, waiting for data 20%, validation 20%, ")
    mostly = judge(shares(compute=1.0), validation_share=0.6)
    assert mostly["kind"] == "inconclusive"
    assert mostly["evidence"].startswith("validation 60%")
    assert mostly["advice"].startswith("Validate less often")


def test_too_few_steps_are_told() -> None:
    """Another setting would not help."""
    meter = ShareMeter()
    meter.add({"input": 99, "compute": 1})
    verdict = judge(meter.shares(), validation_share=0.4)
    assert "too few steps" in verdict["evidence"]
    assert verdict["advice"] == "Train for more steps"


def decided(pieces: int, lead: float) -> Counter[str]:
    """How 400 runs of two causes are judged, whose shares differ by `lead` on the average."""
    draws, kinds = np.random.default_rng(0), Counter[str]()
    for _ in range(400):
        meter = ShareMeter()
        for share in np.clip(draws.normal(0.5 + lead / 2, 0.15, pieces), 0, 1):
            meter.add({"input": share, "compute": 1 - share})
        kinds[judge(meter.shares())["kind"]] += 1
    return kinds


@pytest.mark.parametrize("pieces", [2, 3, 4, 5, 10, 30])
def test_noise_decides_nothing(pieces: int) -> None:
    """Where both causes are even, at most one run in fourteen gets a verdict, however short."""
    assert decided(pieces, lead=0)["inconclusive"] >= 400 * 13 / 14


def test_a_clear_lead_decides() -> None:
    """Of 40 %, from ten pieces, in nine of ten runs; the wrong cause is never named."""
    kinds = decided(10, lead=0.4)
    assert kinds["input-bound"] >= 0.9 * 400
    assert kinds["compute-bound"] == 0


def test_students_quantile() -> None:
    """Against the tables, to three digits."""
    table = {2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 9: 2.262, 29: 2.045, 1000: 1.962}
    for df, quantile in table.items():
        assert _students_quantile(df) == pytest.approx(quantile, rel=0.01)


def test_what_another_process_has_trained_of_an_epoch_is_not_of_this_one() -> None:
    """An epoch that a run goes on with: its earlier part is in the epoch, not in the shares."""
    live, epoch = LiveShares(None), EpochTimes(0, {"data/next": 2, "train/forward": 8})
    for times in ({}, {"data/next": 1, "train/forward": 4}):
        live.step_ended(4)
        live.look(times, None)
    epoch.add(EpochTimes(0, {"data/next": 1_000, "validation/loop": 1_000}))
    live.epoch_ended(epoch)
    found = live.of_all.shares()
    assert (found["input"].share, found["compute"].share) == (0.2, 0.8)
    assert live.validation_share == 0


def test_a_devices_times_that_are_not_known_are_not_the_hosts() -> None:
    """Of an epoch that is cut short: what the device did until the last look counts."""
    live = LiveShares(None)
    busy = {"busy": 6.0, "wait_data": 2.0, "copy": 2.0, "idle": 0.0}
    for host, device in (({}, dict.fromkeys(busy, 0.0)), ({"train/forward": 10}, busy)):
        live.step_ended(4)
        live.look(host, device)
    before = live.of_all.shares()
    live.epoch_ended(EpochTimes(0, {"train/forward": 10, "other/loop": 90}))
    assert {k: s.share for k, s in live.of_all.shares().items()} == {
        k: s.share for k, s in before.items()
    }


@pytest.mark.parametrize("where", ["train/rest", RANKS, BROADCAST, LOOP, LOGGING])
def test_wherever_ranks_meet_counts_as_waiting(where: str) -> None:
    """The verdict of several ranks is of the one that waits least."""
    live = LiveShares(None)
    for times in ({}, {where: 3, "data/next": 1}):
        live.step_ended(4)
        live.look(times, None)
    assert live.most_waited_share == 0.75
