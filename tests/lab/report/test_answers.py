"""Sentences follow the numbers: where these are reversed, they are reversed too."""

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from helpers.records import MACHINE, make_run, shared_epoch

from hpml.lab.report.answers import about_devices, about_learning, about_times
from hpml.lab.report.batch_norm import about_norm
from hpml.lab.report.epoch_table import epoch_table
from hpml.lab.report.optimizers import about_optimizers
from hpml.report.collect import Run, collect
from hpml.report.comparison import Comparison

FIRST = "The first epoch"
AGAIN = "python -m hpml.lab lab.again=true"
HERE = "python -m hpml.lab lab.parts=[c5]"
ONCE = "; what happens only once is in it"
FEW = "too few to tell from chance"
TOO_FEW = f"in one run each, {FEW}"
FELL = "fell from 2.000 in epoch 1 to 1.000 in epoch 3 (one run)"
FAILED = {"type": "RunFailedError", "message": "train/loss is not finite in epoch 1, step 3."}


def write(folder: Path, name: str = "a", data: str = "cifar10", **changes: Any) -> None:
    """A run with these losses, accuracies and times, a tenth of which it waited for data.

    `lost` has the seconds that other programs took from each epoch, at most.
    """
    curves = {"losses": (2.0, 1.5, 1.0), "accuracies": (0.2, 0.4, 0.6), "times": (5.0, 2.0, 2.0)}
    losses, accuracies, times = (changes.pop(key, curve) for key, curve in curves.items())
    samples, lost = changes.pop("samples", 1000), changes.pop("lost", None)
    record = make_run(folder, name, epochs=len(losses), **changes)
    shares = {"epoch_s": 1, "data_s": 0.1, "train_s": 0.8, "validation_s": 0.1, "other_s": 0}
    for epoch, loss, accuracy, s in zip(record.epochs, losses, accuracies, times, strict=True):
        epoch.metrics = {"train/loss": loss, "train/accuracy": accuracy}
        epoch.time |= {phase: share * s for phase, share in shares.items()}
        epoch.samples = samples
        if lost is not None:
            epoch.interference = shared_epoch(s, lost[epoch.epoch])
    record.choices["data"] = data
    record.write(folder / name)


def runs(folder: Path) -> list[Run]:
    return collect([folder])[0]


def one(folder: Path, **changes: Any) -> list[Run]:
    write(folder, **changes)
    return runs(folder)


def three(folder: Path, times: Sequence[float], **changes: Any) -> list[Run]:
    """Three seeds of steady epochs that take about `times`."""
    for seed in range(3):
        write(folder, f"seed={seed}", times=[t * (1 + 0.005 * seed) for t in times], **changes)
    return runs(folder)


def test_learning_goes_from_the_first_epoch_to_the_last(tmp_path: Path) -> None:
    """Against chance, which of data of one's own nobody knows; backwards it is reported as that."""
    loss, accuracy, chance = about_learning(one(tmp_path / "a"))
    assert loss == f"The training loss {FELL}, in every epoch."
    rose = "rose from 20.00% in epoch 1 to 60.00% in epoch 3 (one run)"
    assert accuracy == f"The training accuracy {rose}, in every epoch."
    assert chance == "The last training accuracy is 6.0 times that of guessing, 10%."
    own = about_learning(one(tmp_path / "b", data="image_folder"))
    assert "guessing" not in "".join(own)
    losses, accuracies = (1.0, 1.5, 2.0), (0.6, 0.4, 0.11)
    loss, accuracy, chance = about_learning(
        one(tmp_path / "c", losses=losses, accuracies=accuracies)
    )
    assert loss.startswith("The training loss rose from 1.000 in epoch 1 to 2.000 in epoch 3")
    assert accuracy.startswith("The training accuracy fell from 60.00%")
    assert chance == "The last training accuracy cannot be told from that of guessing, 10%."


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ((2.0, 2.5, 1.0), f"{FELL}, but not in epoch 2."),
        ((2.0, 2.0, 1.0), f"{FELL}, but not in epoch 2."),
        ((2.0, 1.0, 2.0), "did not change: from 2.000 in epoch 1 to 2.000 in epoch 3 (one run)."),
        ((2.0, None, 1.0), f"{FELL}, in every epoch that is known."),
        ((2.0, None, None), "is known of one epoch alone."),
    ],
)
def test_learned_nothing(tmp_path: Path, losses: tuple[float | None, ...], expected: str) -> None:
    """As are those without a figure."""
    sentences = about_learning(one(tmp_path, losses=losses))
    assert sentences[0] == f"The training loss {expected}"
    missing = [str(number) for number, loss in enumerate(losses, start=1) if loss is None]
    epochs = f"epoch{'s' * (len(missing) > 1)} {', '.join(missing)}"
    gap = f"In {epochs} it was not finite or not recorded."
    assert (sentences[1] == gap) == bool(missing)
    assert any("an earlier one's is shown" in s for s in sentences) == (losses[-1] is None)


def test_what_was_not_learned(tmp_path: Path) -> None:
    """Of many epochs the first are named; runs that differ more than they learned do not count."""
    losses = [9.0, *([2.0, 3.0] * 10), 1.0]
    curves = dict.fromkeys(("losses", "accuracies", "times"), losses)
    sentence = about_learning(one(tmp_path / "a", **curves))[0]
    assert sentence.endswith("but not in epochs 3, 5, 7, 9, 11, 13, 15, 17 and 2 more.")
    write(tmp_path / "b", "seed=0", losses=(2.0, 1.5, 1.0))
    write(tmp_path / "b", "seed=1", losses=(1.0, 1.5, 1.9))
    sentence = about_learning(runs(tmp_path / "b"))[0]
    assert "did not change beyond what its runs differ by" in sentence


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ((5.0, 2.0, 2.01), f"{FIRST} is 149.4% longer than the mean of the later ones{ONCE}."),
        ((1.0, 2.0, 2.01), f"{FIRST} is 50.1% shorter than the mean of the later ones."),
        ((2.05, 2, 2.1), f"{FIRST} does not differ from the later ones beyond their spread."),
        ((2.1, 2.0), "One later epoch is too few to tell the first one from chance."),
        ((2.1,), "There is no later epoch to compare the first one with."),
    ],
)
def test_the_first_epoch(tmp_path: Path, times: tuple[float, ...], expected: str) -> None:
    """By their spread in one run."""
    n = len(times)
    run = one(tmp_path, times=times, losses=(1.0,) * n, accuracies=(0.1,) * n)
    assert about_times(run, AGAIN)[-1] == expected


def test_the_phases_have_their_shares(tmp_path: Path) -> None:
    """They add up, or the sentence says that they do not; what was not measured is named."""
    sentences = about_times(three(tmp_path / "a", (3.0, 3.0, 3.0)), AGAIN)
    assert sentences[0] == "An epoch takes 3.01 ± 0.04 s, the mean over 9 epochs of 3 runs."
    assert "waiting for data 0.30 s (10.0%)" in sentences[1]
    assert "training 2.41 s (80.0%)" in sentences[1]
    assert sentences[1].endswith("they add up to the epoch.")
    assert sentences[2] == "Most of it is training."
    (run,) = one(tmp_path / "b")
    epochs = run.record.epochs
    for epoch in epochs:
        epoch.time["train_s"] = None
    run.record.epochs = epochs
    _, phases, largest, missing, *_ = about_times([run], AGAIN)
    assert phases.endswith("they add up to 0.6 s.")
    assert largest == "The largest of them is waiting for data."
    assert missing == "Not measured: training."


@pytest.mark.parametrize(("fast", "slow"), [("cpu", "gpu"), ("gpu", "cpu")])
def test_the_faster_device_has_the_shorter_epochs(tmp_path: Path, fast: str, slow: str) -> None:
    """Whatever it is called; repeated runs set it apart."""
    times = {name: 2.0 if name == fast else 40.0 for name in ("cpu", "gpu")}
    runs_of = {name: three(tmp_path / name, (9.0, t, t)) for name, t in times.items()}
    sentences = about_devices(runs_of, AGAIN, HERE)
    assert f"{fast} is 20 times as fast as {slow}, told apart at 95 %." in sentences
    assert f"{fast}: 2.01 ± 0.02 s (time of an epoch after the first)." in sentences


def test_devices_of_one_run_each(tmp_path: Path) -> None:
    """May differ by chance; other lengths, one device alone, or a failed run tell nothing."""
    gpu, slow = one(tmp_path / "gpu", times=(9, 2, 2)), one(tmp_path / "slow", times=(9, 4, 4))
    *_, last = about_devices({"cpu": slow, "gpu": gpu}, AGAIN, HERE)
    assert last == f"gpu is 2 times as fast as cpu, {TOO_FEW}."
    *_, last = about_devices({"cpu": one(tmp_path / "small", samples=100), "gpu": gpu}, AGAIN, HERE)
    assert last == "Epochs differ in their images (100, 1,000): the devices are not compared."
    cpu = one(tmp_path / "cpu")
    *_, last = about_devices({"cpu": cpu, "gpu": []}, AGAIN, HERE)
    assert f"nothing to compare cpu with: run `{HERE}` on a machine that has the other" in last
    loaded = one(tmp_path / "loaded", name="data.num_workers=2")
    first, *_ = about_devices({"cpu": loaded}, AGAIN, HERE)
    assert first == "cpu: 2.00 s (time of an epoch after the first), with 2 workers."
    failed = one(tmp_path / "failed", status="failed", error=FAILED)
    *_, before, last = about_devices({"cpu": cpu, "gpu": failed}, AGAIN, HERE)
    assert "nothing to compare cpu with" in before
    assert last == "Not counted: a (failed: train/loss is not finite in epoch 1, step 3)."


def test_no_device_is_called_faster_by_a_time_that_others_may_have_taken(tmp_path: Path) -> None:
    """Though it was too little to call its times disturbed."""
    gpu = one(tmp_path / "gpu", times=(9, 3.95, 3.95), lost=(0, 0, 0))
    cpu = one(tmp_path / "cpu", times=(9, 4, 4), lost=(0, 0.1, 0.1))
    *_, last = about_devices({"cpu": cpu, "gpu": gpu}, AGAIN, HERE)
    assert last.endswith("as fast as cpu, which others may have caused: they took time.")


def optimizers(folder: Path, losses: dict[str, float], seeds: int) -> list[str]:
    """The sentences about optimizers with these last losses, by which accuracy and time go."""
    for number, (name, loss) in enumerate(losses.items()):
        for seed in range(seeds):
            last = loss + 0.01 * ((seed + number) % 3)
            curves = {"losses": (2.3, 2.0, last), "accuracies": (0.1, 0.2, 1 - last / 3)}
            times = (5.0, 1 + last, 1 + last)
            write(folder, f"optimizer={name},seed={seed}", **curves, times=times)
    return about_optimizers(Comparison([folder]), AGAIN)


def test_the_order_of_the_optimizers_is_that_of_their_figures(tmp_path: Path) -> None:
    """Reversed figures make a reversed order."""
    losses = {"sgd": 0.5, "adam": 1.0, "adagrad": 1.5}
    sentences = optimizers(tmp_path / "a", losses, seeds=3)
    assert sentences[0].startswith("By last training loss: sgd 0.5100 ± ")
    assert sentences[1].startswith("Lowest loss: optimizer=sgd, 0.5100")
    assert sentences[1].endswith("ahead of all others.")
    assert sentences[2] == "Worst training loss: adagrad, told from the best at 95 %."
    assert sentences[3].startswith("By last training accuracy: sgd 83.00")
    assert sentences[-2].startswith("Fastest: optimizer=sgd, 1.5")
    longer = "66.2% longer than the fastest, told from the best at 95 %."
    assert sentences[-1] == f"Slowest: adagrad, {longer}"
    sentences = optimizers(tmp_path / "b", dict(zip(losses, (1.5, 1.0, 0.5), strict=True)), seeds=3)
    assert sentences[0].startswith("By last training loss: adagrad 0.5100")
    assert sentences[2] == "Worst training loss: sgd, told from the best at 95 %."
    assert sentences[-1] == f"Slowest: sgd, {longer}"


@pytest.mark.parametrize(
    ("loss", "seeds", "best", "worst"),
    [
        (1.0, 1, "in one run, which is too few to tell it from chance", f"in one run, {FEW}."),
        (0.501, 3, "no other can be told from it|tied with it: ", "but it cannot be told from the"),
    ],
)
def test_an_order_by_chance(tmp_path: Path, loss: float, seeds: int, best: str, worst: str) -> None:
    """Neither the best nor the worst is named without saying so."""
    sentences = optimizers(tmp_path, {"sgd": 0.5, "adam": loss}, seeds)
    assert re.search(best, sentences[1])
    assert sentences[2].startswith(f"Worst training loss: adam, {worst}")


def test_optimizers_without_an_order(tmp_path: Path) -> None:
    """A diverged one is named with its cause; fewer than two have none."""
    write(tmp_path / "a", "optimizer=adagrad,seed=0", status="failed", error=FAILED)
    sentences = optimizers(tmp_path / "a", {"sgd": 0.5, "adam": 1.0}, seeds=2)
    assert "adagrad" not in sentences[0]
    cause = "failed: train/loss is not finite in epoch 1, step 3"
    assert sentences[-1] == f"Not counted: optimizer=adagrad,seed=0 ({cause})."
    write(tmp_path / "one", "optimizer=sgd")
    sentences = about_optimizers(Comparison([tmp_path / "one"]), AGAIN)
    assert sentences == ["Fewer than two optimizers completed: there is no order."]
    assert about_optimizers(Comparison([]), AGAIN)[-1] == "There are no runs yet."


@pytest.mark.parametrize("swapped", [False, True])
def test_the_norm_is_judged_by_its_figures(tmp_path: Path, swapped: bool) -> None:
    """Which side is better follows from them, whether it may be chance from the runs."""
    good = three(tmp_path / "good", (4.0, 3.0, 3.0), losses=(2.0, 1.0, 0.5))
    bad = three(tmp_path / "bad", (4.0, 2.0, 2.0), accuracies=(0.2, 0.3, 0.4))
    sentences = about_norm(bad, good, AGAIN) if swapped else about_norm(good, bad, AGAIN)
    words = ("lower", "higher", "longer") if swapped else ("higher", "lower", "shorter")
    assert sentences[0].startswith("Without norm the last training loss is ")
    for sentence, word in zip(sentences[:3], words, strict=True):
        assert f": {word}, " in sentence
    assert not any("validation" in sentence for sentence in sentences)  # of neither there is one
    # figures that do not vary prove little with three seeds
    assert sentences[0].endswith("which cannot be told from chance.")


def test_norms_that_cannot_be_told_apart(tmp_path: Path) -> None:
    """One run is too few, as is one against several; without any nothing is compared."""
    with_norm, without = three(tmp_path / "a", (4.0, 3.0, 3.0)), one(tmp_path / "b")
    few = ": shorter, too few runs to tell from chance."
    assert about_norm(with_norm, without, AGAIN)[2].endswith(few)
    assert "in one run each, too few" in about_norm(with_norm[:1], without, AGAIN)[2]
    same = "Without norm the last training loss is 1.000, with it 1.000: the same."
    assert about_norm(without, without, AGAIN)[0] == same
    first, *_, last = about_norm([], [], AGAIN)
    assert first == "The last training loss is not known of both networks."
    assert last == "There are no runs yet."


def test_times_of_other_hosts_are_no_proof(tmp_path: Path) -> None:
    """Of one kind, they share a folder: what tells them apart may be the host."""
    three(tmp_path / "m" / "training", (4.0, 3.0, 3.0))
    three(tmp_path / "m" / "no_norm", (4.0, 2.0, 2.0), environment=MACHINE | {"host": "b"})
    with_norm, without = runs(tmp_path / "m" / "training"), runs(tmp_path / "m" / "no_norm")
    sentences = about_norm(with_norm, without, AGAIN)
    assert sentences[2].endswith(": shorter, which may be for the hosts they ran on.")
    assert not any("hosts" in sentence for sentence in sentences[:2])
    hosts = "The runs are of 2 hosts of one kind, a, b: what these differ in is in the times."
    assert sentences[-1] == hosts
    assert about_learning([*with_norm, *without])[-1] == hosts
    assert "hosts" not in "".join(about_norm(with_norm, with_norm, AGAIN))


def test_the_epoch_table_has_a_row_for_each_epoch_and_their_mean(tmp_path: Path) -> None:
    """Several runs have intervals, one has none; phases add up as shown; the mean stays below."""
    table = epoch_table(three(tmp_path / "three", (5.0, 2.0, 2.0)))
    texts = [[cell.text for cell in row] for row in table.rows]
    assert table.headings[:3] == ["epoch", "time s", "= data"]
    assert "|".join(texts[0]) == "1|5.02 ± 0.06|0.50|0.00|4.02|0.50|0.00|2.000 ± 0|20.00 ± 0.00%"
    assert [row[0] for row in texts] == ["1", "2", "3", "mean of all 9"]
    assert texts[-1][:3] == ["mean of all 9", "3.01", "0.30"]
    assert {cell.value for cell in table.rows[-1]} == {None}
    assert {len(row) for row in texts} == {len(table.headings)}
    rows = epoch_table(one(tmp_path / "a")).rows
    assert [cell.text for cell in rows[1]][:3] == ["2", "2.00", "0.20"]
    assert epoch_table(one(tmp_path / "b", status="failed", error=FAILED)).rows == []
    assert epoch_table([]).rows == []


@pytest.mark.parametrize("answer", [about_learning, partial(about_times, again=AGAIN)])
def test_without_runs_that_is_said(tmp_path: Path, answer: Any) -> None:
    """As is why those that are there do not count."""
    assert answer([])[-1] == "There are no runs yet."
    failed = one(tmp_path / "a", status="failed", error=FAILED)
    assert answer(failed)[-1].startswith("Not counted: a (failed: train/loss is not finite")
    empty = one(tmp_path / "b", losses=(), accuracies=(), times=())
    assert answer(empty)[-1] == "Not counted: a (no epoch)."
