"""The device's clock, on a device that is a queue of numbers."""

from collections import deque
from typing import Any

import pytest

from hpml.timing.device_clock import DeviceClock


class FakeDevice:
    """A queue of work. The host hands over work and goes on; an event passes when all before it
    is done.
    """

    def __init__(self) -> None:
        self.host_ns = 0  # the host's time
        self.free_at_ns = 0  # when the device will have done all that it was given
        self.events: deque[float] = deque()
        self.live = 0

    def work(self, ns: int) -> None:
        """Hands work over; costs the host nothing."""
        self.free_at_ns = max(self.free_at_ns, self.host_ns) + ns

    def wait(self, ns: int) -> None:
        """The host does something else."""
        self.host_ns += ns

    def record(self) -> float:
        self.live += 1
        return max(self.free_at_ns, self.host_ns)

    def has_passed(self, event: float) -> bool:
        return event <= self.host_ns

    def wait_for(self, event: Any) -> None:
        self.host_ns = max(self.host_ns, int(event))

    def elapsed_ns(self, first: Any, second: Any) -> float:
        return float(second - first)

    def release(self, event: Any) -> None:
        self.live -= 1


def step(
    device: FakeDevice, clock: DeviceClock, load: int, copy: int, work: int, hooks: int
) -> None:
    clock.mark("idle")
    device.wait(load)
    clock.mark("wait_data")
    device.work(copy)
    clock.mark("copy")
    clock.mark("idle")
    device.work(work)
    clock.mark("busy")
    device.wait(hooks)


def test_a_busy_device_hides_the_loading() -> None:
    """While the device works, the host loads the next batch: nothing waits but the first step."""
    device = FakeDevice()
    clock = DeviceClock(device)
    clock.mark(None)
    for _ in range(10):
        step(device, clock, load=5, copy=1, work=20, hooks=2)
    assert clock.take() == {"busy": 200, "wait_data": 5, "copy": 10, "idle": 0}


def test_a_starved_device_waits_for_data_and_for_hooks() -> None:
    """Each step: the queue runs empty during the load, and again during the hooks."""
    device = FakeDevice()
    clock = DeviceClock(device)
    clock.mark(None)
    for _ in range(10):
        step(device, clock, load=50, copy=1, work=20, hooks=30)
    times = clock.take()
    assert times["busy"] == 200
    assert times["copy"] == 10
    assert times["wait_data"] == 500
    assert times["idle"] == 9 * 9  # 30 of hooks, 21 of which the device was still at work


def test_nothing_waits_inside_the_loop() -> None:
    """Events are read once they have passed; with sync each mark waits."""
    device = FakeDevice()
    clock = DeviceClock(device)
    clock.mark(None)
    device.work(1000)
    clock.mark("busy")
    assert device.host_ns == 0
    assert clock.times()["busy"] == 0
    device.wait(1000)
    assert clock.times()["busy"] == 1000
    DeviceClock(device, sync=True)
    device.work(7)
    DeviceClock(device, sync=True).mark("busy")
    assert device.host_ns == 1007


def test_events_are_given_back() -> None:
    """A million steps hold no more events than are on their way."""
    device = FakeDevice()
    clock = DeviceClock(device)
    clock.mark(None)
    for _ in range(10_000):
        step(device, clock, load=5, copy=1, work=3, hooks=2)
    assert device.live < 10


def test_validation_counts_for_nothing() -> None:
    """Its time is between marks of no kind that counts."""
    device = FakeDevice()
    clock = DeviceClock(device)
    clock.mark(None)
    device.work(99)
    clock.mark("validation")
    device.work(1)
    clock.mark("busy")
    assert clock.take() == pytest.approx({"busy": 1, "wait_data": 0, "copy": 0, "idle": 0})
