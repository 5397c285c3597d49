"""What the system tells of a process and of those it shares the machine with, at one moment.

The kernel counts for each thread how long it could have run and had no core
(`/proc/PID/task/TID/schedstat`), and for each core how long it worked and how much a hypervisor
took (`/proc/stat`). What a system does not count is None here, never zero.
"""

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from hpml.system.between_readings import Reading
from hpml.system.control_groups import throttled_s
from hpml.system.gpus import GpuWitness
from hpml.system.interference import add
from hpml.system.suspensions import Suspensions

T = TypeVar("T")
NS_PER_S = 1e9
MIB = 2**20
TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
# Another place where the kernel tells: a host's, as a container sees it, or none in tests.
PROC = Path(os.environ.get("HPML_PROC", "/proc"))
PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


class Witness:
    """Sees what a process and its children share with others: a millisecond for each reading.

    Args:
        with_siblings: whether all that this process's parent has started is the job's own, as the
            ranks of one job are; else what this process has.
        ranks: processes below that are ranks, no workers.
        stops: notices stops, where somebody has started it.
        gpus: a witness of the GPUs in use.
        kin_on_gpus: whether what this process's parent has started is no other program on a GPU,
            as the other side of a comparison is none: it stands still while this one is measured.
        proc, groups: where the kernel tells; another place in tests.
    """

    def __init__(
        self,
        with_siblings: bool = False,
        ranks: Iterable[int] = (),
        stops: Suspensions | None = None,
        gpus: GpuWitness | None = None,
        kin_on_gpus: bool = False,
        proc: Path = PROC,
        groups: Path = Path("/sys/fs/cgroup"),
        pid: int | None = None,
    ) -> None:
        self._proc, self._groups = str(proc), groups
        self._pid = pid or self._own_pid()
        self._with_siblings = with_siblings
        self._ranks = frozenset(ranks) - {self._pid}
        self._stops, self._gpus = stops, gpus
        self._kin_on_gpus = kin_on_gpus
        self._ours = f"{proc}/{self._pid}"
        self._workers_waited: dict[tuple[int, str], float] = {}  # by process and its start

    def read(self, ends: bool = True) -> Reading:
        """What has been until now.

        Where an interval `ends` here, another begins: who has ended in it is forgotten then, and
        what others used of a GPU counts anew. A look into the middle of one changes neither.
        """
        job = self._processes(self._root(self._with_siblings))
        threads = list(_names(f"{self._ours}/task"))
        self._keep_waiting(job)
        workers_waited = self._workers_waited.copy()
        if ends:
            alive = {(pid, stat.started) for pid, stat in job.items()}  # of others no more comes
            self._workers_waited = {key: s for key, s in workers_waited.items() if key in alive}
        faults = add(stat.major_faults for stat in job.values())
        counts = bool(_text(f"{self._ours}/schedstat"))
        return Reading(
            at_s=time.perf_counter(),
            waited=self._threads(threads),
            workers_waited=workers_waited if counts else None,
            cpu_s=add(stat.cpu_s for stat in job.values()),
            cores=_told(self._cores) or {},
            usable=self._usable([*job, *map(int, threads)]),
            throttled_s=throttled_s(Path(self._ours, "cgroup"), self._groups),
            stopped_s=None if self._stops is None else self._stops.stopped_s,
            pressure_s=_told(lambda: self._pressure("cpu")),
            memory_stalled_s=_told(lambda: self._pressure("memory")),
            major_faults=None if faults is None else int(faults),
            swapped_mib=_told(self._swapped_mib),
            load=_told(self._load),
            gpus=None if self._gpus is None else self._gpus.read(self._on_gpus(job), ends),
        )

    def look_at_workers(self) -> None:
        """Keeps how long each child has waited so far, for one that ends before `read`."""
        self._keep_waiting(self._processes(self._pid))

    def _keep_waiting(self, job: "dict[int, _Stat]") -> None:
        """Of the processes below this one that are no ranks."""
        below = {self._pid}
        for pid, stat in job.items():  # a parent comes before its children
            if stat.parent in below and pid not in self._ranks:
                below.add(pid)
                waited = self._waited(f"{self._proc}/{pid}")
                if waited is not None:
                    self._workers_waited[pid, stat.started] = waited

    def _own_pid(self) -> int:
        """As the kernel's files number this process: those of a host do otherwise."""
        try:
            return int(Path(self._proc, "self").readlink().name)
        except (OSError, ValueError):
            return os.getpid()

    def _on_gpus(self, job: "dict[int, _Stat]") -> "dict[int, _Stat]":
        """The processes that are no other programs there."""
        return self._processes(self._root(with_siblings=True)) if self._kin_on_gpus else job

    def _root(self, with_siblings: bool) -> int:
        """The process below which all of the job runs; with siblings it is this one's parent."""
        parent = _Stat.parse(_text(f"{self._ours}/stat")).parent if with_siblings else 0
        return parent or self._pid

    def _threads(self, threads: Iterable[str]) -> dict[str, float] | None:
        waited = {}
        for thread in threads:
            seconds = self._waited(f"{self._ours}/task/{thread}")
            if seconds is not None:
                waited["main" if thread == str(self._pid) else thread] = seconds
        return waited or None

    @staticmethod
    def _waited(folder: str) -> float | None:
        fields = _text(f"{folder}/schedstat").split()
        return int(fields[1]) / NS_PER_S if len(fields) > 1 else None

    def _processes(self, root: int) -> "dict[int, _Stat]":
        """A process and all below it, each after its parent; without those that have just ended."""
        found: dict[int, _Stat] = {}
        open_ = [root]
        while open_:
            pid = open_.pop()
            folder = f"{self._proc}/{pid}"
            text = _text(f"{folder}/stat")
            if pid in found or not (text or pid == root):
                continue
            found[pid] = _Stat.parse(text)
            for thread in _names(f"{folder}/task"):
                open_ += map(int, _text(f"{folder}/task/{thread}/children").split())
        return found

    def _cores(self) -> dict[int, tuple[float, float | None]]:
        cores = {}
        for row in _text(f"{self._proc}/stat").splitlines():
            name, *ticks = row.split() or [""]
            if name[:3] == "cpu" and name[3:].isdigit():
                # user, nice, system, idle, iowait, irq, softirq, steal
                times = [int(tick) / TICKS for tick in ticks[:8]]
                busy_s = sum(times[:3]) + times[5] + times[6]
                cores[int(name[3:])] = busy_s, times[7] if len(times) > 7 else None
        return cores

    def _usable(self, tasks: Iterable[int]) -> frozenset[int] | None:
        """The cores on which any thread of the process, or any process of the job, may run."""
        if self._proc != "/proc" or not hasattr(os, "sched_getaffinity"):
            return _told(self._allowed)
        cores: set[int] = set()
        for task in tasks:
            try:
                cores |= os.sched_getaffinity(task)
            except OSError:  # it has ended
                continue
        return frozenset(cores) or None

    def _allowed(self) -> frozenset[int] | None:
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
    parent: int = 0

    @classmethod
    def parse(cls, text: str) -> "_Stat":
        fields = text.rpartition(")")[2].split()  # a program's name may hold anything
        if len(fields) < 20:
            return cls()
        cpu_s = sum(map(int, fields[11:15])) / TICKS
        return cls(cpu_s, int(fields[9]) + int(fields[10]), fields[19], int(fields[1]))


def _told(read: Callable[[], T]) -> T | None:
    """What a kernel tells, None where its file is of another format."""
    try:
        return read()
    except (ValueError, IndexError):
        return None


def _text(file: str) -> str:
    """What the kernel tells there; nothing where it does not.

    Each thread has two such files, and `open` would take nearly twice as long for them.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY)
    except OSError:
        return ""
    try:
        whole = b""
        while part := os.read(descriptor, 65536):
            whole += part
        return whole.decode(errors="replace")
    except OSError:
        return ""
    finally:
        os.close(descriptor)


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - likewise
    except OSError:
        return []
