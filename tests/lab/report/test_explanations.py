"""Why figures are what they are."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from helpers.records import make_run

from hpml.diagnosis.wording import Diagnosis
from hpml.lab.report.explanations import (
    more_workers_help,
    usual_rate,
    what_workers_can_save,
    why_last,
    why_workers_differ,
)
from hpml.report.collect import collect
from hpml.report.ranking import Ranked
from hpml.report.settings import Setting
from hpml.statistics import Estimate
from hpml.trials.pace import Pace

ONE, FOUR = "data.num_workers=1", "data.num_workers=4"


def waiting(waited_s: float, *epoch_s: float) -> dict[str, Any]:
    """A diagnosis with this epoch in each round, a tenth less with loading free."""
    steps = 100
    paces = [Pace(s / steps, waited_s / steps, None) for s in epoch_s]
    free = [replace(pace, step_s=0.9 * pace.step_s) for pace in paces]
    each = {"as_it_is": paces, "loader_alone": paces, "loading_free": free}
    return Diagnosis(each, steps).as_dict()


def test_more_workers_save_no_more_than_one_waits() -> None:
    """Where they do not help on a CPU, they take the cores that train; on a GPU they do not."""
    both = {ONE: waiting(0.5, 10.0, 10.0, 10.0), FOUR: waiting(0.2, 11.0, 11.0, 11.0)}
    first, second = why_workers_differ(both, 2)
    assert first == (
        f"With {ONE} an epoch waits 0.500 ± 0.000 s for data, 5.0% of it: that is the most that "
        f"more workers can save. With {FOUR} it waits 0.200 ± 0.000 s."
    )
    assert "on the 2 cores that train" in second
    assert second.endswith("With loading free an epoch would take 9.00 ± 0.00 s.")
    assert list(why_workers_differ(both, None)) == [first]
    assert not more_workers_help(both)
    faster = both | {FOUR: waiting(0.2, 8.0, 8.1, 8.0)}
    assert more_workers_help(faster)
    assert len([*why_workers_differ(faster, 2)]) == 1
    by_chance = both | {FOUR: waiting(0.2, 8.0, 12.0, 6.0)}
    assert not more_workers_help(by_chance)


def searched(**epoch_s: float) -> dict[str, Any]:
    """By numbers of workers; the loader alone takes a second."""
    alone = asdict(Estimate(1.0, 0.01, 3))
    each = {name[1:]: asdict(Estimate(s, 0.1, 3)) for name, s in epoch_s.items()}
    return {count: {"loading_s": alone, "epoch_s": time_s} for count, time_s in each.items()}


def test_workers_save_no_more_than_loading_takes() -> None:
    """Where none of them saves time on a CPU, that they share its cores."""
    first, second = what_workers_can_save(searched(w0=4.0, w1=3.9), 2)
    assert first == (
        "Without workers loading alone takes 1.00 ± 0.01 s, 25.0% of the time of an epoch "
        "(4.00 ± 0.10 s): that is about the most that workers can save."
    )
    assert "on the 2 cores that train" in second
    assert list(what_workers_can_save(searched(w0=4.0, w1=3.9), None)) == [first]
    assert list(what_workers_can_save(searched(w0=4.0, w1=3.7), 2)) == [first]
    assert list(what_workers_can_save(searched(w1=3.7), 2)) == []


@pytest.mark.parametrize(
    ("optimizer", "rate", "expected"),
    [
        ("adam", 0.1, "0.1 is 100 times adam's usual one, 0.001. Adam's steps are about as long"),
        ("adagrad", 0.1, "0.1 is 10 times adagrad's usual one, 0.01. One rate for all"),
        ("adadelta", 0.1, "0.1 is 1/10 of adadelta's usual one, 1. One rate for all"),
        ("adam", 0.001, ""),
        ("sgd", 0.1, ""),
        ("own", 0.1, ""),
        ("../sgd", 9.0, ""),
    ],
)
def test_an_unusual_rate_may_be_why_an_optimizer_is_last(
    tmp_path: Path, optimizer: str, rate: float, expected: str
) -> None:
    """Of those whose usual rate is ten times another one."""
    make_run(tmp_path, "a", config={"optimizer": {"lr": rate}})
    setting = Setting({"optimizer": optimizer}, collect([tmp_path])[0])
    sentence = why_last([Ranked(setting, None, None)])
    assert sentence.startswith("The rate is a likely cause: ") == bool(expected)
    assert expected in sentence


def test_the_usual_rate_is_that_of_its_option() -> None:
    """Nesterov's is in the option that it is made of."""
    rates = {name: usual_rate(name) for name in ("sgd", "nesterov", "adagrad", "adadelta", "adam")}
    assert rates == {"sgd": 0.1, "nesterov": None, "adagrad": 0.01, "adadelta": 1.0, "adam": 0.001}
