"""Training on the CPU by how torch's threads wait, alone on the machine and beside other programs.

    python benchmarks/threads.py

Each network is trained from generated JPEGs, one image at a time, by 0, 1 and 2 loading workers.
`before` is OpenMP's own waiting, by which threads without work spin; `defaults` is what `cpu.wait`
and `cpu.threads` come to by themselves; `one thread` computes on a single one. Beside it run 0, 1
or 2 loops that never rest. Every case has a process of its own that stays, and is asked in turn to
train for so many seconds; samples/s are of steps after a warm-up, through Lightning's Trainer;
ratios are within a round: median (lowest to highest).
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
from harness import Page, Rows, be_quiet, configured, interleaved, main, spread

from hpml.config.cpu import READ_ONCE, set_threads, set_waiting
from hpml.training.prepare import prepare
from hpml.trials.intervention import Intervention
from hpml.trials.subject import subject_of

LOOPS = (0, 1, 2)
VARIANTS = {"before": ["cpu.wait=spin"], "defaults": [], "one thread": ["cpu.threads=1"]}
BATCH_SIZES = {"small": 64, "resnet18": 16}
DATA = ("data=synthetic", "data.encoded=jpeg", "data.pipeline=per_sample", "data.test_samples=64")
LEAST_STEPS, WARM_UP = 4, 2


class Training:
    """A process that trains whenever it is asked, with its own way of waiting."""

    def __init__(self, model: str, workers: int, variant: str) -> None:
        words = [*DATA, f"model={model}", f"data.num_workers={workers}", *VARIANTS[variant]]
        words.append(f"data.batch_size={BATCH_SIZES[model]}")
        variables = {name: value for name, value in os.environ.items() if name not in READ_ONCE}
        if variant == "before":  # what OpenMP does where nothing is said
            words.remove("cpu.wait=spin")
        else:
            set_waiting(configured(*words), variables)
        command = [sys.executable, __file__, "--serve", *words]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(command, text=True, env=variables, **pipes)  # type: ignore[call-overload]
        self.samples_per_s(0.0)

    def samples_per_s(self, seconds: float) -> float:
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        return float(json.loads(self.process.stdout.readline()))

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def serve(words: list[str]) -> None:
    """Answers each number of seconds with the samples/s of a training of that length."""
    be_quiet()
    cfg = configured(*words)
    job = prepare(cfg)
    set_threads(cfg)
    subject = subject_of(job)
    step_s = 1.0
    for line in sys.stdin:
        steps = min(2000, max(LEAST_STEPS, round(float(line) / step_s)))
        step_s = subject.fit(Intervention(), WARM_UP, steps, seed=0).step_s
        print(json.dumps(cfg.data.batch_size / step_s), flush=True)


@contextmanager
def busy_loops(count: int) -> Iterator[None]:
    """So many processes that never rest."""
    rest_not = f"import os\nwhile os.getppid() == {os.getpid()}: pass"  # nor outlive this process
    loops = [subprocess.Popen([sys.executable, "-c", rest_not]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def measure(
    rounds: int = 5,
    seconds: float = 2.0,
    models: list[str] = ["small", "resnet18"],  # noqa: B006 - the command line's default
    workers: list[int] = [0, 1, 2],  # noqa: B006
) -> Page:
    """Every network, number of workers, way of waiting and number of loops, in turn."""
    with ExitStack() as stack:
        trainings = {}
        for model in models:
            for count in map(int, workers):
                for variant in VARIANTS:
                    training = Training(model, count, variant)
                    stack.callback(training.close)
                    trainings[model, count, variant] = training

        def case(key: tuple[str, int, str], loops: int) -> float:
            with busy_loops(loops):
                return trainings[key].samples_per_s(seconds)

        cases = {
            f"{model}|{count}|{loops}|{variant}": lambda key=(model, count, variant), n=loops: case(
                key, n
            )
            for loops in LOOPS
            for model, count, variant in trainings
        }
        seen = interleaved(cases, rounds)
    return Page([*tables(seen)], seen)


def tables(seen: dict[str, np.ndarray]) -> Iterator[str | Rows]:
    """A row for each network, number of workers and loops; the medians over the cases."""
    keys = dict.fromkeys(name.rpartition("|")[0] for name in seen)
    rows = [["network", "workers", "loops beside", *VARIANTS, "defaults / before", "one / before"]]
    gains: dict[str, list[float]] = {}
    for key in keys:
        before, defaults, one = (seen[f"{key}|{variant}"] for variant in VARIANTS)
        model, count, loops = key.split("|")
        ratios = [defaults / before, one / before]
        rows.append([model, count, loops, *map(spread, (before, defaults, one))])
        rows[-1] += [spread(ratio, ".2f") for ratio in ratios]
        busy = "beside loops" if int(loops) else "alone"
        gains.setdefault(f"{model}, {busy}", []).append(float(np.median(ratios[0])))
    yield rows
    yield [["defaults / before", "median of its cases", "lowest", "highest"]] + [
        [name, *(f"{of(values):.2f}" for of in (np.median, min, max))]
        for name, values in gains.items()
    ]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2:])
    else:
        main(measure, rounds=1, seconds=0.1, models=["small"], workers=[0])
