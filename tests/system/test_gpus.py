"""What a driver tells of GPUs, from an object that answers as `pynvml` does."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hpml.system.gpus import GpuReading, GpuWitness
from hpml.system.interference import Interference, summed
from hpml.system.kernel_readings import Witness

OWN, OTHER = 10, 20


class Driver:
    """Answers for one GPU; what it does not know raises, as NVML's errors do."""

    class NVMLError_NotFound(Exception):  # noqa: N801, N818 - its name there
        pass

    def __init__(self) -> None:
        self.pids, self.energy_mj, self.reasons = [OWN], 0, 0
        self.used = {OWN: 90}
        self.failure: Exception | None = None

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        return uuid

    def nvmlDeviceGetIndex(self, handle: str) -> int:  # noqa: N802
        return 0

    def nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> list[Any]:  # noqa: N802
        return [SimpleNamespace(pid=pid) for pid in self.pids]

    def nvmlDeviceGetProcessUtilization(self, handle: str, since: int) -> list[Any]:  # noqa: N802
        if self.failure is not None:
            raise self.failure
        return [SimpleNamespace(pid=pid, smUtil=used) for pid, used in self.used.items()]

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:  # noqa: N802
        return self.energy_mj

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: str) -> int:  # noqa: N802
        return self.reasons

    def nvmlDeviceGetTemperature(self, handle: str, sensor: int) -> int:  # noqa: N802
        return 61


def interval(driver: Driver, **later: Any) -> dict[str, Any]:
    witness = GpuWitness(["GPU-1"], driver)
    before = witness.read({OWN})
    assert before is not None
    for name, value in later.items():
        setattr(driver, name, value)
    (gpu,) = GpuReading.between(before, witness.read({OWN}) or [], wall_s=10)
    return gpu


def test_energy_is_of_the_interval() -> None:
    """And the power its mean; what the driver does not tell is None."""
    gpu = interval(Driver(), energy_mj=4_000_000)
    assert (gpu["energy_j"], gpu["power_w"], gpu["temperature_c"]) == (4000.0, 400.0, 61)
    assert gpu["clock_mhz"] is None
    assert gpu["disturbed_by"] == []


@pytest.mark.parametrize(
    ("later", "sentence"),
    [
        ({"pids": [OWN, OTHER], "used": {OWN: 50, OTHER: 40}}, "other programs used 40% of GPU 0"),
        ({"reasons": 0x40 | 0x20}, "GPU 0 ran slower for heat"),
        ({"reasons": 0x80}, "GPU 0 ran slower for a lack of power"),
    ],
)
def test_what_disturbs(later: dict[str, Any], sentence: str) -> None:
    """Other programs at work, and clocks that heat or a lack of power have lowered."""
    assert interval(Driver(), **later)["disturbed_by"] == [sentence]


@pytest.mark.parametrize(
    "later",
    [
        {"pids": [OWN, OTHER]},  # it only holds memory
        {"reasons": 0x04 | 0x01},  # the power limit of every busy GPU; idle
        {"pids": [4711], "used": {4711: 90}},  # in a container: this process, by another number
    ],
)
def test_what_does_not(later: dict[str, Any]) -> None:
    """A program that does nothing, and what is so on any GPU."""
    assert interval(Driver(), **later)["disturbed_by"] == []


@pytest.mark.parametrize(
    ("failure", "used"), [(RuntimeError("Not Supported"), None), (Driver.NVMLError_NotFound(), 0)]
)
def test_use_by_others_that_is_not_told_is_not_none_of_it(
    failure: Exception, used: int | None
) -> None:
    """Only a driver that finds nobody says that nobody used the GPU."""
    gpu = interval(Driver(), failure=failure)
    assert gpu["others_utilization"] == used
    assert gpu["disturbed_by"] == []
    named = "gpus.others_utilization" in Interference(1.0, gpus=[gpu]).unknown
    assert named is (used is None)


def test_a_look_into_the_middle_of_an_interval_changes_nothing_of_it() -> None:
    """What others used until then is the interval's, and no more of the next one."""
    driver, asked = Driver(), list[int]()
    told = driver.nvmlDeviceGetProcessUtilization

    def ask(handle: str, since: int) -> list[Any]:
        asked.append(since)
        return told(handle, since)

    driver.nvmlDeviceGetProcessUtilization = ask  # type: ignore[method-assign]
    witness = GpuWitness(["GPU-1"], driver)
    witness.read({OWN})
    driver.used = {OWN: 50, OTHER: 50}
    witness.read({OWN}, ends=False)
    driver.used = {OWN: 90}
    used = [reading.others_utilization for _ in range(2) for reading in witness.read({OWN}) or ()]
    assert used == [50, 0]
    assert asked[0] <= asked[1] == asked[2] <= asked[3]


def test_gpus_of_which_nobody_tells_are_unknown() -> None:
    """No package, or a driver that does not know one; without a GPU there is nothing to tell."""
    of_none = GpuWitness.of([])
    assert of_none is not None
    assert of_none.read({OWN}) == []
    witness = GpuWitness.of(["GPU-1"])
    assert witness is None or witness.read({OWN}) is None
    assert GpuWitness(["GPU-1", "GPU-2"], SimpleNamespace()).read({OWN}) is None
    for gpus, unknown in ((None, True), ([], False)):
        told = Interference(1.0, gpus=gpus)
        assert ("gpus" in told.unknown) is unknown
        both = summed([told, told])
        assert both is not None
        assert both.gpus == gpus


@pytest.mark.parametrize(("kin_on_gpus", "others"), [(True, (1, 40)), (False, (3, 90))])
def test_the_other_side_of_a_comparison_is_no_other_program(
    tmp_path: Path, kin_on_gpus: bool, others: tuple[int, int]
) -> None:
    """Nor is what that has started; what the comparison has not started is one as ever."""
    comparison, side, workers = 5, 30, 31
    children = {comparison: f"{OWN} {side}", OWN: "", side: f"{workers}", workers: ""}
    for pid, those in children.items():
        folder = tmp_path / f"{pid}" / "task" / f"{pid}"
        folder.mkdir(parents=True)
        (folder / "children").write_text(those)
        parent = comparison if pid in (OWN, side) else side
        (tmp_path / f"{pid}" / "stat").write_text(f"{pid} (python) S {parent} {'0 ' * 40}")
    driver = Driver()
    driver.pids = [OWN, side, workers, OTHER]
    driver.used = {OWN: 10, side: 20, workers: 30, OTHER: 40}
    gpus = GpuWitness(["GPU-1"], driver)
    witness = Witness(gpus=gpus, kin_on_gpus=kin_on_gpus, proc=tmp_path, groups=tmp_path, pid=OWN)
    (reading,) = witness.read().gpus or ()
    assert (reading.others, reading.others_utilization) == others
