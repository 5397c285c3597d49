"""What a run ran on: hardware, versions, commit."""

from __future__ import annotations

import itertools
import os
import platform
import re
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

import hpml
from hpml.system.control_groups import cpu_quota
from hpml.system.threads import affinity, ranges, waiting, workers_affinity

if TYPE_CHECKING:
    import torch

JOBS_AT_ONCE = "HPML_JOBS_AT_ONCE"  # how many jobs of a sweep share this machine
SWEPT = "HPML_SWEPT"  # the keys in which a sweep's jobs differ
MPS = "Apple MPS"  # among the accelerators
MIB = 2**20
GIB = 2**30


def usable_cores() -> int:
    """The CPU cores that this process may use: its affinity, and the quota of its groups."""
    cores, quota = len(affinity() or ()) or os.cpu_count() or 1, cpu_quota()
    return max(1, cores if quota is None else min(cores, int(quota)))


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    names = os.environ.get("CUDA_VISIBLE_DEVICES")
    if names is None:
        return [str(index) for index in range(probe_devices().get("gpu", 0))]
    gpus = [gpu.strip() for gpu in names.split(",")]
    return list(itertools.takewhile(lambda gpu: gpu not in ("", "-1"), gpus))


def probe_devices() -> dict[str, int]:
    """How many accelerators PyTorch sees, by what `device` calls them; without importing it here.

    CUDA would hold memory on each GPU for as long as this process lives.
    """
    has = "torch.cuda.device_count(), int(torch.backends.mps.is_available())"
    command = [sys.executable, "-c", f"import torch; print({has})"]
    output = _output_of(command, timeout_s=120) or "0 0"
    counts = zip(("gpu", "mps"), map(int, output.split()[-2:]), strict=True)
    return {name: count for name, count in counts if count}


def rank() -> int:
    """This process's rank among those that train together, before any Trainer knows it."""
    names = ("RANK", "LOCAL_RANK", "SLURM_PROCID")  # torchrun, Lightning's own launcher, SLURM
    return int(next((os.environ[name] for name in names if name in os.environ), 0))


def is_one_of_several() -> bool:
    """Whether somebody has started this process as one of those that train together."""
    started = {"RANK", "LOCAL_RANK"} & os.environ.keys()
    return bool(started) or int(os.environ.get("SLURM_NTASKS", 1)) > 1


def memory_gib() -> float:
    """The memory that this process may use: the machine's, or its container's limit, in GiB."""
    size = psutil.virtual_memory().total
    with suppress(OSError, ValueError):  # of `max`
        size = min(size, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return round(size / GIB, 1)


def peak_memory_mib(device: torch.device) -> float:
    """Allocated on a CUDA device; elsewhere resident in this process so far, workers apart."""
    import torch

    on_gpu = device.type == "cuda"
    return torch.cuda.max_memory_allocated(device) / MIB if on_gpu else resident_peak_mib()


def resident_peak_mib() -> float:
    # what getrusage tells begins, on Linux, with what the parent held when it started this process
    with suppress(OSError):
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        if (kib := re.search(r"^VmHWM:\s*(\d+) kB", status, re.MULTILINE)) is not None:
            return int(kib[1]) * 1024 / MIB
    peak = getattr(psutil.Process().memory_info(), "peak_wset", None)  # Windows
    if peak is None:
        import resource

        unit = 1 if psutil.MACOS else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return float(peak) / MIB


def cpu_name() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    if platform.system() == "Darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return _output_of(command) or platform.machine()
    return platform.processor() or platform.machine()


def git_commit(folder: Path | None = None) -> str | None:
    """The commit of the sources around a folder, with `-dirty` behind it where they were changed.

    Without a folder it is that of hpml's own sources; None where hpml was installed from a wheel.
    """
    if folder is None:
        folder = Path(__file__).parents[2]
        if not (folder / ".git").exists():
            return None
    git = ["git", "-C", str(folder)]
    commit = _output_of([*git, "rev-parse", "HEAD"])
    changed = _output_of([*git, "status", "--porcelain", "--untracked-files=no"])
    return f"{commit}-dirty" if commit and changed else commit


def describe(device: str | None = None, sources: Path | None = None) -> dict[str, Any]:
    """The record's `environment`; `device` is None before it is known, `sources` for git_commit.

    `workers_affinity` has the cores of each loading process that there is at the moment.
    """
    import lightning
    import torch

    accelerators = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        accelerators.append(MPS)
    return {
        "host": socket.gethostname(),
        "cpu": cpu_name(),
        "cpu_cores": usable_cores(),
        "threads": {
            "intra_op": torch.get_num_threads(),
            "inter_op": torch.get_num_interop_threads(),
            "wait": waiting(),
        },
        "affinity": ranges(affinity() or ()) or None,
        "workers_affinity": [ranges(cores) for cores in workers_affinity()],
        "memory_gib": memory_gib(),
        "accelerators": accelerators,
        "device": device,
        "os": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "lightning": lightning.__version__,
        "hpml": hpml.__version__,
        "git_commit": git_commit(sources),
        "jobs_at_once": int(os.environ.get(JOBS_AT_ONCE, "1")),
        "slurm_job_id": os.environ.get("SLURM_JOB_ID"),
    }


def _output_of(command: list[str], timeout_s: float = 10) -> str | None:
    with suppress(OSError, subprocess.SubprocessError):
        run = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=True)
        return run.stdout.strip() or None
    return None
