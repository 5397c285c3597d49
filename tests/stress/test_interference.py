"""Interference planted by real processes: what the witness says is what was taken."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hpml.system.between_readings import between
from hpml.system.environment import usable_cores
from hpml.system.interference import Interference
from hpml.system.kernel_readings import Witness
from hpml.system.suspensions import Suspensions

pytestmark = pytest.mark.stress
SECONDS = 4.0
CPU_GROUPS = Path("/sys/fs/cgroup/cpu")


@contextmanager
def busy_loops(count: int, core: int | None = None) -> Iterator[None]:
    """So many processes that never rest, on a core or on all."""
    start = f"{shlex.quote(sys.executable)} -c 'while True: pass' > /dev/null & echo $!"
    # by a shell that has ended: a child of ours would be part of the job
    pids = [int(subprocess.check_output(["sh", "-c", start])) for _ in range(count)]
    try:
        for pid in pids:
            os.sched_setaffinity(pid, os.sched_getaffinity(0) if core is None else {core})
        time.sleep(0.5)  # they have started
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def on_one_core() -> Iterator[int]:
    """This process on one core of its own choice."""
    cores = os.sched_getaffinity(0)
    core = min(cores)
    os.sched_setaffinity(0, {core})
    yield core
    os.sched_setaffinity(0, cores)


def work(seconds: float = SECONDS, witness: Witness | None = None) -> tuple[Interference, float]:
    """What was seen while one thread worked all the time, and what it did not get of that."""
    witness = witness or Witness(proc=Path("/proc"))
    before, cpu_s = witness.read(), time.thread_time()
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass
    seen = between(before, witness.read())
    return seen, seen.wall_s - (time.thread_time() - cpu_s)


@pytest.mark.parametrize("loops", [1, 3])
def test_loops_on_its_core(on_one_core: int, loops: int) -> None:
    """What a process on one core waited is what the loops took of it, within a tenth."""
    with busy_loops(loops, on_one_core):
        seen, taken_s = work()
    assert taken_s > 0.3 * seen.wall_s
    assert seen.main_waited_s == pytest.approx(taken_s, rel=0.1)
    assert seen.lost_s["others"] == pytest.approx(taken_s, rel=0.1)
    assert seen.disturbed


def test_loops_on_all_cores() -> None:
    """The same where all cores are taken."""
    with busy_loops(2 * usable_cores()):
        seen, taken_s = work()
    assert seen.lost_s["others"] == pytest.approx(taken_s, rel=0.1)
    assert seen.disturbed


def test_a_quota() -> None:
    """A control group that grants half a core takes the other half."""
    group = CPU_GROUPS / f"hpml-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / "cpu.cfs_quota_us").write_text("50000")
    except OSError:
        pytest.skip("control groups of version 1 cannot be made here")
    inside = f"import os; open('{group}/cgroup.procs', 'w').write(str(os.getpid())); "
    inside += "from stress.test_interference import work; seen, taken = work(); "
    inside += "print(seen.lost_s.get('quota', 0), taken, seen.disturbed)"
    tests = str(Path(__file__).parents[1])
    try:
        variables = os.environ | {"PYTHONPATH": tests}
        command = [sys.executable, "-c", inside]
        output = subprocess.run(
            command, env=variables, check=True, capture_output=True, text=True
        ).stdout
    finally:
        group.rmdir()
    lost_s, taken_s, disturbed = output.split()
    assert float(taken_s) > 0.4 * SECONDS
    assert float(lost_s) == pytest.approx(float(taken_s), rel=0.1)
    assert disturbed == "True"


def test_a_process_that_is_stopped() -> None:
    """Stopped by a signal for three seconds, and continued: three seconds are lost."""
    stop = f"import os, time; os.kill({os.getpid()}, {signal.SIGSTOP:d}); time.sleep(3); "
    stop += f"os.kill({os.getpid()}, {signal.SIGCONT:d})"
    with Suspensions() as stops:
        witness = Witness(stops=stops, proc=Path("/proc"))
        other = subprocess.Popen([sys.executable, "-c", stop])
        seen, _ = work(6.0, witness)
        other.wait()
    assert seen.lost_s["stopped"] == pytest.approx(3, rel=0.1)
    assert "stood still" in Interference(seen.wall_s, lost_s={"stopped": 3.0}).in_words()


def test_a_memory_hog(tmp_path: Path) -> None:
    """Pages that had to be read again are counted, where a control group lacks the memory."""
    membership = Path("/proc/self/cgroup").read_text().splitlines()
    paths = [row.split(":")[2] for row in membership if row.split(":")[1] == "memory"]
    group = Path("/sys/fs/cgroup/memory", *[part for part in (paths or [""])[0].split("/") if part])
    group /= f"hpml-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(24 * 2**20))
    except OSError:
        pytest.skip("control groups of version 1 cannot be made here")
    file = tmp_path / "mapped"
    inside = f"import os, mmap; open('{group}/cgroup.procs', 'w').write(str(os.getpid()))\n"
    inside += f"file = open('{file}', 'wb'); [file.write(os.urandom(2**20)) for _ in range(64)]\n"
    inside += "file.flush(); os.fsync(file.fileno())\n"
    inside += "from pathlib import Path; from hpml.system.kernel_readings import Witness\n"
    inside += "from hpml.system.between_readings import between\n"
    inside += f"witness = Witness(proc=Path('/proc')); file = open('{file}', 'rb')\n"
    inside += "pages = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)\n"
    inside += "pages.madvise(mmap.MADV_RANDOM); before = witness.read()\n"
    inside += "total = sum(pages[at] for _ in range(3) for at in range(0, len(pages), 4096))\n"
    inside += "seen = between(before, witness.read()); print(seen.major_faults)"
    try:
        output = subprocess.run(
            [sys.executable, "-c", inside], check=True, capture_output=True, text=True
        ).stdout
    finally:
        group.rmdir()
    assert int(output) > 100
