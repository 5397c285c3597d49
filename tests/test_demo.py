"""What `scripts/demo.py` says of a prediction and of a measurement."""

import runpy
from pathlib import Path
from typing import Any

import pytest
from helpers.records import make_run

from hpml.report.collect import Run, collect

DEMO = runpy.run_path(str(Path(__file__).parents[1] / "scripts" / "demo.py"))
HAD = "for a core that other programs had"
QUIET = "; run it again when it is quiet"


def diagnosis(kind: str = "input-bound", **epoch_s: float) -> dict[str, Any]:
    epochs = {name: {"mean": seconds} for name, seconds in epoch_s.items()}
    verdict = {"kind": kind, "evidence": "It is so", "advice": "Stop the other programs"}
    return {"epoch_s": epochs, "verdict": verdict}


def trained(folder: Path, epoch_s: float, lost_s: float = 0.0) -> Run:
    make_run(folder, str(epoch_s), epoch_s=epoch_s, lost_s=lost_s)
    (run,), _ = collect([folder / str(epoch_s)])
    return run


def test_a_prediction_beside_its_measurement(tmp_path: Path) -> None:
    """As it was before; one that does not hold is called that; none is made of other verdicts."""
    seconds = DEMO["predicted"](diagnosis(as_it_is=10.0, loading_free=3.0))
    assert seconds == (3.0, 10.0)
    before, after = trained(tmp_path, 10.0), trained(tmp_path, 4.0)
    predicted = "predicted: at most 70% less time an epoch; measured: "
    measured = "60% less (4.00 s instead of 10.00 s)"
    assert DEMO["outcome"](before, after, seconds) == f"{predicted}{measured}"
    wrong = DEMO["outcome"](before, trained(tmp_path, 1.0), seconds)
    assert wrong.endswith("90% less (1.00 s instead of 10.00 s); the prediction does not hold here")
    assert DEMO["outcome"](before, after, None) == f"measured: {measured}"
    assert DEMO["outcome"](after, before, None).startswith("measured: 150% more")


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("disturbed", "other programs took too much of the trials to tell what limits the job"),
        ("thread-bound", "the job's own threads and workers wait for one another"),
        ("inconclusive", "no single cost stands out"),
        ("input-bound", "the trial with loading free failed"),
    ],
)
def test_a_verdict_that_predicts_nothing(kind: str, why: str) -> None:
    """What it means, and what to do."""
    given = diagnosis(kind, as_it_is=10.0, **({} if kind == "input-bound" else {"loading_free": 3}))
    assert DEMO["predicted"](given) is None
    words = DEMO["prediction_in_words"](given)
    assert words == f"no prediction: {why} ({kind}). Stop the other programs"


@pytest.mark.parametrize(
    ("epoch_s", "lost_s", "expected"),
    [
        (
            *(10.0, 9.0),
            "the machine was too busy for an answer: the job as it is waited up to 18 s of 20 s "
            f"{HAD}{QUIET}",
        ),
        (
            *(40.0, 9.0),
            "measured: less time an epoch, but how much is not known: the job as it is waited "
            f"up to 18 s of 80 s {HAD}",
        ),
    ],
)
def test_a_busy_machine(tmp_path: Path, epoch_s: float, lost_s: float, expected: str) -> None:
    """Nothing that it may have made is measured, nor set beside the prediction."""
    before, after = trained(tmp_path, epoch_s, lost_s), trained(tmp_path, 4.0)
    assert DEMO["outcome"](before, after, (3.0, 10.0)) == expected
