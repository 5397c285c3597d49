"""The line on a late rank: when it is printed."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.records import make_epoch, shared_epoch

from hpml.callbacks import EpochTimer
from hpml.callbacks.phase_timer import PhaseTimer
from hpml.callbacks.ranks import Ranks
from hpml.timing.rank_comparison import Comparison, Late


def lines_of(monkeypatch: pytest.MonkeyPatch, lost_s: list[float], late: list[Any]) -> list[str]:
    """What a timer prints of the ranks after epochs of 2 s that lost so much to others."""
    trainer: Any = SimpleNamespace(is_global_zero=True)
    said: list[str] = []
    timer = EpochTimer(say=said.append)
    timer._begin_fit()
    monkeypatch.setattr(PhaseTimer, "_over_ranks", lambda *given: {})
    monkeypatch.setattr(EpochTimer, "clock", SimpleNamespace(epochs=[None]))
    compared = iter(late)
    monkeypatch.setattr(
        Ranks,
        "epoch_ended",
        lambda ranks, *given: ranks.compared.epochs.append(
            Comparison(2.0, [0.0, 0.5], [], next(compared))
        ),
    )
    timer._interference = SimpleNamespace(  # type: ignore[assignment]
        of_all_ranks=lambda trainer, number: shared_epoch(2.0, lost_s[number])
    )
    for number in range(len(late)):
        timer.epochs.append(make_epoch(number))
        timer.epochs[-1].interference = shared_epoch(2.0, 0.0)
        timer._over_ranks(trainer, {})
    return said


def test_what_several_ranks_have_not_printed_comes_with_an_exception() -> None:
    """A whole epoch of which they did not tell each other yet, and the one that was cut short."""
    trainer: Any = SimpleNamespace(is_global_zero=True, world_size=2)
    said: list[str] = []
    timer = EpochTimer(say=said.append)
    timer._begin_fit()
    attached: Any = SimpleNamespace(detach=lambda: None, is_aside=lambda trainer: False)
    attached.clock = SimpleNamespace(epochs=[], close_partial=lambda: None)
    timer.profiler = attached
    timer.epochs = [make_epoch(0), replace(make_epoch(1), partial=True)]
    module: Any = None
    timer.on_exception(trainer, module, RuntimeError())
    assert [line.split()[0] for line in said] == ["epoch", "0", "1*"]


def test_a_late_rank_is_named_once_and_not_of_a_disturbed_epoch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a disturbed epoch kept back is news in the next one that nobody disturbed."""
    data, forward = Late(1, "data", 0.5), Late(1, "forward", 0.25)
    said = lines_of(monkeypatch, [1.0, 0.0, 0.0, 0.0, 0.0], [data, data, data, None, forward])
    first, second = "rank 1 is late by 0.50 s, in data", "rank 1 is late by 0.25 s, in forward"
    shown = [line.strip() if "late" in line else line.split()[0] for line in said]
    # what other ranks lost is known before an epoch's line is printed
    assert shown == ["epoch", "0!", "1", first, "2", "3", "4", second]
