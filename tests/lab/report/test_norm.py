"""C7: why training without normalisation comes out as it does, from what was counted beside it."""

from pathlib import Path
from typing import Any

import pytest

from hpml.lab.report.norm import about_norm

from .test_answers import AGAIN, one, three

OTHER_RATE = "another optimizer.lr, under another lab.name, would tell."
STEP = "SGD's first step is the rate times the gradient: at one rate, 0.1, it moves the weights "


def counted(*norms: float, shares: list[float] | None = None, last: float = 0.7) -> dict[str, Any]:
    """A summary whose gradients have these norms, a seed each."""
    by_seed = {
        str(seed): {
            "gradient_norms": [norm, norm / 2],
            "losses": [2.25, 2.0, 2.25 - norm / 2],
            "given": [1.0, 0.5, last],
        }
        for seed, norm in enumerate(norms)
    }
    of_norm = {"shares": shares, "samples": 32} if shares else None
    return {
        "batch": "8 samples: made up",
        "first_steps_by_seed": by_seed,
        "time_of_normalising": of_norm,
    }


NORMED = counted(2.0, 3.0, shares=[0.25, 0.125, 0.5])
CONFIG = {"config": {"optimizer": {"lr": 0.1}, "seed": 0}}


def test_what_explains_learning_and_time_is_told(tmp_path: Path) -> None:
    """The gradient's norm, what convolutions are given, one batch; training, and its operators."""
    with_norm = one(tmp_path / "with", times=(5.0, 4.0, 4.0), **CONFIG)
    without = one(tmp_path / "without", losses=(2.3, 2.1, 1.9), times=(5.0, 3.0, 3.0), **CONFIG)
    counts = [counted(0.25, 0.375, last=0.02), NORMED]
    assert about_norm(with_norm, without, AGAIN, counts)[3:] == [
        "The training loss of epoch 1 with norm, 2, is reached in epoch 3 without it.",
        "Before the first step the norm of the gradient is 0.25 to 0.38 without norm, 2 to 3 with "
        "it (2 seeds; 8 samples: made up).",
        "The root mean square of what a convolution is given goes without norm from 1 at the first "
        "to 0.02 at the last; with it the last is given 0.7.",
        "On that batch alone 2 steps change the loss by 0.16 without norm, by 1.2 with it.",
        f"{STEP}1/8 as far without norm. That fits the higher loss, and is a likely cause; "
        f"{OTHER_RATE}",
        "Of an epoch training takes 2.93 s without norm, 3.47 s with it.",
        "Normalising takes 25% of the time of a step's operators on the CPU (19% to 38% in the "
        "middle half of 3 steps of 32 images): about 0.87 s of an epoch's training can fall "
        "away. Measured are 0.53 s less, in one run each, too few to tell from chance.",
    ]


@pytest.mark.parametrize(
    ("norms", "losses", "words"),
    [
        ((0.25, 0.25), (2.0, 1.5, 0.5), f"{STEP}1/10 as far without norm. The loss is no higher"),
        ((9.0, 11.0), (2.0, 1.8, 1.7), f"{STEP}4 times as far without norm. That may be too far"),
        ((1.0, 2.5), (2.0, 1.8, 1.7), "Gradients of these sizes overlap: they explain no diff"),
        ((0.25, 0.25), None, f"{STEP}1/10 as far without norm."),
    ],
)
def test_no_cause_is_named_that_does_not_fit(
    tmp_path: Path, norms: tuple[float, ...], losses: Any, words: str
) -> None:
    """Sizes that overlap, a loss that is no higher, a run that diverged."""
    with_norm = one(tmp_path / "with", **CONFIG)
    ended = {"losses": losses} if losses else {"status": "failed"}
    without = one(tmp_path / "without", **ended, **CONFIG)
    sentences = about_norm(with_norm, without, AGAIN, [counted(*norms), NORMED])
    (conclusion,) = [line for line in sentences if line.startswith(words)]
    assert ("likely cause" in conclusion) == (norms[0] == 9.0)


def test_the_time_is_explained_where_it_is_known(tmp_path: Path) -> None:
    """Not where others disturbed it, nor by the CPU's operators where a GPU trains."""
    with_norm, without = (three(tmp_path / name, (4.0, 3.0, 3.0)) for name in ("with", "without"))
    told = about_norm(with_norm, without, AGAIN, [counted(0.25), NORMED], on_cpu=False)
    assert told[-1] == "Of an epoch training takes 2.68 s without norm, 2.68 s with it."
    disturbed = one(tmp_path / "busy", times=(4.0, 3.0, 3.0), lost=(0.5,) * 3)
    busy = about_norm(disturbed, without, AGAIN, [counted(0.25), NORMED])
    assert not any("Of an epoch" in line or "Normalising" in line for line in busy)
    before = about_norm(with_norm, without, AGAIN, [{"batch": "of another version"}, {}])
    assert not any("gradient" in line or "Normalising" in line for line in before)
