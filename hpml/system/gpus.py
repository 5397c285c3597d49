"""What NVIDIA's driver tells of the GPUs in use, by `nvidia-ml-py` where it is installed."""

import importlib
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import Any

LEAST_OTHERS = 5  # per cent of a GPU: less than this of other programs does not disturb
SLOWED = {  # NVML's reasons for a lower clock, but for those of every busy GPU
    0x08: "a slowdown of its hardware",
    0x20: "heat",
    0x40: "heat",
    0x80: "a lack of power",
}
POWER_CAP = 0x04


@dataclass(frozen=True)
class GpuReading:
    """One GPU at one moment; None for what its driver does not tell.

    `utilization` and `others_utilization` are per cent, `energy_j` a sum since the driver began.
    `others` are the other programs that compute on it, and what they used is the most that was seen
    of it in the interval.
    """

    name: str
    others: int | None = None
    others_utilization: int | None = None
    utilization: int | None = None
    power_w: float | None = None
    temperature_c: int | None = None
    clock_mhz: int | None = None
    clock_reasons: int | None = None
    energy_j: float | None = None

    @classmethod
    def between(
        cls, before: "list[GpuReading] | None", after: "list[GpuReading]", wall_s: float
    ) -> list[dict[str, Any]]:
        """An interval's figures for each GPU, in plain types: its energy, the rest as at its end.

        `disturbed_by` says what disturbed it, `power_w` is the interval's mean where it is known.
        """
        gpus = []
        earlier = {reading.name: reading for reading in before or ()}
        for reading in after:
            first, energy_j, power_w = earlier.get(reading.name), None, reading.power_w
            if first is not None and None not in (first.energy_j, reading.energy_j):
                energy_j = reading.energy_j - first.energy_j  # type: ignore[operator]
                power_w = energy_j / wall_s if wall_s > 0 else power_w
            values = asdict(reading) | {"energy_j": energy_j, "power_w": power_w}
            del values["clock_reasons"]
            reasons = reading.clock_reasons
            values["power_capped"] = None if reasons is None else bool(reasons & POWER_CAP)
            gpus.append(values | {"disturbed_by": reading._disturbed_by()})
        return gpus

    def _disturbed_by(self) -> list[str]:
        sentences = []
        if (self.others_utilization or 0) >= LEAST_OTHERS:
            used = f"other programs used {self.others_utilization}% of {self.name}"
            sentences.append(used)
        reasons = {why for bit, why in SLOWED.items() if (self.clock_reasons or 0) & bit}
        if reasons:
            sentences.append(f"{self.name} ran slower for {' and '.join(sorted(reasons))}")
        return sentences


class GpuWitness:
    """Reads GPUs by their UUIDs, through a module such as `pynvml`."""

    def __init__(self, uuids: Sequence[str], nvml: Any) -> None:
        self._nvml = nvml
        self._begun_us = time.time_ns() // 1000
        self._others: dict[str, int | None] = {}  # what was seen of them in this interval, by GPU
        self._handles = [self._ask("nvmlDeviceGetHandleByUUID", uuid) for uuid in uuids]

    @classmethod
    def of(cls, uuids: Sequence[str]) -> "GpuWitness | None":
        """A witness of these GPUs, or of none; None where the package or the driver is missing."""
        if not uuids:
            return cls(uuids, None)
        try:
            nvml = importlib.import_module("pynvml")
            nvml.nvmlInit()
        except Exception:  # no package, no driver, or another error of its library
            return None
        return cls(uuids, nvml)

    def read(self, own: Collection[int], ends: bool = True) -> list[GpuReading] | None:
        """Each GPU as it is now, and what other programs used of it since an interval has ended.

        `own` are the processes of the job. None where the driver does not know one of the GPUs.
        """
        if any(handle is None for handle in self._handles):
            return None
        now_us = time.time_ns() // 1000
        readings = []
        for handle in self._handles:
            reading = self._reading(handle, set(own))
            seen = self._others.get(reading.name), reading.others_utilization
            most = max((used for used in seen if used is not None), default=None)
            readings.append(replace(reading, others_utilization=most))
        self._others = {reading.name: reading.others_utilization for reading in readings}
        if ends:
            self._begun_us, self._others = now_us, {}
        return readings

    def _reading(self, handle: Any, own: set[int]) -> GpuReading:
        processes = self._ask("nvmlDeviceGetComputeRunningProcesses", handle)
        pids = None if processes is None else {process.pid for process in processes}
        others, used = None, None
        if pids is not None:
            # in a container the driver's numbers are not ours, and one of them is this process
            others = len(pids - own) if pids & own else max(0, len(pids) - 1)
        if pids is not None and pids & own:
            used = self._used_by_others(handle, own)
        rates = self._ask("nvmlDeviceGetUtilizationRates", handle)
        power_mw = self._ask("nvmlDeviceGetPowerUsage", handle)
        energy_mj = self._ask("nvmlDeviceGetTotalEnergyConsumption", handle)
        return GpuReading(
            f"GPU {self._ask('nvmlDeviceGetIndex', handle)}",
            others,
            used,
            utilization=None if rates is None else rates.gpu,
            power_w=None if power_mw is None else power_mw / 1e3,
            temperature_c=self._ask("nvmlDeviceGetTemperature", handle, 0),
            clock_mhz=self._ask("nvmlDeviceGetClockInfo", handle, 1),  # of its multiprocessors
            clock_reasons=self._ask("nvmlDeviceGetCurrentClocksEventReasons", handle),
            energy_j=None if energy_mj is None else energy_mj / 1e3,
        )

    def _used_by_others(self, handle: Any, own: set[int]) -> int | None:
        function = "nvmlDeviceGetProcessUtilization"
        nobody = getattr(self._nvml, "NVMLError_NotFound", ())  # used it since
        samples = self._ask(function, handle, self._begun_us, none_where=nobody)
        if samples is None:
            return None
        of_each: dict[int, list[int]] = {}
        for sample in samples:
            of_each.setdefault(sample.pid, []).append(sample.smUtil)
        used = sum(fmean(seen) for pid, seen in of_each.items() if pid not in own)
        return min(100, round(used))

    def _ask(self, function: str, *arguments: Any, none_where: Any = ()) -> Any:
        """None for what the driver does not tell; an empty list for the errors that say so."""
        try:
            return getattr(self._nvml, function)(*arguments)
        except none_where:
            return []
        except Exception:  # NVMLError of many kinds, or no such function in this version
            return None
