"""What the system tells of a process and of those it shares the machine with, at one moment.

The kernel counts for each thread how long it could have run and had no core
(`/proc/PID/task/TID/schedstat`), and for each core how long it worked and how much a hypervisor
took (`/proc/stat`). What a system does not count is None here, never zero.
"""

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from hpml.system.control_groups import throttled_s
from hpml.system.gpus import GpuWitness
from hpml.system.interference import Reading, add
from hpml.system.stops import Stops

NS_PER_S = 1e9
MIB = 2**20
TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
# Another place where the kernel tells: a host's, as a container sees it, or none in tests.
PROC = Path(os.environ.get("HPML_PROC", "/proc"))
PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


class Witness:
    """Sees what a process and its children share with others: a millisecond for each reading.

    Args:
        job: the process under which all of the job runs, where other ranks are on this machine;
            the CPU time of all that it started is the job's own.
        ranks: processes below that are ranks, no workers.
        stops: notices stops, where somebody has started it.
        gpus: a witness of the GPUs in use.
        proc, groups: where the kernel tells; another place in tests.
    """

    def __init__(
        self,
        job: int | None = None,
        ranks: Iterable[int] = (),
        stops: Stops | None = None,
        gpus: GpuWitness | None = None,
        proc: Path = PROC,
        groups: Path = Path("/sys/fs/cgroup"),
        pid: int | None = None,
    ) -> None:
        self._pid = os.getpid() if pid is None else pid
        self._job = self._pid if job is None else job
        self._ranks = frozenset(ranks) - {self._pid}
        self._stops, self._gpus = stops, gpus
        self._proc, self._groups = str(proc), groups
        self._ours = f"{proc}/{self._pid}"
        self._workers_waited: dict[tuple[int, str], float] = {}  # by process and its start

    def read(self) -> Reading:
        """What has been until now."""
        busy_s, stolen_s, cores = self._cores()
        job = self._processes(self._job)
        faults = add(stat.major_faults for stat in job.values())
        workers = self.look_at_workers()
        return Reading(
            at_s=time.perf_counter(),
            waited=self._threads(),
            workers_waited_s=None if workers is None else sum(self._workers_waited.values()),
            workers=workers or 0,
            cpu_s=add(stat.cpu_s for stat in job.values()),
            busy_s=busy_s,
            stolen_s=stolen_s,
            throttled_s=throttled_s(Path(self._ours, "cgroup"), self._groups),
            stopped_s=None if self._stops is None else self._stops.stopped_s,
            pressure_s=self._pressure("cpu"),
            memory_stalled_s=self._pressure("memory"),
            major_faults=None if faults is None else int(faults),
            swapped_mib=self._swapped_mib(),
            load=self._load(),
            cores=cores,
            gpus=None if self._gpus is None else self._gpus.read(),
        )

    def look_at_workers(self) -> int | None:
        """Keeps how long each child has waited so far, for one that ends before `read`.

        Returns how many there are, None where the system does not tell how long they waited.
        """
        children = self._processes(self._pid, without=self._ranks)
        del children[self._pid]
        for pid, stat in children.items():
            waited = self._waited(f"{self._proc}/{pid}")
            if waited is None and Path(self._proc, str(pid)).exists():
                return None
            if waited is not None:
                self._workers_waited[pid, stat.started] = waited
        return len(children)

    def _threads(self) -> dict[str, float] | None:
        waited = {}
        for thread in _names(f"{self._ours}/task"):
            seconds = self._waited(f"{self._ours}/task/{thread}")
            if seconds is not None:
                waited["main" if thread == str(self._pid) else thread] = seconds
        return waited or None

    @staticmethod
    def _waited(folder: str) -> float | None:
        fields = _text(f"{folder}/schedstat").split()
        return int(fields[1]) / NS_PER_S if len(fields) > 1 else None

    def _processes(self, root: int, without: Iterable[int] = ()) -> dict[int, "_Stat"]:
        """A process and all below it."""
        found: dict[int, _Stat] = {}
        open_ = [root]
        while open_:
            pid = open_.pop()
            if pid in found or pid in without:
                continue
            folder = f"{self._proc}/{pid}"
            found[pid] = _Stat.parse(_text(f"{folder}/stat"))
            for thread in _names(f"{folder}/task"):
                open_ += map(int, _text(f"{folder}/task/{thread}/children").split())
        return found

    def _cores(self) -> tuple[float | None, float | None, int | None]:
        """Seconds that the usable cores worked, and that a hypervisor took; how many there are."""
        usable = self._usable
        rows = [row.split() for row in _text(f"{self._proc}/stat").splitlines()]
        times = [
            [int(ticks) / TICKS for ticks in row[1:9]]
            for row in rows
            if row and row[0][:3] == "cpu" and row[0][3:].isdigit()
            if usable is None or int(row[0][3:]) in usable
        ]
        if not times or any(len(core) < 7 for core in times):
            return None, None, len(usable) if usable else None
        # user, nice, system, idle, iowait, irq, softirq, steal
        busy_s = sum(core[0] + core[1] + core[2] + core[5] + core[6] for core in times)
        stolen_s = add(core[7] if len(core) > 7 else None for core in times)
        return busy_s, stolen_s, len(times)

    @cached_property
    def _usable(self) -> frozenset[int] | None:
        """The cores that the process may use; None for all."""
        for row in _text(f"{self._ours}/status").splitlines():
            if row.startswith("Cpus_allowed_list:"):
                ranges = [part.partition("-") for part in row.split(":")[1].strip().split(",")]
                cores = [range(int(a), int(b or a) + 1) for a, _, b in ranges]
                return frozenset(core for some in cores for core in some)
        return None

    def _pressure(self, resource: str) -> float | None:
        for row in _text(f"{self._proc}/pressure/{resource}").splitlines():
            if row.startswith("some"):
                return int(row.rpartition("total=")[2]) / 1e6
        return None

    def _swapped_mib(self) -> float | None:
        rows = (row.split() for row in _text(f"{self._proc}/vmstat").splitlines())
        pages = [int(row[1]) for row in rows if row[0] in ("pswpin", "pswpout")]
        return sum(pages) * PAGE / MIB if pages else None

    def _load(self) -> float | None:
        fields = _text(f"{self._proc}/loadavg").split()
        return float(fields[0]) if fields else None


@dataclass(frozen=True)
class _Stat:
    """Of `/proc/PID/stat`, with the children that have ended and were waited for."""

    cpu_s: float | None = None
    major_faults: int | None = None
    started: str = ""

    @classmethod
    def parse(cls, text: str) -> "_Stat":
        fields = text.rpartition(")")[2].split()  # a program's name may hold anything
        if len(fields) < 20:
            return cls()
        cpu_s = sum(map(int, fields[11:15])) / TICKS
        return cls(cpu_s, int(fields[9]) + int(fields[10]), fields[19])


def _text(file: str) -> str:
    """What the kernel tells there; nothing where it does not."""
    try:
        with open(file, "rb", buffering=0) as stream:  # noqa: PTH123 - a third of pathlib's time
            return (stream.readall() or b"").decode(errors="replace")
    except OSError:
        return ""


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - likewise
    except OSError:
        return []
