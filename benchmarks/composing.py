"""From a sweep's command to its first job: how long composing and checking all of its jobs takes.

    python benchmarks/composing.py

Each case is `python -m hpml.train -m … sweep.dry_run=true` in a fresh process, which ends where the
first job would begin: seconds by the clock (to 0.05 s), CPU time, and the most memory. A job's time
is the CPU time without that of a sweep of one job, by the other jobs.

`Hydra's own` is the same program on a part of the jobs, where Hydra composes each of them and none
is made of another one. By its time for a job, as many jobs as the case has would take so many times
the case's CPU time. In interleaved rounds, after one that warms up: median (lowest to highest);
ratios are within a round.
"""

import os
import subprocess
import sys
import tempfile
import time
from functools import partial

from growth import POLL_S, TINY, peak_mib
from harness import Page, interleaved, main, spread

OPTIONS = ("optimizer=sgd,nesterov,adam,adamw,rmsprop", "model=small,small_no_norm")  # ten of both
RATES = ",".join(f"{number}e-4" for number in range(1, 11))
ONE, SEEDS, CHOSEN, OWN_KEY = "one job", "seeds", "options and seeds", "an option's key and seeds"
HYDRA = "Hydra's own: "
KEEPS_NOTHING = (
    "from hpml.sweep import composing as c; c.KEPT = 0; import hpml.train as t; t.main()"
)
PROGRAM, BY_HYDRA = ["-m", "hpml.train"], ["-c", KEEPS_NOTHING]


def sweep(program: list[str], words: list[str]) -> dict[str, float]:
    """Seconds, CPU time and memory of a sweep's launcher until its first job would begin."""
    with tempfile.TemporaryDirectory() as folder:
        dry = ["-m", *TINY, *words, "sweep.dry_run=true", f"output_dir={folder}"]
        begun_s = time.perf_counter()
        process = subprocess.Popen([sys.executable, *program, *dry], stdout=subprocess.DEVNULL)
        ended, memory_mib = 0, 0.0
        while not ended:
            memory_mib = max(memory_mib, peak_mib(process.pid))
            time.sleep(POLL_S)
            ended, status, used = os.wait4(process.pid, os.WNOHANG)
        seconds = time.perf_counter() - begun_s
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, [*program, *dry])
    cpu_s = used.ru_utime + used.ru_stime
    return {"wall_s": seconds, "cpu_s": cpu_s, "memory_mib": memory_mib}


def words_of(jobs: int) -> dict[str, list[str]]:
    """So many jobs, a multiple of ten, in three kinds of sweep."""
    seeds = f"seed=range({jobs // 10})"
    return {
        SEEDS: [f"seed=range({jobs})"],
        CHOSEN: [*OPTIONS, seeds],
        OWN_KEY: ["optimizer=adam", f"optimizer.lr={RATES}", seeds],
    }


def measure(rounds: int = 5, jobs: int = 1000, many: int = 10_000, by_hydra: int = 50) -> Page:
    """All sweeps in turn; each number of jobs is a multiple of ten."""
    sweeps = {(ONE, 1): (PROGRAM, ["seed=0"])}
    for count in (jobs, many):
        sweeps |= {(kind, count): (PROGRAM, words) for kind, words in words_of(count).items()}
    own = words_of(by_hydra).items()
    sweeps |= {(HYDRA + kind, by_hydra): (BY_HYDRA, words) for kind, words in own}
    cases = {f"{kind} {count}": partial(sweep, *of) for (kind, count), of in sweeps.items()}
    seen = interleaved(cases, rounds)
    start_s = seen[f"{ONE} 1"]["cpu_s"]
    a_job = {
        kind: (seen[f"{kind} {count}"]["cpu_s"] - start_s) / (count - 1)
        for kind, count in sweeps
        if count == by_hydra
    }
    rows = [["sweep", "jobs", "s", "CPU s", "a job (CPU ms)", "memory (MiB)", "Hydra's own takes"]]
    for kind, count in sweeps:
        of, shown = seen[f"{kind} {count}"], ["", ""]
        if count > 1:
            shown[0] = spread(1000 * (of["cpu_s"] - start_s) / (count - 1), ".2f")
        if HYDRA + kind in a_job:
            times = (start_s + (count - 1) * a_job[HYDRA + kind]) / of["cpu_s"]
            shown[1] = f"{spread(times, '.1f')} times"
        figures = [spread(of[name], ".2f") for name in ("wall_s", "cpu_s")]
        rows.append([kind, f"{count:,}", *figures, shown[0], spread(of["memory_mib"]), shown[1]])
    return Page([rows], seen, {f"{k} {n}": [*TINY, *of[1]] for (k, n), of in sweeps.items()})


if __name__ == "__main__":
    main(measure, rounds=1, jobs=20, many=40, by_hydra=10)
