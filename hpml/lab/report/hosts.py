"""Hosts of one kind, whose runs share a machine's folder: what they differ in is in the times."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from hpml.formatting import listed
from hpml.report.collect import Run, clean

MOST_NAMED = 4


def several_hosts(runs: Sequence[Run]) -> str:
    """`2 hosts of one kind, a, b`, where a folder has completed runs of so many; else nothing."""
    for hosts in _by_folder(runs).values():
        if len(hosts) > 1:
            return f"{len(hosts)} hosts of one kind, {listed(sorted(hosts), MOST_NAMED)}"
    return ""


def differ_in_host(some: Sequence[Run], others: Sequence[Run]) -> bool:
    """Whether some runs are not of the very hosts of others in the same folder."""
    one, other = _by_folder(some), _by_folder(others)
    return any(one[folder] != other[folder] for folder in one.keys() & other.keys())


def _by_folder(runs: Sequence[Run]) -> Mapping[Path, set[str]]:
    """The names of hosts; below a machine's folder are those of the sweeps, and of their runs."""
    hosts: dict[Path, set[str]] = {}
    for run in runs:
        host = run.record.environment.get("host")
        if run.completed and host:
            hosts.setdefault(run.directory.parents[1], set()).add(clean(str(host)))
    return hosts
