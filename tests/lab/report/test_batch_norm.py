"""C7: why training without normalisation comes out as it does, from what was counted beside it."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from hpml.lab.report.batch_norm import about_norm

from .test_answers import AGAIN, one, runs, three, write

OTHER_RATE = "another optimizer.lr, under another lab.name, would tell."
STEP = (
    "But for weight decay, clipping and a scheduler SGD's first step is the rate times the gradient"
)
FAR = "such a batch of random images moves the weights "


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
    without = one(tmp_path / "without", losses=(2.3, 2.1, 1.9), times=(50.0, 3.0, 3.0), **CONFIG)
    counts = [counted(0.25, 0.375, last=0.02), NORMED]
    assert about_norm(with_norm, without, AGAIN, counts)[3:] == [
        "The training loss of epoch 1 with norm, 2, is reached in epoch 3 without it.",
        "Before the first step the norm of the gradient is 0.25 to 0.38 without norm, 2 to 3 with "
        "it (2 seeds; 8 samples: made up).",
        "The root mean square of what a convolution is given goes without norm from 1 at the first "
        "to 0.02 at the last; with it the last is given 0.7.",
        "On that batch alone 2 steps take the loss from 2.25 to 2.094 without norm, from 2.25 to 1 "
        "with it.",
        f"{STEP}: at one rate, 0.1, {FAR}1/8 as far without norm. That would fit the higher loss, "
        f"if that is not chance; {OTHER_RATE}",
        "Of an epoch after the first, training takes 2.40 s without norm, 3.20 s with it: 0.80 s "
        "less, in one run each, too few to tell from chance.",
        "In a step of 32 random images, uncompiled, in float32, on the CPU with torch's usual "
        "threads, normalising takes 25% of the operators' time (19% to 38% in the middle half of 3 "
        "steps): with that share about 0.80 s of training could fall away.",
    ]


HIGHER = (2.0, 1.8, 1.7)


@pytest.mark.parametrize(
    ("norms", "losses", "words"),
    [
        ((0.25, 0.25), (2.0, 1.5, 0.5), f"{FAR}1/10 as far without norm. The loss without norm is"),
        ((9.0, 11.0), HIGHER, "4 times as far without norm. That may be too far, which would fit"),
        ((1.0, 2.5), HIGHER, "The two ranges of gradients overlap: they explain no difference of"),
        ((1.6, 1.9), HIGHER, "1/1.4 as far without norm. That is too little to be a cause."),
        ((0.25, 0.25), None, f"{FAR}1/10 as far without norm."),
        ((0.25, 0.25), (2.0, 1.8, None), "Not every last loss is finite: no cause is named."),
        ((math.inf, 9.0), HIGHER, "These gradients have no finite ratio: they explain no"),
    ],
)
def test_no_cause_is_named_that_does_not_fit(
    tmp_path: Path, norms: tuple[float, ...], losses: Any, words: str
) -> None:
    """Sizes that overlap or are much alike, a loss that is no higher, a run that diverged."""
    with_norm = one(tmp_path / "with", **CONFIG)
    ended = {"losses": losses} if losses else {"status": "failed"}
    without = one(tmp_path / "without", **ended, **CONFIG)
    sentences = about_norm(with_norm, without, AGAIN, [counted(*norms), NORMED])
    assert len([line for line in sentences if words in line]) == 1
    assert "likely cause" not in "".join(sentences)
    assert ("would fit" in "".join(sentences)) == (norms[0] == 9.0)


@pytest.mark.parametrize(
    ("apart", "words"),
    [
        (
            0.5,
            f"as far without norm. That fits the higher loss, and is a likely cause; {OTHER_RATE}",
        ),
        (0.002, "as far without norm. The higher loss may be chance: no cause is named."),
    ],
)
def test_a_likely_cause_is_one_of_losses_that_are_told_apart(
    tmp_path: Path, apart: float, words: str
) -> None:
    """As the sentence on the losses themselves tells it."""
    for seed, noise in enumerate((0.01, -0.01, 0.0)):
        config = {"config": {"optimizer": {"lr": 0.1}, "seed": seed}}
        write(tmp_path / "with", f"{seed}", losses=(2.0, 1.5, 1 + noise), **config)
        write(tmp_path / "without", f"{seed}", losses=(2.0, 1.5, 1 + apart - noise), **config)
    both = runs(tmp_path / "with"), runs(tmp_path / "without")
    sentences = about_norm(*both, AGAIN, [counted(0.25), NORMED])
    assert ("told apart at 95 %" in sentences[0]) == ("likely cause" in words)
    assert len([line for line in sentences if line.endswith(words)]) == 1


def test_a_loss_that_both_have_after_one_epoch_says_nothing(tmp_path: Path) -> None:
    """That of guessing, say."""
    with_norm, without = (one(tmp_path / name) for name in ("with", "without"))
    assert "is reached" not in "".join(about_norm(with_norm, without, AGAIN))


def test_a_loss_that_grows_is_seen_to_grow(tmp_path: Path) -> None:
    """From where to where the first steps take it, also beyond all numbers."""
    grows, ends = counted(9.0), counted(9.0)
    grows["first_steps_by_seed"]["0"]["losses"] = [2.249, 9.9e10]
    ends["first_steps_by_seed"]["0"]["losses"] = [2.249, math.nan]
    both = [one(tmp_path / name) for name in ("with", "without")]
    told = "".join(about_norm(*both, AGAIN, [grows, ends]))
    to = "from 2.249 to 9.9e+10 without norm, from 2.249 to what is not finite with it."
    assert to in told


def test_the_time_is_explained_where_it_is_known(tmp_path: Path) -> None:
    """Not where others disturbed it, nor by the CPU's operators where a GPU trains."""
    with_norm, without = (three(tmp_path / name, (4.0, 3.0, 3.0)) for name in ("with", "without"))
    told = about_norm(with_norm, without, AGAIN, [counted(0.25), NORMED], on_cpu=False)
    same = "training takes 2.41 s without norm, 2.41 s with it: the same."
    assert told[-1] == f"Of an epoch after the first, {same}"
    disturbed = one(tmp_path / "busy", times=(4.0, 3.0, 3.0), lost=(0.5,) * 3)
    busy = about_norm(disturbed, without, AGAIN, [counted(0.25), NORMED])
    assert not any("Of an epoch" in line or "normalising" in line for line in busy)


def test_training_is_told_apart_by_its_own_times(tmp_path: Path) -> None:
    """Not by those of whole epochs, which loading may tell apart."""
    with_norm, without = three(tmp_path / "a", (4.0, 3.0, 3.0)), three(tmp_path / "b", (4, 2, 2))
    counts = [counted(0.25), NORMED]
    assert "1.61 s without norm, 2.41 s with it: 0.80 s less, told apart at 95 %." in "".join(
        about_norm(with_norm, without, AGAIN, counts)
    )
    for file, train_s in zip(
        sorted((tmp_path / "b").rglob("record.json")), (3, 1, 2.5), strict=True
    ):
        record = json.loads(file.read_text())
        for epoch in record["epochs"]:
            epoch["time"]["train_s"] = train_s
        file.write_text(json.dumps(record))
    told = "".join(about_norm(with_norm, runs(tmp_path / "b"), AGAIN, counts))
    assert "2.17 s without norm, 2.41 s with it: 0.25 s less, which" in told
    assert "shorter, told apart at 95 %" in told


def test_a_share_that_explains_no_time_is_said_to(tmp_path: Path) -> None:
    """Training takes longer without what it was to save."""
    both = one(tmp_path / "with"), one(tmp_path / "without", times=(5.0, 4.0, 4.0))
    *_, last = about_norm(*both, AGAIN, [counted(0.25), NORMED])
    assert last.endswith("fall away. It took more all the same, which this does not explain.")


@pytest.mark.parametrize("key", [{"compile": True}, {"trainer": {"precision": "bf16-mixed"}}])
def test_a_share_of_another_kind_of_step_is_not_told(tmp_path: Path, key: dict[str, Any]) -> None:
    """The summary's is neither compiled nor of another precision."""
    both = [one(tmp_path / name, config={"seed": 0} | key) for name in ("with", "without")]
    *_, last = about_norm(*both, AGAIN, [counted(0.25), NORMED])
    assert last.startswith("Of an epoch after the first, training takes")


def test_a_summary_without_first_steps_is_to_be_made_anew(tmp_path: Path) -> None:
    """One of an earlier version; not one of a network that has none, nor one that is not there."""
    both = [one(tmp_path / name) for name in ("with", "without")]
    earlier, has_none = {"batch": "8 samples"}, {"batch": "8 samples", "first_steps_by_seed": {}}
    told = about_norm(*both, AGAIN, [earlier, earlier], recount="delete a, then run `b`")
    assert "Why was not counted when this lab was begun: delete a, then run `b`." in told
    assert not any("gradient" in line or "normalising" in line for line in told)
    for counts in (has_none, None):
        told = about_norm(*both, AGAIN, [counts, counts], recount="delete a, then run `b`")
        assert "delete" not in "".join(told)
