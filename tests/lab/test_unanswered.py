"""Whether others may have made the answer of a search."""

from typing import Any

import pytest
from helpers.labs import search_result
from helpers.records import shared_epoch

from hpml.lab.unanswered import disturbed_by


def searched(*disturbed_rounds: int, **lost_s: float) -> dict[str, Any]:
    """Two workers are the best; `w3` is what three lost of 10 s in each disturbed round."""
    search = search_result({0: 9, 1: 5, 2: 3, 3: 4, 4: 5})
    for name, seconds in lost_s.items():
        rounds = search["settings"][name[1:]]["rounds"]
        for number in rounds:
            taken_s = seconds if int(number) in disturbed_rounds else 0.0
            rounds[number]["interference"] = shared_epoch(10.0, taken_s)
    return search | {"disturbed_rounds": [*disturbed_rounds]}


@pytest.mark.parametrize(
    ("search", "is_disturbed"),
    [
        (searched(), False),
        (searched(0, 1, 2, 3, 4, w3=4.0), True),  # without it three were below 3 s
        (searched(0, 1, 2, 3, 4, w3=1.0), False),  # 3.6 s are more than 3 s all the same
        (searched(0, 1, 2, 3, 4, w2=4.0), False),  # the best, and disturbed
        (searched(0, 1, w3=9.0), False),  # three quiet rounds are enough
        (searched(0, 1, 2, w3=9.0), True),
        (searched(0, 1, 2, 3, 4, w2=4.0) | {"tied": [2, 3]}, True),  # what is tied may not be
    ],
)
def test_a_search_on_a_busy_machine(search: dict[str, Any], is_disturbed: bool) -> None:
    """It has an answer as long as no other number could be better without what it lost."""
    assert bool(disturbed_by(search)) == is_disturbed


def test_quiet_rounds_are_those_of_the_number_itself() -> None:
    """One that came when the machine was busy is not saved by rounds of others before."""
    search = searched(3, 4, w3=9.0)
    rounds = search["settings"]["3"]["rounds"]
    for number in [number for number in rounds if int(number) < 3]:
        del rounds[number]
    assert "the training with 3 workers" in disturbed_by(search)


def test_results_of_earlier_versions_have_their_answers() -> None:
    """Nobody looked at their machine."""
    search = search_result({0: 9, 1: 5})
    assert disturbed_by(search) == ""
    verdict = {"kind": "inconclusive", "evidence": "", "advice": ""}
    assert disturbed_by({"diagnoses": {"a": {"verdict": verdict}}, "comparison": []}) == ""
