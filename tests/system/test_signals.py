"""How long a signal waits for a batch from which the run resumes exactly."""

import signal

import pytest

from hpml.system.signals import NotedInterrupt, RunInterrupted, ended_by_signals, process_signals


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


def test_an_interrupt_is_noted_and_answered_later() -> None:
    """As it would have been at once; a second one is. One of another process is Python's own."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with NotedInterrupt() as interrupt:
            signal.raise_signal(signal.SIGINT)
            assert interrupt.has_come
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        with NotedInterrupt() as another:
            pass
        assert not another.has_come
        with pytest.raises(KeyboardInterrupt):
            another.raise_now()
        asked = []
        signal.signal(signal.SIGINT, lambda number, frame: asked.append(number))
        with NotedInterrupt() as interrupt:
            signal.raise_signal(signal.SIGINT)
            assert asked == []
        with pytest.raises(KeyboardInterrupt):
            interrupt.raise_now()
        assert asked == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)


def test_what_ends_a_run_of_ours_is_noted_too() -> None:
    """A termination, say; a program of the user's own answers it as ever."""
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)  # whoever ran in this process before
    try:
        with NotedInterrupt():
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        with pytest.raises(RunInterrupted, match="SIGTERM"), ended_by_signals():
            _noted_termination()
    finally:
        signal.signal(signal.SIGTERM, before)


def _noted_termination() -> None:
    with NotedInterrupt() as interrupt:
        signal.raise_signal(signal.SIGTERM)
        assert interrupt.has_come
    interrupt.raise_now()
