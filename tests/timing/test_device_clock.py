"""The device's clock, on a device that is a queue of numbers."""

import pytest
from helpers.delays import FakeDevice

from hpml.timing.device_clock import DeviceClock


@pytest.fixture
def device() -> FakeDevice:
    return FakeDevice()


@pytest.fixture
def clock(device: FakeDevice) -> DeviceClock:
    clock = device.clock()
    clock.mark(None)
    return clock


def train(device: FakeDevice, clock: DeviceClock, steps: int, load: int, hooks: int) -> None:
    for _ in range(steps):
        clock.mark("idle")
        device.host.spend(load)
        clock.mark("wait_data")
        device.work(1)
        clock.mark("copy")
        clock.mark("idle")
        device.work(20)
        clock.mark("busy")
        device.host.spend(hooks)


@pytest.mark.parametrize(
    ("load", "hooks", "wait_data", "idle"),
    [
        # the device works while the host loads the next batch: nothing waits but the first step
        (5, 2, 5, 0),
        # its queue runs empty during the load, and during 30 of hooks, in 21 of which it works
        (50, 30, 500, 9 * 9),
    ],
    ids=["a busy device", "a starved device"],
)
def test_what_a_device_waits_for(
    device: FakeDevice, clock: DeviceClock, load: int, hooks: int, wait_data: int, idle: int
) -> None:
    """Work hides what the host does meanwhile; the rest is told apart by its cause."""
    train(device, clock, 10, load, hooks)
    expected = {"busy": 200, "copy": 10, "wait_data": wait_data, "idle": idle}
    assert clock.take() == pytest.approx(expected)


def test_nothing_waits_inside_the_loop(device: FakeDevice, clock: DeviceClock) -> None:
    """Events are read once they have passed; with sync each mark waits."""
    device.work(1000)
    clock.mark("busy")
    assert device.host.ns == 0
    assert clock.times()["busy"] == 0
    device.host.spend(1000)
    assert clock.times()["busy"] == pytest.approx(1000)
    device.work(7)
    device.clock(sync=True).mark("busy")
    assert device.host.ns == 1007


def test_events_are_used_again(device: FakeDevice, clock: DeviceClock) -> None:
    """Many steps make no more events than are on their way at once."""
    train(device, clock, 10_000, load=25, hooks=2)
    assert device.events < 10


def test_validation_counts_for_nothing(device: FakeDevice, clock: DeviceClock) -> None:
    """Its time is between marks of no kind that counts."""
    device.work(99)
    clock.mark("validation")
    device.work(1)
    clock.mark("busy")
    assert clock.take() == pytest.approx({"busy": 1, "wait_data": 0, "copy": 0, "idle": 0})
