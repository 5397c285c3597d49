"""What the control groups of Linux grant a process: version 1 and 2, and groups in groups."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

NS_PER_S, US_PER_S = 1e9, 1e6
OURS = Path("/proc/self/cgroup")
GROUPS = Path("/sys/fs/cgroup")


def cpu_quota(membership: Path = OURS, groups: Path = GROUPS) -> float | None:
    """The cores' worth of CPU time that a process may use: the least of all its groups.

    `membership` is its `/proc/PID/cgroup`. None where nothing limits it.
    """
    quotas = []
    for folder, version in _cpu_folders(membership, groups):
        with suppress(OSError, ValueError):  # of `max`, or no such file
            if version == 2:
                quota, period = map(int, (folder / "cpu.max").read_text().split())
            else:
                quota = int((folder / "cpu.cfs_quota_us").read_text())
                period = int((folder / "cpu.cfs_period_us").read_text())
            if quota > 0:
                quotas.append(quota / period)
    return min(quotas, default=None)


def throttled_s(membership: Path = OURS, groups: Path = GROUPS) -> dict[str, float] | None:
    """Seconds in which cores were denied to a process's group, and to each one around it.

    By the group's folder, summed over cores; None where no group has a count.
    """
    counts = {}
    for folder, _ in _cpu_folders(membership, groups):
        with suppress(OSError):
            for row in (folder / "cpu.stat").read_text().splitlines():
                name, _, value = row.partition(" ")
                unit = {"throttled_usec": US_PER_S, "throttled_time": NS_PER_S}.get(name)
                if unit is not None and value.isdigit():
                    counts[str(folder)] = int(value) / unit
    return counts or None


def _cpu_folders(membership: Path, groups: Path) -> Iterator[tuple[Path, int]]:
    """The process's CPU group and those around it, as this machine mounts them."""
    try:
        rows = membership.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return
    for row in rows:
        number, _, rest = row.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            mounts = [(groups / "unified", 2), (groups, 2)]
        elif "cpu" in controllers.split(","):
            mounts = [(groups / controllers, 1), (groups / "cpu", 1)]
        else:
            continue
        mount, version = next(((m, v) for m, v in mounts if m.is_dir()), (groups, 2))
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for depth in range(len(parts), -1, -1):
            folder = mount.joinpath(*parts[:depth])
            if folder.is_dir():  # in a container, its own group is the root
                yield folder, version
