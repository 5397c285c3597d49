"""What the shares of time say, and what they leave open."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpml.records.verdict_in_words import in_words
from hpml.system.interference import Interference
from hpml.timing.advice import JobFacts
from hpml.timing.epoch_times import EpochTimes
from hpml.timing.likely_cause import CAUSES, Share, ShareMeter, by_cause, judge
from hpml.timing.live_shares import LiveShares, largest_owner
from hpml.timing.profiler_actions import BROADCAST, LOGGING, LOOP, RANKS

PIECES = st.lists(
    st.fixed_dictionaries({cause: st.floats(0, 1e9) for cause in CAUSES}), min_size=1, max_size=30
)


def metered(*pieces: Mapping[str, float]) -> dict[str, Share]:
    meter = ShareMeter()
    for piece in pieces:
        meter.add(piece)
    return meter.shares()


def shares(**given: float) -> dict[str, Share]:
    return {cause: Share(given.get(cause, 0.0)) for cause in CAUSES}


@given(PIECES)
def test_it_never_contradicts_the_shares(pieces: list[Mapping[str, float]]) -> None:
    """A cause that is named has the largest share, by more than the uncertainty of both."""
    found = metered(*pieces)
    if not found:
        return
    assert sum(share.share for share in found.values()) == pytest.approx(1)
    assert all(share.error >= 0 for share in found.values())
    verdict = judge(found)
    ranked = sorted(found.values(), key=lambda share: -share.share)
    lead = ranked[0].share - ranked[1].share
    uncertain = max(0.05, 2 * (ranked[0].error + ranked[1].error))
    assert (verdict["kind"] == "inconclusive") == (lead <= uncertain)
    if lead > uncertain:
        assert found[verdict["kind"].removesuffix("-bound")] == ranked[0]


def test_pieces_that_differ_make_a_share_uncertain() -> None:
    """The same sums: from steady pieces a verdict, from wild ones none."""
    steady = metered(*[{"input": 60, "compute": 40}] * 10)
    wild = metered(*[{"input": 0, "compute": 70}, {"input": 120, "compute": 10}] * 5)
    assert steady["input"].share == pytest.approx(wild["input"].share)
    assert judge(steady)["kind"] == "input-bound"
    assert judge(wild)["kind"] == "inconclusive"


FAST = {"compiled": True, "channels_last": True, "reduced_precision": True}
ADVICE: list[tuple[str, dict[str, Any], str]] = [
    ("input", {"data_keys": True, "num_workers": 0}, "data.num_workers (now 0)"),
    ("input", {"data_keys": True, "pipeline": "per_sample"}, "data.pipeline=batched"),
    ("input", {"num_workers": 2}, "num_workers for the DataLoader (now 2)"),
    ("input", {"data_keys": True, "num_workers": 4, "cores": 4}, "the loading itself cheaper"),
    ("input", {"data_keys": True, "pipeline": "device"}, "the loading itself cheaper"),
    ("input", {"data_keys": True, "in_memory": False}, "data.in_memory=true"),
    ("input", {"data_keys": True, "on_gpu": True, "pipeline": "batched"}, "pipeline=device"),
    ("transfer", {"data_keys": True, "on_gpu": True}, "data.pin_memory=true"),
    ("transfer", {"on_gpu": True, "pin_memory": True}, "the batch's transfer"),
    ("compute", {"keys": True}, "Try experiment=fast, or a GPU"),
    ("compute", {"keys": True, "on_gpu": True}, "Try experiment=fast"),
    ("compute", {"keys": True, "experiments": ("demo",)}, "Try experiment=[demo,fast], or a GPU"),
    ("compute", {"keys": True, "on_gpu": True, "channels_last": True}, "mixed, or compile=true"),
    ("compute", {"keys": True, "compiled": True}, "Try a GPU"),
    ("compute", {"keys": True, "on_gpu": True, **FAST}, "a smaller network or a faster device"),
]
OTHERS: list[tuple[tuple[str, float], str]] = [
    (("loop", 0.9), "try larger data.batch_size"),
    (("logging", 0.9), "90% of `other` is logging: raise log"),
    (("lightning_broadcast", 0.9), "asking all ranks once a step: try l"),
    (("Slow.on_train_batch_end", 0.4), "40% of `other` is Slow.on_train_b"),
]


@pytest.mark.parametrize(
    ("cause", "facts", "other", "advice"),
    [(cause, facts, None, advice) for cause, facts, advice in ADVICE]
    + [("overhead", {"data_keys": True}, other, advice) for other, advice in OTHERS],
)
def test_the_advice_names_what_to_change(
    cause: str, facts: dict[str, Any], other: tuple[str, float] | None, advice: str
) -> None:
    """A key of ours for our runs, an argument or a callback for others'."""
    verdict = judge(shares(**{cause: 1.0}), JobFacts(**facts), other)
    assert verdict["kind"] == f"{cause}-bound"
    assert advice in verdict["advice"]
    assert in_words(verdict)[0].startswith(f"likely {cause}-bound: ")


def test_causes_of_host_and_device() -> None:
    """The device's times tell of the same causes as the host's phases; validation of none."""
    expected = {"input": 1, "transfer": 0, "compute": 2, "overhead": 0}
    assert by_cause({"data": 1, "train": 2, "validation": 9}) == expected
    assert by_cause({"wait_data": 1, "idle": 4})["overhead"] == 4


def test_workers_that_start_anew_are_kept() -> None:
    """More of them would make the start longer."""
    facts = JobFacts(num_workers=2, persistent_workers=False, cores=8)
    verdict = judge(shares(input=1.0), facts, start_share=0.9)
    assert verdict["advice"].startswith("Try persistent_workers=True: ")
    assert "num_workers for" in judge(shares(input=1.0), facts, start_share=0.1)["advice"]


def test_the_evidence_is_of_all_the_time() -> None:
    """Validation has its part in it; where it has most, that is what is told."""
    verdict = judge(shares(compute=0.75, input=0.25), validation_share=0.2)
    assert verdict["evidence"].startswith("training 60%, waiting for data 20%, validation 20%, ")
    mostly = judge(shares(compute=1.0), validation_share=0.6)
    assert mostly["kind"] == "inconclusive"
    assert mostly["evidence"].startswith("validation 60%")
    assert mostly["advice"].startswith("Validate less often")


@pytest.mark.parametrize("validation_share", [0.0, 0.4])
def test_one_piece_alone_decides_nothing(validation_share: float) -> None:
    """Of its uncertainty nothing is known; another setting would not help."""
    found = metered({"input": 99, "compute": 1})
    verdict = judge(found, validation_share=validation_share)
    assert verdict["kind"] == "inconclusive"
    assert "too few steps" in verdict["evidence"]
    assert verdict["advice"] == "Train for more steps"


def decided(pieces: int, lead: float) -> Counter[str]:
    """How 400 runs of two causes are judged, whose shares differ by `lead` on the average."""
    draws, kinds = np.random.default_rng(0), Counter[str]()
    for _ in range(400):
        inputs = np.clip(draws.normal(0.5 + lead / 2, 0.15, pieces), 0, 1)
        found = metered(*({"input": share, "compute": 1 - share} for share in inputs))
        kinds[judge(found)["kind"]] += 1
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


def looked_at(times: dict[str, int], device: dict[str, float] | None = None) -> LiveShares:
    """After a first batch that took no time, and one that took these."""
    live = LiveShares(None)
    live.step_ended(4)
    live.look({}, None if device is None else dict.fromkeys(device, 0.0))
    live.step_ended(4)
    live.look(times, device)
    return live


def test_what_another_process_has_trained_of_an_epoch_is_not_of_this_one() -> None:
    """An epoch that a run resumes: its earlier part is in the epoch, not in the shares."""
    live = looked_at({"data/next": 1, "train/forward": 4})
    epoch = EpochTimes(0, {"data/next": 2, "train/forward": 8})
    epoch.add(EpochTimes(0, {"data/next": 1_000, "validation/loop": 1_000}))
    live.epoch_ended(epoch)
    found = live.of_all.shares()
    assert (found["input"].share, found["compute"].share) == (0.2, 0.8)
    assert live.validation_share == 0


def test_a_devices_times_that_are_not_known_are_not_the_hosts() -> None:
    """Of an epoch that is cut short: what the device did until the last look counts."""
    busy = {"busy": 6.0, "wait_data": 2.0, "copy": 2.0, "idle": 0.0}
    live = looked_at({"train/forward": 10}, busy)
    before = [share.share for share in live.of_all.shares().values()]
    live.epoch_ended(EpochTimes(0, {"train/forward": 10, "other/loop": 90}))
    assert [share.share for share in live.of_all.shares().values()] == before


@pytest.mark.parametrize("where", ["train/rest", RANKS, BROADCAST, LOOP, LOGGING])
def test_wherever_ranks_meet_counts_as_waiting(where: str) -> None:
    """The verdict of several ranks is of the one that waits least."""
    assert looked_at({where: 3, "data/next": 1}).most_waited_share == 0.75


@pytest.mark.parametrize(
    ("lost_s", "own_s", "kind"),
    [
        (0.4, 0.0, "input-bound"),  # less than is uncertain anyway
        (0.6, 0.0, "disturbed"),
        (6.5, 6.0, "disturbed"),
        (0.6, 2.6, "thread-bound"),  # others cannot have had as much
        (0.0, 2.4, "input-bound"),
        (0.0, 2.6, "thread-bound"),
    ],
)
def test_what_others_took_is_no_part_of_a_verdict(lost_s: float, own_s: float, kind: str) -> None:
    """More than the margin lost to others, and there is none; to itself, and that is the cause."""
    found = shares(input=0.9, compute=0.1)
    seen = Interference(10.0, cores=2, own_s=own_s, lost_s={"others": lost_s})
    facts = JobFacts(keys=True, data_keys=True, cores=2, threads=2, num_workers=4)
    verdict = judge(found, facts, interference=seen)
    assert verdict["kind"] == kind
    if kind == "disturbed":
        waited = f"the process waited up to {lost_s} s of 10.0 s for a core that other programs had"
        assert in_words(verdict) == (
            f"disturbed: {waited}",
            "Stop the other programs, and measure again",
        )
    if kind == "thread-bound":
        waited = "its threads and workers waited up to 2.6 s of 10.0 s for one another, on 2 cores"
        assert in_words(verdict) == (
            f"likely thread-bound: {waited}",
            "Try fewer data.num_workers (now 4), or cpu.threads=1 (now 2), or cpu.wait=brief",
        )


def test_how_threads_wait_comes_before_a_gpu() -> None:
    """Where several compute, and those that wait spin."""
    facts = JobFacts(threads=2, cores=2)
    advice = judge(shares(compute=1.0), facts)["advice"]
    assert advice == "Try GOMP_SPINCOUNT=2000 in the environment, or a GPU"
    assert judge(shares(compute=1.0), JobFacts(threads=1))["advice"] == "Try a GPU"


@pytest.mark.parametrize(
    ("facts", "kind", "evidence", "advice"),
    [
        (
            JobFacts(cores=2, threads=64, num_workers=4),
            "thread-bound",
            ": 64 threads and 4 workers on 2 cores",
            "Try fewer num_workers (now 4), or torch.set_num_threads(1) (now 64), "
            "or GOMP_SPINCOUNT=2000 in the environment",
        ),
        (
            JobFacts(keys=True, data_keys=True, cores=1, threads=1, num_workers=4),
            "thread-bound",
            ": 1 thread and 4 workers on 1 core",
            "Try fewer data.num_workers (now 4)",
        ),
        (
            JobFacts(cores=2, threads=2, num_workers=2),
            "disturbed",
            "",
            "Ask for more cores, or take fewer threads, and measure again",
        ),
        (
            JobFacts(cores=8, threads=64, num_workers=2, on_gpu=True),  # they need not compute
            "disturbed",
            "",
            "Ask for more cores, or take fewer threads, and measure again",
        ),
        (
            JobFacts(threads=64),
            "disturbed",
            "",
            "Ask for more cores, or take fewer threads, and measure again",
        ),
    ],
)
def test_a_quota_that_its_own_threads_use_up(
    facts: JobFacts, kind: str, evidence: str, advice: str
) -> None:
    """More threads or workers than its cores are the cause, and no disturbance by others."""
    seen = Interference(30.0, main_waited_s=20.0, own_s=0.0, lost_s={"quota": 30.0, "others": 1.0})
    verdict = judge(shares(compute=1.0), facts, interference=seen)
    waited = "the process waited up to 30 s of 30 s for its CPU quota"
    assert verdict["kind"] == kind
    assert (verdict["evidence"], verdict["advice"]) == (waited + evidence, advice)
    slowed = replace(seen, gpus=[{"disturbed_by": ["GPU 0 ran slower for heat"]}])
    assert judge(shares(compute=1.0), facts, interference=slowed)["kind"] == "disturbed"


def test_a_gpu_that_was_slowed_leaves_no_verdict() -> None:
    """However little the process waited: what it took is not known."""
    gpus = [{"disturbed_by": ["GPU 0 ran slower for heat"]}]
    seen = Interference(100.0, own_s=0.0, lost_s={"others": 0.04}, gpus=gpus)
    verdict = judge(shares(input=1.0), interference=seen)
    assert (verdict["kind"], verdict["evidence"]) == ("disturbed", "GPU 0 ran slower for heat")
    assert verdict["advice"] == "Measure again when the GPU is free and cool"


@pytest.mark.parametrize(
    ("ns", "largest"),
    [
        ({}, None),
        ({"loop": 6, "logging": 2}, ("loop", 0.75)),
        # 4 + 4 of 14: more than any other, and no single hook is the largest
        ({"Two.on_a": 4, "Two.on_b": 4, "One.on_a": 6}, ("Two (on_a, on_b)", pytest.approx(4 / 7))),
        # a hook that hardly counts is not named
        ({"Two.on_a": 1, "Two.on_b": 49, "loop": 50 - 25}, ("Two.on_b", pytest.approx(2 / 3))),
        (
            {"here.<locals>.Two.on_a": 5, "here.<locals>.One.on_a": 3},
            ("here.<locals>.Two.on_a", 0.625),
        ),
    ],
)
def test_a_callbacks_hooks_count_together(ns: dict[str, int], largest: Any) -> None:
    """The costliest callback is the one whose hooks take most in all."""
    assert largest_owner(ns) == largest
