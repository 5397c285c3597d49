"""What an interval lost to others, from files in the kernel's formats; the clocks are handed in."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from helpers.machine import PID, WORKER, Machine

from hpml.system.between_readings import Reading, between
from hpml.system.control_groups import cpu_quota, throttled_s
from hpml.system.interference import CAUSES, Interference, summed
from hpml.system.kernel_readings import Witness

RANK = 300


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def seen(before: Reading, after: Reading, wall_s: float = 10, **known: float) -> Interference:
    """What happened in so many seconds."""
    values = {name: getattr(after, name) for name in Reading.__dataclass_fields__}
    return between(before, Reading(**values | {"at_s": before.at_s + wall_s}), **known)


def test_a_core_that_others_had_is_lost_to_them(machine: Machine) -> None:
    """A loop beside a pinned process takes half: half of the time is lost, and to others."""
    before = machine.witness.read()
    machine.process(PID, {PID: 5.0, 101: 0.0, 102: 0.0}, cpu_s=5.0)
    machine.cores((10, 0, 0), (0, 10, 0))
    after = seen(before, machine.witness.read())
    assert (after.main_waited_s, after.threads_waited_s) == (5.0, 0.0)
    assert (after.cpu_s, after.others_cpu_s) == (5.0, 5.0)
    assert after.lost_s == {"others": 5.0}
    assert after.own_s == 0.0
    assert after.disturbed
    assert (
        after.in_words()
        == "the process waited up to 5.0 s of 10.0 s for a core that other programs had"
    )


def test_a_jobs_own_threads_that_wait_for_one_another_are_no_disturbance(machine: Machine) -> None:
    """Where all of the CPU time is the job's, the waiting is its own."""
    before = machine.witness.read()
    machine.process(PID, {PID: 3.0}, cpu_s=9.0, children=(WORKER,))
    machine.process(WORKER, {WORKER: 6.0}, cpu_s=11.0)
    machine.cores((10, 0, 0), (10, 0, 0))
    after = seen(before, machine.witness.read(), waiting_s=2.0)
    assert not after.disturbed
    assert after.own_s == 5.0  # its own three seconds, and of the worker's what it waited for it
    assert after.crowded


def test_a_crowded_job_loses_to_others_what_they_could_have_left_it(machine: Machine) -> None:
    """Nine seconds of waiting, of which the second that others had could have spared one."""
    before = machine.witness.read()
    machine.process(PID, {PID: 3.0}, cpu_s=9.0, children=(WORKER,))
    machine.process(WORKER, {WORKER: 6.0}, cpu_s=10.0)
    machine.cores((10, 0, 0), (10, 0, 0))
    after = seen(before, machine.witness.read())
    assert after.lost_s == {"others": pytest.approx(1.0)}
    assert after.own_s == pytest.approx(8.0)
    assert after.crowded


def test_all_wait_for_the_worker_that_waits_longest(machine: Machine) -> None:
    """A loader's batches come in order: one of four without a core holds the training up."""
    workers = (WORKER, *range(WORKER + 1, WORKER + 4))
    machine.process(PID, children=workers)
    for worker in workers:
        machine.process(worker)
    before = machine.witness.read()
    machine.process(WORKER, {WORKER: 4.0})
    machine.cores((4, 6, 0), (0, 10, 0))
    assert seen(before, machine.witness.read()).lost_s == {"others": 4.0}


def test_another_thread_may_hold_up_each_step(machine: Machine) -> None:
    """Sixteen that wait 0.4 s in turn hold up 6.4 s, which a loop beside them may have had."""
    threads = {PID + number: 0.0 for number in range(16)}
    machine.process(PID, threads)
    before = machine.witness.read()
    machine.process(PID, dict.fromkeys(threads, 0.4), cpu_s=10.0)
    machine.cores((10, 0, 0), (10, 0, 0))
    assert seen(before, machine.witness.read()).lost_s == {"others": pytest.approx(6.4)}


@pytest.mark.parametrize(("waiting_s", "lost_s"), [(0.0, 4.0), (0.5, 4.5), (None, 5.0)])
def test_waiting_of_workers_hides_none_of_the_main_threads(
    machine: Machine, waiting_s: float | None, lost_s: float
) -> None:
    """Others can have had all that the main thread waited; of the workers' what it waited for."""
    workers = range(WORKER, WORKER + 4)
    machine.process(PID, children=tuple(workers))
    for worker in workers:
        machine.process(worker)
    before = machine.witness.read()
    machine.process(PID, {PID: 4.0}, cpu_s=15.0, children=tuple(workers))
    for worker in workers:
        machine.process(worker, {worker: 3.0})
    machine.cores((10, 0, 0), (10, 0, 0))
    after = seen(before, machine.witness.read(), waiting_s=waiting_s)
    assert after.lost_s == {"others": lost_s}


def test_a_quiet_machine_whose_threads_crowd_one_another_is_not_disturbed(machine: Machine) -> None:
    """However long they wait, the little that others had can have taken no more than that."""
    threads = {PID + number: 0.0 for number in range(64)}
    machine.process(PID, threads)
    before = machine.witness.read()
    machine.process(PID, dict.fromkeys(threads, 9.0), cpu_s=19.5)
    machine.cores((10, 0, 0), (9.9, 0.1, 0))
    after = seen(before, machine.witness.read())
    assert after.lost_s == {"others": pytest.approx(0.4)}
    assert not after.disturbed
    assert after.crowded


def test_a_quota_goes_before_neighbours(machine: Machine) -> None:
    """On a node whose other cores are busy, what the group was denied is not theirs."""
    machine.write(f"{PID}/cgroup", "0::/job\n")
    (machine.groups / "job").mkdir(parents=True)
    file = machine.groups / "job" / "cpu.stat"
    file.write_text("throttled_usec 0\n")
    before = machine.witness.read()
    machine.process(PID, {PID: 5.0}, cpu_s=5.0)
    machine.cores((10, 0, 0), (10, 0, 0))
    file.write_text("throttled_usec 4800000\n")
    assert seen(before, machine.witness.read()).lost_s == {"quota": 5.0}


def test_who_had_the_cores_may_be_unknown(machine: Machine) -> None:
    """A container whose `/proc/stat` has other numbers than its cores: nobody is blamed."""
    machine.write(f"{PID}/status", "Cpus_allowed_list:\t12-15\n")
    before = machine.witness.read()
    machine.process(PID, {PID: 8.0}, cpu_s=2.0)
    after = seen(before, machine.witness.read())
    assert (after.main_waited_s, after.others_cpu_s, after.own_s) == (8.0, None, None)
    assert not after.disturbed
    assert not after.crowded


def test_a_worker_that_has_ended_is_not_forgotten(machine: Machine) -> None:
    """What was last seen of it counts, and its CPU time is its parent's then."""
    machine.process(PID, children=(WORKER,))
    machine.process(WORKER, {WORKER: 1.0}, cpu_s=1.0)
    before = machine.witness.read()
    machine.process(WORKER, {WORKER: 3.0}, cpu_s=2.0)
    machine.witness.look_at_workers()
    machine.process(PID, of_children_s=2.5)
    machine.cores((2.5, 7.5, 0), (0, 10, 0))
    after = seen(before, machine.witness.read())
    assert after.workers_waited_s == 2.0
    assert after.cpu_s == 1.5
    assert machine.witness.read().workers_waited == {}  # nor kept for ever


def test_a_look_into_the_middle_of_an_interval_forgets_no_worker(machine: Machine) -> None:
    """One that had ended before it counts, until the interval ends."""
    machine.process(PID, children=(WORKER,))
    machine.process(WORKER)
    before = machine.witness.read()
    machine.process(WORKER, {WORKER: 4.0})
    machine.witness.look_at_workers()
    machine.process(PID)
    middle = machine.witness.read(ends=False)
    assert seen(before, middle).workers_waited_s == 4.0
    after = machine.witness.read()
    assert seen(before, after).workers_waited_s == 4.0
    assert seen(after, machine.witness.read()).workers_waited_s == 0.0


def test_ranks_are_no_workers_and_no_others(tmp_path: Path) -> None:
    """The CPU time of another rank is the job's own, its waiting is not this process's."""
    machine = Machine(tmp_path)
    witness = Witness(ranks=[RANK], proc=machine.proc, groups=machine.groups, pid=PID)
    machine.process(PID, children=(RANK,))
    machine.process(RANK)
    before = witness.read()
    machine.process(RANK, {RANK: 4.0}, cpu_s=4.0)
    machine.cores((4, 6, 0), (0, 10, 0))
    after = seen(before, witness.read())
    assert (after.workers_waited_s, after.cpu_s, after.others_cpu_s) == (0, 4.0, 0.0)


def test_only_the_cores_that_it_may_use_count(machine: Machine) -> None:
    """What others do on other cores takes nothing."""
    machine.write(f"{PID}/status", "Cpus_allowed_list:\t0,2-3\n")
    machine.cores((0, 0, 0), (0, 0, 0), (0, 0, 0), (0, 0, 0))
    before = machine.witness.read()
    machine.process(PID, {PID: 2.0}, cpu_s=1.0)
    machine.cores((1, 9, 0), (10, 0, 0), (0, 10, 0), (0, 10, 0))
    after = seen(before, machine.witness.read())
    assert (after.others_cpu_s, after.cores) == (0.0, 3)


def test_stolen_time_is_lost_as_on_one_of_its_cores(machine: Machine) -> None:
    """Two seconds of each core: a job that goes from one to the other loses two."""
    before = machine.witness.read()
    machine.process(PID, cpu_s=6.0)
    machine.cores((4, 4, 2), (4, 4, 2))
    after = seen(before, machine.witness.read())
    assert after.stolen_s == 4.0
    assert after.lost_s == {"stolen": pytest.approx(2.0)}
    assert "to other machines on its host" in after.in_words()


V1 = ("cpu.stat", "nr_periods 0\nnr_throttled 0\nthrottled_time {ns}\n")
V2 = ("cpu.stat", "usage_usec 5\nnr_throttled 1\nthrottled_usec {us}\n")


@pytest.mark.parametrize(
    ("membership", "folder", "file", "text"),
    [
        ("0::/job\n", "job", *V2),
        ("0::/job/inner\n", "job", *V2),  # what limits a group limits those in it
        ("0::/../elsewhere\n", "", *V2),  # a container that sees only its own group
        ("3:cpuset:/\n2:cpu,cpuacct:/job/inner\n", "cpu,cpuacct/job", *V1),
        ("1:cpu:/docker/1234\n0::/\n", "cpu", *V1),
    ],
)
def test_throttling_is_found_in_every_group(
    machine: Machine, membership: str, folder: str, file: str, text: str
) -> None:
    """Half of the time throttled by the quota of a group, of either version, near or far."""
    group = machine.groups / folder
    group.mkdir(parents=True)
    (machine.groups / membership.rpartition("/")[2].strip()).mkdir(exist_ok=True)
    machine.write(f"{PID}/cgroup", membership)
    (group / file).write_text(text.format(ns=0, us=0))
    before = machine.witness.read()
    machine.process(PID, {PID: 5.0}, cpu_s=5.0)
    machine.cores((5, 5, 0), (0, 10, 0))
    (group / file).write_text(text.format(ns=4_500_000_000, us=4_500_000))
    after = seen(before, machine.witness.read())
    assert after.throttled_s == 4.5
    assert after.lost_s == {"quota": 5.0}
    assert after.own_s == 0


@pytest.mark.parametrize("own", ["pod/inner", "pod"])
def test_an_old_count_of_one_group_hides_no_others(machine: Machine, own: str) -> None:
    """Each group counts for itself: what grew is told, whatever the others had before."""
    membership = machine.proc / f"{PID}/cgroup"
    (machine.groups / "pod/inner").mkdir(parents=True)
    membership.write_text(f"0::/{own}\n")
    outer, inner = (machine.groups / name / "cpu.stat" for name in ("pod", "pod/inner"))
    outer.write_text("throttled_usec 100000000\n")
    inner.write_text("throttled_usec 0\n")
    before = machine.witness.read()
    machine.process(PID, {PID: 8.0}, cpu_s=2.0)
    machine.cores((2, 8, 0), (0, 10, 0))
    membership.write_text("0::/pod/inner\n")  # and where it has come to only now, no count is its
    inner.write_text("throttled_usec 9000000\n")
    after = seen(before, machine.witness.read())
    throttled = own == "pod/inner"
    assert after.throttled_s == (9.0 if throttled else 0.0)
    assert after.lost_s == ({"quota": 8.0} if throttled else {})


@pytest.mark.parametrize(
    ("membership", "files", "quota"),
    [
        ("0::/a/b\n", {"a/cpu.max": "150000 100000", "a/b/cpu.max": "max 100000"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000"}, None),
        ("4:cpu:/a\n", {"cpu/a/cpu.cfs_quota_us": "-1", "cpu/a/cpu.cfs_period_us": "100000"}, None),
        (
            "4:cpu,cpuacct:/a\n",
            {"cpu/a/cpu.cfs_quota_us": "300000", "cpu/a/cpu.cfs_period_us": "100000"},
            3.0,
        ),
        ("", {}, None),
    ],
)
def test_the_quota_is_the_least_of_all_groups(
    tmp_path: Path, membership: str, files: Mapping[str, str], quota: float | None
) -> None:
    """Of both versions of control groups."""
    (tmp_path / "cgroup").write_text(membership)
    for name, text in files.items():
        file = tmp_path / "groups" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    assert cpu_quota(tmp_path / "cgroup", tmp_path / "groups") == quota


def test_what_a_system_does_not_tell_is_none_and_named(tmp_path: Path) -> None:
    """No `/proc` at all, as on macOS: nothing is known, nothing zero, nothing disturbed."""
    witness = Witness(proc=tmp_path / "none", groups=tmp_path / "none", pid=PID)
    after = seen(witness.read(), witness.read())
    told = after.as_dict()
    assert not after.disturbed
    assert after.lost_s == {}
    assert {name for name, value in told.items() if value is None} == {*after.unknown}
    assert {"main_waited_s", "others_cpu_s", "stolen_s", "throttled_s", "load"} <= {*after.unknown}
    assert throttled_s(tmp_path / "none", tmp_path) is None


@pytest.mark.parametrize(
    ("name", "text", "unknown"),
    [
        (f"{PID}/task/{PID}/schedstat", "", "main_waited_s"),  # a kernel without schedstats
        ("stat", "cpu0 one\n", "others_cpu_s"),
        ("pressure/memory", "some\n", "memory_stalled_s"),
        ("vmstat", "\npswpin\n", "swapped_mib"),
        ("loadavg", "much\n", "load"),
        ("stat", "cpu 1 2 3 4\ncpu0 1 2 3 4\n", "others_cpu_s"),  # Linux 2.4
        ("stat", "cpu0 1 2 3 4 5 6 7\ncpu1 1 2 3 4 5 6 7\n", "stolen_s"),  # before 2.6.11
        ("pressure/cpu", "", "pressure_s"),
    ],
)
def test_other_kernels_formats(machine: Machine, name: str, text: str, unknown: str) -> None:
    """What one does not count is unknown; what it counts is read."""
    machine.write(name, text)
    after = seen(machine.witness.read(), machine.witness.read())
    assert unknown in after.unknown


def test_pressure_load_faults_and_swap(machine: Machine) -> None:
    """Memory that the machine lacks is lost time where this job had to read its pages again."""
    for resource in ("cpu", "memory"):
        machine.write(f"pressure/{resource}", "some avg10=0.0 avg60=0.0 avg300=0.0 total=0\n")
    machine.write("vmstat", "nr_free_pages 1\npswpin 0\npswpout 0\n")
    before = machine.witness.read()
    machine.write("pressure/memory", "some avg10=9.0 avg60=0.0 avg300=0.0 total=2500000\nfull x\n")
    machine.write("vmstat", "pswpin 256\npswpout 256\n")
    machine.write("loadavg", "3.50 1.0 0.5 1/100 1\n")
    machine.process(PID, faults=40)
    after = seen(before, machine.witness.read())
    assert (after.pressure_s, after.memory_stalled_s, after.major_faults) == (0, 2.5, 40)
    assert after.swapped_mib == 512 * os.sysconf("SC_PAGE_SIZE") / 2**20
    assert after.load == 3.5
    assert after.lost_s == {"memory": pytest.approx(0.8)}  # to read forty pages takes no longer


@pytest.mark.parametrize(("waited", "disturbed"), [(0.49, False), (0.51, True)])
def test_a_twentieth_is_the_border(machine: Machine, waited: float, disturbed: bool) -> None:
    """Less than a twentieth of the interval is no disturbance."""
    before = machine.witness.read()
    machine.process(PID, {PID: waited}, cpu_s=9.0)
    machine.cores((10, 0, 0), (0, 10, 0))
    assert seen(before, machine.witness.read()).disturbed is disturbed


@pytest.mark.parametrize(
    ("worked", "disturbed"),
    [((0.79, 0.79), False), ((1.0, 0.58), False), ((1.0, 1.0), True), ((1.0, 0.0), True)],
)
def test_what_a_tick_may_count_by_chance_disturbs_nothing(
    machine: Machine, worked: tuple[float, float], disturbed: bool
) -> None:
    """A second of which cores worked a part: who had 0.06 s of it is not known."""
    before = machine.witness.read()
    machine.process(PID, {PID: 0.06}, cpu_s=sum(worked) - 0.06)
    machine.cores(*((seconds, 1 - seconds, 0) for seconds in worked))
    found = seen(before, machine.witness.read(), wall_s=1.0)
    assert found.lost_s == {"others": pytest.approx(0.06)}
    assert found.disturbed is disturbed


def test_chance_is_of_what_others_used() -> None:
    """What is sure of that is more than was waited for; and what is not sure is no cause."""
    many = Interference(1.0, others_cpu_s=20.0, chance_s=0.5, lost_s={"others": 0.4})
    assert many.disturbed
    lost_s = {"others": 0.07, "stolen": 0.06}
    few = Interference(1.0, others_cpu_s=0.07, chance_s=0.08, lost_s=lost_s)
    assert (few.disturbed, few.cause) == (True, "stolen")
    assert few.lost == pytest.approx(0.13)  # at most


def test_chance_of_parts_grows_with_the_root_of_their_number() -> None:
    part = Interference(1.0, others_cpu_s=0.1, chance_s=0.06, lost_s={"others": 0.1})
    total = summed([part] * 9)
    assert total is not None
    assert (total.chance_s, total.others_cpu_s) == (pytest.approx(0.18), pytest.approx(0.9))
    assert (part.disturbed, total.disturbed) == (False, True)


def test_intervals_add_up(machine: Machine) -> None:
    """Two epochs as one; what one of them did not tell is unknown in the sum."""
    first = Interference(2.0, main_waited_s=1.0, lost_s={"others": 1.0}, stolen_s=0.0)
    second = Interference(3.0, main_waited_s=0.5, lost_s={"others": 0.5, "quota": 1.0})
    total = summed([first, second])
    assert total is not None
    assert (total.wall_s, total.main_waited_s, total.stolen_s) == (5.0, 1.5, None)
    assert total.lost_s == {"others": 1.5, "quota": 1.0}
    assert total.lost == 2.5
    assert Interference.from_dict(total.as_dict()) == total
    assert summed([]) is None


def test_this_system_tells_of_itself() -> None:
    """A reading of the real files: what it holds is of this process."""
    if not Path("/proc/self/schedstat").exists():
        pytest.skip("this kernel counts no waiting")
    witness = Witness(proc=Path("/proc"))
    before = witness.read()
    sum(range(2_000_000))
    after = between(before, witness.read())
    assert after.main_waited_s is not None
    assert 0 <= after.main_waited_s <= after.wall_s
    assert after.lost <= after.wall_s


def test_a_table_shows_of_an_interval_what_the_system_told() -> None:
    """Lost time is no zero where nobody can tell it; power is that of all GPUs."""
    told = Interference(4.0, main_waited_s=1.0, own_s=0.25, load=2.5, lost_s={"others": 0.75})
    untold = {"others_cpu_s": None, "pressure_s": None}
    known = {"lost_s": 0.75, "own_s": 0.25, "main_waited_s": 1.0, "load": 2.5}
    assert told.figures == known | untold
    assert set(Interference(4.0).figures.values()) == {None}
    assert Interference(4.0, main_waited_s=0.0).figures["lost_s"] == 0.0
    assert told.power_w is None
    assert Interference(4.0, gpus=[{"power_w": 300.0}, {"power_w": 250.0}]).power_w == 550.0
    assert Interference(4.0, gpus=[{"power_w": 300.0}, {"power_w": None}]).power_w is None


def test_a_cause_of_another_version_is_told_without_its_name() -> None:
    """A record of a later hpml may hold one that this one does not know."""
    later = Interference(4.0, lost_s={"cosmic rays": 2.0})
    assert later.in_words() == "the process lost up to 2.0 s of 4.0 s"
    assert later.advice == "Find out what it lost them to, and measure again"


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        ("others", "waited up to 9.0 s of 9.0 s for a core that other programs had"),
        ("quota", "waited up to 9.0 s of 9.0 s for its CPU quota"),
        ("stolen", "lost about 9.0 s of 9.0 s to other machines on its host"),
        ("stopped", "stood still for 9.0 s of 9.0 s"),
        ("memory", "waited up to 9.0 s of 9.0 s for memory"),
    ],
)
def test_what_is_known_as_a_bound_is_told_as_one(cause: str, words: str) -> None:
    """Waiting that is a sum over threads, cut off at the interval, is no measured loss."""
    measured = {name for name, (text, _) in CAUSES.items() if "up to" not in text}
    assert measured == {"stolen", "stopped"}
    assert Interference(9.0, lost_s={cause: 30.0}).in_words("it") == f"it {words}"
