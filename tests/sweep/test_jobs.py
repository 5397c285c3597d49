import pytest
from helpers.sweeps import make_job

from hpml.sweep.jobs import in_order, job_names, setting


@pytest.mark.parametrize(
    ("jobs", "names"),
    [
        ([["experiment=demo", "seed=0"], ["experiment=demo", "seed=1"]], ["seed=0", "seed=1"]),
        ([["seed=0", "data.root=/a"], ["seed=1", "data.root=/a"]], ["seed=0", "seed=1"]),
        ([["model=a", "seed=0"], ["model=b", "seed=1"]], ["model=a,seed=0", "model=b,seed=1"]),
        ([["data.root=/a/b"], ["data.root=/a c"]], ["data.root=_a_b", "data.root=_a_c"]),
        ([["data.root=/a/b"], ["data.root=/a_b"]], ["0", "1"]),  # would be one folder
        ([["seed=0"]], ["0"]),  # nothing varies
        ([[], ["seed=0"]], ["0", "1"]),
        ([["+data.x=${seed}"], ["+data.x='*'"]], ["+data.x=__seed_", "+data.x=___"]),
    ],
)
def test_a_jobs_folder_is_named_by_what_varies(jobs: list[list[str]], names: list[str]) -> None:
    """What all jobs share is left out; where names would clash, jobs are numbered."""
    assert job_names(jobs) == names


def test_settings_take_turns() -> None:
    """All of them once before any again, in the order given; `auto` does so where any repeats."""
    jobs = [
        make_job({}, setting=setting([f"optimizer={word[0]}", f"seed={word[1]}"]), number=number)
        for number, word in enumerate(("a0", "a1", "b0", "a2", "b1"))
    ]
    turns = [jobs[index] for index in (0, 2, 1, 4, 3)]
    assert in_order(jobs, "interleaved") == in_order(jobs, "auto") == turns
    assert in_order(jobs, "given") == jobs
    assert in_order(turns[:2], "auto") == turns[:2]
