"""Threads and cores of a process and its workers."""

import multiprocessing
import os

import pytest
import torch

from hpml.system import environment
from hpml.system.threads import affinity, crowded_in_words, ranges, waiting, workers_affinity


@pytest.mark.parametrize(
    ("cores", "words"), [((), ""), ((3,), "3"), ((0, 1, 2, 8, 10, 11), "0-2,8,10-11")]
)
def test_cores_as_the_kernel_writes_them(cores: tuple[int, ...], words: str) -> None:
    assert ranges(reversed(cores)) == words


def test_how_threads_wait() -> None:
    """As libgomp reads it: they spin unless told otherwise."""
    assert waiting({}) == waiting({"OMP_WAIT_POLICY": "ACTIVE"}) == "spin"
    assert waiting({"OMP_WAIT_POLICY": "Passive"}) == waiting({"GOMP_SPINCOUNT": "0"}) == "passive"


def test_workers_on_fewer_cores_than_there_are_of_them() -> None:
    """Are told in one sentence; on a machine of no more cores than that, nobody pinned them."""
    one = frozenset({3})
    assert crowded_in_words([one, one], machine=4) == (
        "2 workers may run on 1 core only (3) and wait for one another: pin them to more, or take "
        "fewer workers"
    )
    assert crowded_in_words([one, one], machine=1) is None
    assert crowded_in_words([one, frozenset({4})], machine=8) is None
    assert crowded_in_words([one], machine=8) is None
    assert crowded_in_words([], machine=8) is None


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system has no affinity")
def test_the_environment_tells_of_threads_and_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the process and of its workers, as many as there are."""
    monkeypatch.setattr(multiprocessing.process, "_children", set())  # those of other tests
    described = environment.describe()
    assert described["threads"]["intra_op"] == torch.get_num_threads()
    assert described["threads"]["inter_op"] == torch.get_num_interop_threads()
    assert described["threads"]["wait"] in ("spin", "passive")
    own = ranges(os.sched_getaffinity(0))
    assert described["affinity"] == own
    end = multiprocessing.Event()
    worker = multiprocessing.Process(target=end.wait)
    worker.start()
    try:
        assert environment.describe()["workers_affinity"] == [own]
    finally:
        end.set()
        worker.join()
    assert workers_affinity() == []
    assert affinity(2**22 + 1) is None  # no process has this number
