"""What other programs, limits and the machine itself took from an interval of a process.

`kernel_readings.py` reads what the system tells, `between_readings.py` says what comes of it.
"""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

# Less than this part of an interval, or than the kernel's counts can tell, is no disturbance.
LEAST_SHARE = 0.05
LEAST_S = 0.03
# Threads of its own waiting for one another are a cause from this part of an interval on.
CROWDED_SHARE = 0.25
# What logs and tables show of an interval, besides its GPUs.
FIGURES = ("lost_s", "own_s", "main_waited_s", "others_cpu_s", "pressure_s", "load")
# What may take time from an interval, as `lost_s` names it: in words, and what to do. The waiting
# of several threads may overlap, so the most that the interval can have lost is known; what a
# hypervisor took is a mean over cores; a stop alone is measured.
CAUSES = {
    "others": ("waited up to {lost} for a core that other programs had", "stop the other programs"),
    "quota": ("waited up to {lost} for its CPU quota", "ask for more cores, or take fewer threads"),
    "stolen": ("lost about {lost} to other machines on its host", "use a host of its own"),
    "stopped": ("stood still for {lost}", "do not stop it, or leave out what it was stopped in"),
    "memory": ("waited up to {lost} for memory", "free some memory, or load less into it"),
}
UNNAMED = ("lost up to {lost}", "find out what it lost them to")  # a cause of another version


@dataclass(frozen=True, slots=True)  # slots: a report holds one for each epoch of all runs
class Interference:
    """What an interval had to share. Times are in seconds; what the system does not tell is None.

    `main_waited_s`, `threads_waited_s` and `workers_waited_s` are the time in which the process's
    main thread, its other threads (their sum) and its child processes (their sum) could have run
    and had no core. `cpu_s` is the CPU time of the job, `others_cpu_s` that of all others on the
    cores that it may use, of which `chance_s` may be none. `pressure_s`: some program of the
    machine waited for a core.
    `lost_s` is, by CAUSES, at most what the interval lost to others; `own_s` what it waited for its
    own threads and workers. `gpus` has a GpuReading's figures for each in use, in plain types;
    those of another rank have its `rank`.
    """

    wall_s: float
    main_waited_s: float | None = None
    threads_waited_s: float | None = None
    workers_waited_s: float | None = None
    cpu_s: float | None = None
    others_cpu_s: float | None = None
    chance_s: float | None = None
    stolen_s: float | None = None
    throttled_s: float | None = None
    stopped_s: float | None = None
    pressure_s: float | None = None
    memory_stalled_s: float | None = None
    major_faults: int | None = None
    swapped_mib: float | None = None
    load: float | None = None
    cores: int | None = None
    own_s: float | None = None
    lost_s: dict[str, float] = field(default_factory=dict)
    gpus: list[dict[str, Any]] | None = None

    @property
    def lost(self) -> float:
        """The seconds that the interval lost to others at most."""
        return min(self.wall_s, sum(self.lost_s.values()))

    @property
    def share(self) -> float:
        """`lost` as a part of the interval."""
        return self.lost / self.wall_s if self.wall_s > 0 else 0.0

    @property
    def figures(self) -> dict[str, float | None]:
        """By FIGURES, in seconds but for the load; None for what the system does not tell."""
        values = {name: getattr(self, name) for name in FIGURES}
        told = self.main_waited_s is not None or self.lost_s
        return values | {"lost_s": self.lost if told else None}

    @property
    def power_w(self) -> float | None:
        """Of all its GPUs."""
        return add(gpu["power_w"] for gpu in self.gpus or () if "rank" not in gpu)

    @property
    def slowed_gpus(self) -> list[str]:
        """Why its GPUs ran slower than they can, or for others: one sentence's part each."""
        return [
            f"{reason} (on rank {gpu['rank']})" if "rank" in gpu else reason
            for gpu in self.gpus or ()
            for reason in gpu["disturbed_by"]
        ]

    @property
    def disturbed(self) -> bool:
        return self.lost_much or bool(self.slowed_gpus)

    @property
    def lost_much(self) -> bool:
        """Whether it surely waited for so long that this disturbed it, GPUs apart."""
        lost_s = min(self.wall_s, sum(self.surely_lost_s.values()))
        return lost_s >= max(LEAST_S, LEAST_SHARE * self.wall_s)

    @property
    def surely_lost_s(self) -> dict[str, float]:
        """`lost_s`, without what others may have used of the cores by chance alone."""
        if self.others_cpu_s is None or self.chance_s is None or "others" not in self.lost_s:
            return self.lost_s
        sure_s = max(0.0, self.others_cpu_s - self.chance_s)
        return self.lost_s | {"others": min(self.lost_s["others"], sure_s)}

    @property
    def crowded(self) -> bool:
        """Whether its own threads and workers waited for one another."""
        return (self.own_s or 0.0) >= max(LEAST_S, CROWDED_SHARE * self.wall_s)

    @property
    def unknown(self) -> list[str]:
        """The names of what the system does not tell; without a GPU in use, `gpus` is empty."""
        names = [name for name, value in asdict(self).items() if value is None]
        of_gpus = {key for gpu in self.gpus or () for key, value in gpu.items() if value is None}
        return names + [f"gpus.{name}" for name in sorted(of_gpus)]

    @property
    def cause(self) -> str:
        """Of CAUSES the one that took most; empty where nothing is lost."""
        sure_s = self.surely_lost_s
        return max(sure_s, key=lambda name: (sure_s[name], self.lost_s[name]), default="")

    def in_words(self, subject: str = "the process") -> str:
        """What disturbed it most: "the process waited up to 31 s of 42 s for a core that …"."""
        if self.slowed_gpus and not self.lost_much:
            return self.slowed_gpus[0]
        seconds = min(self.lost_s[self.cause], self.wall_s)
        digits = 0 if self.wall_s >= 20 else 1 if self.wall_s >= 1 else 2
        lost = f"{seconds:.{digits}f} s of {self.wall_s:.{digits}f} s"
        return f"{subject} {CAUSES.get(self.cause, UNNAMED)[0].format(lost=lost)}"

    @property
    def advice(self) -> str:
        """What would end the disturbance that took most."""
        if self.slowed_gpus and not self.lost_much:
            return "Measure again when the GPU is free and cool"
        words = CAUSES.get(self.cause, UNNAMED)[1]
        return f"{words[0].upper()}{words[1:]}, and measure again"

    def as_dict(self) -> dict[str, Any]:
        """The record's `interference`."""
        values = asdict(self)
        return values | {"disturbed": self.disturbed, "unknown": self.unknown}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Interference":
        """What `as_dict` gave, or another version of it."""
        names = cls.__dataclass_fields__
        return cls(**{name: value for name, value in values.items() if name in names})


def summed(parts: Iterable[Interference]) -> Interference | None:
    """Several intervals as one; what is unknown in one of them is so in the sum. None for none."""
    parts = list(parts)
    if not parts:
        return None
    values: dict[str, Any] = {}
    for name in Interference.__dataclass_fields__:
        if name not in ("lost_s", "gpus", "load", "cores"):
            values[name] = add(getattr(part, name) for part in parts)
    if values["chance_s"] is not None:  # what is too much in one part is too little in another
        values["chance_s"] = math.hypot(*(part.chance_s or 0.0 for part in parts))
    causes = {cause for part in parts for cause in part.lost_s}
    lost_s = {cause: sum(part.lost_s.get(cause, 0.0) for part in parts) for cause in causes}
    last = parts[-1]
    gpus = [gpu for part in parts for gpu in part.gpus or ()]
    none_told = not gpus and any(part.gpus is None for part in parts)
    return Interference(
        **values, lost_s=lost_s, load=last.load, cores=last.cores, gpus=None if none_told else gpus
    )


def of_record(values: Iterable[dict[str, Any] | None]) -> Interference | None:
    """What a record's epochs or rounds had to share together; None where nobody looked."""
    return summed(Interference.from_dict(each) for each in values if each)


def add(values: Iterable[float | None]) -> float | None:
    """Their sum; None for none, and where one of them is None."""
    total = 0.0
    some = False
    for value in values:
        if value is None:
            return None
        total, some = total + value, True
    return total if some else None
