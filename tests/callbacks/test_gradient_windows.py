"""DDP's stamps, read in windows: on a stand-in that keeps them as torch does."""

from typing import Any

import pytest
import torch

from hpml.callbacks.gradient_windows import EVERY, RATE, SAMPLES, GradientWindows

MS = 10**6


class Stamps(torch.nn.Linear):
    """Stamps a step as DDP's logger does: what was sampled is told when the next one begins.

    A step computes its gradients for 3 ms, sends the first bucket after 1, waits for 4.
    """

    def __init__(self) -> None:
        super().__init__(1, 1)
        self.iteration, self.rate, self.now_ns, self.reads = 0, RATE, 10**15, 0
        self.sampled: dict[str, int] = {}
        self.told: dict[str, Any] = {"bucket_sizes": "8", "rebuilt_bucket_sizes": "4, 4"}

    def exchange(self, wait_ns: int = 4 * MS) -> None:
        """One step: its forward pass tells of the one before."""
        is_sampled = self.iteration <= 10 or self.iteration % self.rate == 0
        if self.iteration and is_sampled:
            self.told |= {"iteration": self.iteration, **self.sampled}
        self.iteration += 1
        begun_ns, self.now_ns = self.now_ns, self.now_ns + 3 * MS + wait_ns
        if self.iteration <= 10 or self.iteration % self.rate == 0:
            self.sampled = {
                "backward_comm_time_start": begun_ns + MS,
                "backward_compute_time_end": begun_ns + 3 * MS,
                "backward_comm_time_end": self.now_ns,
            }

    def _get_ddp_logging_data(self) -> dict[str, Any]:
        self.reads += 1
        return self.told

    def _set_ddp_runtime_logging_sample_rate(self, rate: int) -> None:
        self.rate = rate


class Backwards:
    """A clock that has the backward passes of an epoch alone."""

    ns = 0

    def times(self) -> dict[str, int]:
        return {"train/backward": self.ns}


def train(model: Stamps, windows: GradientWindows, batches: int, accumulate: int = 1) -> None:
    """Its exchange waits longer in each step; so each is told from the others."""
    clock: Any = Backwards()
    for number in range(1, batches + 1):
        exchanges = number % accumulate == 0
        if exchanges:
            model.exchange(wait_ns=number * MS)
        clock.ns += (3 + number) * MS if exchanges else 2 * MS
        windows.batch_ended(number, clock)


def test_a_window_has_the_steps_behind_its_beginning() -> None:
    """None of before, which torch still tells of; then DDP samples as seldom as it did."""
    model = Stamps()
    train(model, GradientWindows(model), 60)  # an epoch before: torch's first steps are over
    windows = GradientWindows(model)
    train(model, windows, 60)
    assert model.rate == RATE
    waits, talks, backward_s, cost_s = windows.take()
    assert waits == pytest.approx([number / 1000 for number in range(3, 3 + SAMPLES)])
    assert talks == pytest.approx([wait + 0.002 for wait in waits])
    assert backward_s == pytest.approx(0.003)
    assert cost_s > 0
    assert windows.buckets == [4, 4]
    assert windows.take()[0] == []


def test_outside_of_windows_nothing_is_read() -> None:
    """That is what their cost stands on."""
    model = Stamps()
    train(model, GradientWindows(model), EVERY)
    reads = model.reads
    assert reads <= SAMPLES + 4
    windows = GradientWindows(model)
    train(model, windows, 2 * EVERY)
    assert len(windows.waits) == 2 * SAMPLES


def test_with_accumulation_the_steps_that_exchange_count() -> None:
    """A batch whose gradients are kept has no wait, and its backward pass is not looked at."""
    model = Stamps()
    windows = GradientWindows(model)
    train(model, windows, 60, accumulate=4)
    waits, _, backward_s, _ = windows.take()
    assert len(waits) == SAMPLES
    assert waits == pytest.approx([(8 + 4 * place) / 1000 for place in range(SAMPLES)])
    assert backward_s == pytest.approx(0.003)


def test_an_epoch_that_ends_within_a_window_closes_it() -> None:
    """And keeps what it had."""
    model = Stamps()
    windows = GradientWindows(model)
    train(model, windows, 6)
    waits, *_ = windows.take()
    assert 0 < len(waits) < SAMPLES
    assert model.rate == RATE
