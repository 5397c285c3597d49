"""A SLURM of one node, this one, for as long as a test needs it."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol")
# More processors than there are: several jobs fit on the node, as on a cluster's.
CONFIGURATION = """
ClusterName=test
SlurmctldHost=localhost
AuthType=auth/munge
AuthInfo=cred_expire=10
SlurmUser=root
SlurmdUser=root
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmdSpoolDir={folder}/slurmd
StateSaveLocation={folder}/state
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SchedulerType=sched/backfill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=2
InactiveLimit=0
MinJobAge=300
NodeName=localhost CPUs=4 State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def is_here() -> bool:
    """Whether SLURM's programs are installed, and this process may start them."""
    return os.geteuid() == 0 and all(shutil.which(program) for program in PROGRAMS)


@contextmanager
def running(folder: Path) -> Iterator[None]:
    """SLURM at work, be it one that was before."""
    if _answers():
        yield
        return
    configuration = folder / "slurm.conf"
    configuration.write_text(CONFIGURATION.format(folder=folder))
    (folder / "state").mkdir()
    if subprocess.run(["pgrep", "-x", "munged"], capture_output=True, check=False).returncode:
        Path("/run/munge").mkdir(exist_ok=True)
        shutil.chown("/run/munge", "munge")
        subprocess.run(["runuser", "-u", "munge", "--", "munged"], check=True)
    try:
        with patch.dict(os.environ, SLURM_CONF=str(configuration)):
            for program in ("slurmctld", "slurmd"):
                subprocess.run([program, "-f", configuration], check=True)
            until = time.monotonic() + 60
            while not _answers():
                assert time.monotonic() < until, (folder / "slurmctld.log").read_text()
                time.sleep(0.5)
            yield
    finally:
        for file in (folder / "slurmd.pid", folder / "slurmctld.pid"):
            if file.exists():
                subprocess.run(["kill", file.read_text().strip()], check=False)


def _answers() -> bool:
    command = ["sinfo", "--noheader", "--format=%t"]
    states = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    return bool({"idle", "mix", "alloc"} & set(states))
