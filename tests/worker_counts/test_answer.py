"""What a search for workers answers, and what it tries."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from helpers.jobs import Convolutional, Images, trainer
from helpers.labs import timed
from torch.utils.data import DataLoader

import hpml
from hpml.lab.unanswered import disturbed_by
from hpml.system.interference import Interference
from hpml.worker_counts import measure
from hpml.worker_counts.answer import WorkersAnswer, content_of, lines, recommended
from hpml.worker_counts.picture import picture
from hpml.worker_counts.search_result import EPOCH, LOADING, SearchResult


def searched(
    epochs: Mapping[int, list[float]], lost: Mapping[int, float] | None = None
) -> SearchResult:
    """Of made-up seconds, by the number of workers; one a round. `lost` is a part of each."""
    found = SearchResult()
    for count, rounds in epochs.items():
        share = (lost or {}).get(count, 0.0)
        for number, seconds in enumerate(rounds):
            seen = Interference(10.0, lost_s={"others": 10 * share} if share else {})
            found.add((LOADING, count), number, timed(seconds / 2))
            found.add((EPOCH, count), number, timed(seconds), seen)
    return found


def content(found: SearchResult, now: int = 0) -> dict[str, Any]:
    return content_of(found, now, "num_workers", f"num_workers={recommended(found, now)}")


STEADY = [2.0, 2.01, 1.99, 2.0, 2.01]
FAST = [1.0, 1.01, 0.99, 1.0, 1.0]
NOISY = [1.5, 3.0, 0.8, 2.0, 1.0]


def test_the_fewest_are_enough_where_that_is_answered() -> None:
    """By intervals that prove it."""
    found = content(searched({0: STEADY, 1: FAST, 2: [each + 0.002 for each in FAST]}))
    assert (found["recommended"], found["answered"]) == (1, True)
    assert (
        "end to end 1 worker is fastest, 1.00 ± 0.00 s an epoch of training"
        in found["sentences"][1]
    )
    assert "beside num_workers=0 that saves 1.00 ± 0.00 s an epoch (50%)" in found["sentences"]
    assert repr(WorkersAnswer(None, found)).splitlines()[-1] == "use: num_workers=1"


def test_the_present_count_is_kept_where_nothing_is_proven() -> None:
    """Whichever looks fastest; the fewest are not called enough."""
    unclear = searched({0: STEADY, 1: NOISY, 4: [2.5, 1.0, 2.0, 0.9, 2.2]})
    for now in (0, 4, 7):
        found = content(unclear, now)
        assert (found["recommended"], found["answered"]) == (now, False)
        told = f"which are enough cannot be told: keep num_workers={now}; a longer search may tell"
        assert told in found["sentences"]
        assert not any("enough:" in sentence for sentence in found["sentences"])
        assert repr(WorkersAnswer(None, found)).splitlines()[-1] == f"keep: num_workers={now}"
    assert "1 worker looks fastest" in content(unclear)["sentences"][1]


def test_a_count_that_is_proven_slower_is_not_kept() -> None:
    """The fewest that are proven to beat it are taken, though more may be faster still."""
    found = content(searched({0: [9.0, 9.1, 9.0, 9.1, 9.0], 1: [2.0, 1.2, 1.1, 2.1, 1.0], 2: FAST}))
    assert (found["recommended"], found["answered"]) == (1, False)
    told = "which are enough cannot be told, but num_workers=1 is proven to beat 0; a longer search"
    told += " may tell"
    assert told in found["sentences"]
    assert any(
        sentence.startswith("beside num_workers=0 that saves 7.") for sentence in found["sentences"]
    )
    assert repr(WorkersAnswer(None, found)).splitlines()[-1] == "use: num_workers=1"


def test_what_left_before_the_machine_grew_slow_is_not_the_fastest() -> None:
    """Though its mean is the lowest: what was proven in rounds in common holds."""
    found = searched({0: [1.2, 1.21, 1.19, 1.2], 1: FAST[:4], 2: [*FAST[1:4], 1.0]})
    for number in range(4, 9):
        for count in (1, 2):
            uneven_s = 0.01 * ((number + count) % 3)
            found.add((EPOCH, count), number, timed(1.4 + uneven_s))
            found.add((LOADING, count), number, timed(0.7 + uneven_s))
    assert found.of(EPOCH, 0).mean < found.of(EPOCH, 1).mean
    answer = content(found)
    assert (answer["recommended"], answer["answered"], answer["tied"]) == (1, True, [1, 2])
    assert 0 not in (answer["best_loading"], *answer["tied_loading"])
    _, end_to_end, beside = answer["sentences"]
    assert re.match("end to end 1 worker is (fastest|enough: tied with 2), ", end_to_end)
    assert beside.startswith("beside num_workers=0 that saves 0.200 ± ")


@pytest.mark.parametrize(
    ("lost", "now", "advice"),
    [
        ({}, 0, "use: num_workers=1"),
        ({2: 0.1}, 0, "use: num_workers=1"),  # which is slower than one without it, too
        ({2: 0.3}, 0, "use: num_workers=1, for all that"),
        ({2: 0.3}, 1, "keep: num_workers=1, for all that"),
        ({0: 0.6, 2: 0.3}, 0, "keep: num_workers=0, for all that"),  # it may be the fastest
    ],
)
def test_a_busy_machine_has_no_answer(lost: dict[int, float], now: int, advice: str) -> None:
    """Where others may have made it; what they cannot have made is taken. The lab judges alike."""
    busy = advice.endswith("for all that")
    epochs = {0: STEADY, 1: FAST, 2: [1.2 * each for each in FAST]}
    found = json.loads(json.dumps(content(searched(epochs, lost), now)))
    assert f"{WorkersAnswer(None, found).use}{', for all that' * busy}" == advice
    assert found["answered"] == (not disturbed_by(found)) == (not busy)
    told = [sentence for sentence in found["sentences"] if "which are enough" in sentence]
    assert len(told) == busy
    for sentence in told:
        which = max(lost, key=lambda count: lost[count])
        words = f"; the training with {which} workers waited up to {50 * lost[which]:.0f} s of 50 s"
        assert words in sentence
        assert sentence.endswith(": search again when the machine is quiet")


def test_an_interval_with_0_in_it_is_no_difference() -> None:
    """No `saves -0.011 to 0.414 s`."""
    nearly = [[2.0, 2.1, 1.9, 2.0, 2.0], [1.995, 2.11, 1.88, 1.99, 2.015]]
    found = content(searched(dict(enumerate(nearly))), now=1)
    assert (found["recommended"], found["answered"]) == (0, True)
    assert found["sentences"][-1] == "beside num_workers=1 no difference could be told"


def test_without_a_length_the_seconds_are_of_1000_steps() -> None:
    """In the table and in each sentence."""
    found = searched({0: STEADY, 1: FAST})
    found.span = "1,000 steps"
    told = [*lines(found, "workers"), *content(found)["sentences"]]
    assert not any("epoch" in line for line in told)
    assert "  seconds of 1,000 steps, without validation; * fastest, or tied with it" in told
    assert any(re.search(r"saves 1.00 ± 0.0\d s for 1,000 steps \(50%\)", line) for line in told)


def test_the_picture_is_of_anybodys_workers() -> None:
    """Its axis names no key of a configuration, which a Trainer of yours has not."""
    panels = picture(content(searched({0: STEADY, 1: FAST}))).figure.axes
    assert {axes.get_xlabel() for axes in panels} == {"number of workers"}


def test_workers_that_end_with_an_epoch_are_compared_with_ones_that_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The present number is measured as the others; so a difference is that of the number."""
    seen: dict[int, Any] = {}

    def stopped(trials: Any, figure: str, count: int) -> Any:
        seen[count] = trials._change_of(count)
        raise KeyboardInterrupt

    monkeypatch.setattr(measure.CountTrials, "__call__", stopped)
    monkeypatch.setattr(measure, "counts_to_try", lambda *of, most: iter([1]))
    for persistent in (False, True):
        loader: Any = DataLoader(Images(64), 8, num_workers=1, persistent_workers=persistent)
        with pytest.raises(KeyboardInterrupt):
            hpml.workers(trainer(tmp_path), Convolutional(2), loader)
        names = {("persistent_workers", True)} if not persistent else set()
        assert {pair for each in seen[1] for pair in each.settings.loader[1:]} == names
