"""How long a signal waits for a batch from which the run resumes exactly."""

import signal

import pytest

from hpml.system.signals import ended_by_signals, process_signals


@pytest.mark.parametrize(
    ("number", "by_torchrun", "seconds"),
    [
        (signal.SIGTERM, False, 20.0),
        (signal.SIGUSR1, False, 45.0),
        (signal.SIGUSR1, True, 25.0),
        (signal.SIGTERM, True, 20.0),
    ],
)
def test_a_warned_run_waits_no_longer_than_torchrun_does(
    monkeypatch: pytest.MonkeyPatch, number: int, by_torchrun: bool, seconds: float
) -> None:
    """torchrun kills its processes 30 s after it has handed a signal on."""
    timers: list[float] = []
    monkeypatch.setattr(signal, "setitimer", lambda _, seconds: timers.append(seconds))
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    if by_torchrun:
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    with ended_by_signals():
        process_signals.wait_for_checkpoint()
        signal.raise_signal(number)
    assert timers[0] == seconds
