"""Which kernels keep the fast path on a CPU below a matrix product, and by how much.

    python benchmarks/convolutions.py

Steps of the loop by hand with all that `experiment=fast` chooses, in a fresh process in which
oneDNN tells of each primitive that it runs (`ONEDNN_VERBOSE=1`): its kind, its implementation, its
shape and its time. Then the product of two square matrices of the same precision, in the same
round. The rate is the floating-point operations of a convolution (two for each multiplication, also
of zeros at the border) over its time; times and rates are sums over the timed steps, which come
after as many that warm up; shares are of the steps' time by the wall clock. Medians (lowest to
highest) of the rounds.
"""

import os
import re
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from harness import Page, be_quiet, fresh, interleaved, main, spread
from speed import FAST, job, matrix_product, step_by_hand

from hpml.config.auto import on_device

ALL, IMAGES, WEIGHTS = "all convolutions", "backward, of images", "backward, of weights"
PROP = {"forward_training": "forward", "backward_data": IMAGES, "backward_weights": WEIGHTS}
BEFORE = 2  # steps before those that warm up: the first one compiles
LEAST_SHARE = 0.02  # of the steps, for a row of its own


def told(model: str, batch_size: int, steps: int) -> dict[str, Any]:
    """Seconds and operations of each convolution, and seconds of all, in a fresh process."""
    words = [sys.executable, __file__, "--serve", model, str(batch_size), str(steps)]
    environment = os.environ | {"ONEDNN_VERBOSE": "1"}
    done = subprocess.run(words, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    lines = done.stdout.splitlines()
    seen = list(primitives(lines))
    seen = seen[-len(seen) * steps // (2 * steps + BEFORE) :]
    times: dict[str, float] = defaultdict(float)
    operations: dict[str, float] = defaultdict(float)
    for kind, flops, seconds in seen:
        for name in (ALL, kind.partition(" | ")[0], kind):
            times[name] += seconds
            operations[name] += flops
    whole_s = float(lines[-1])
    rates = {name: operations[name] / times[name] for name in times}
    shares = {name: times[name] / whole_s for name in times}
    return {"images_per_s": steps * batch_size / whole_s, "rates": rates, "shares": shares}


def primitives(lines: list[str]) -> Iterator[tuple[str, float, float]]:
    """Of each convolution that oneDNN tells of: what it is, its operations, its seconds."""
    for line in lines:
        words = line.split(",")
        if "exec" not in words or "convolution" not in words:
            continue
        at = words.index("convolution")
        implementation, way = words[at + 1 : at + 3]
        shape = next(word for word in words[at:] if re.match(r"(g\d+)?mb\d+_?ic\d+", word))
        size = {name: int(number) for name, number in re.findall(r"([a-z]+)(\d+)", shape)}
        outputs = size["mb"] * size["oc"] * size["oh"] * size["ow"]
        flops = 2.0 * outputs * size["ic"] * size["kh"] * size["kw"]
        about = (
            f"{size['ic']} to {size['oc']}, {size['kh']}×{size['kw']}, {size['oh']}×{size['ow']}"
        )
        yield f"{PROP.get(way, way)} | {about} | {implementation}", flops, float(words[-1]) / 1e3


def serve(model: str, batch_size: str, steps: str) -> None:
    """Trains twice as many steps; prints how many seconds the second half took."""
    be_quiet()
    step = step_by_hand("cpu", (model, int(batch_size), 4), FAST)
    for _ in range(BEFORE):
        step()
    for _ in range(int(steps)):
        step()
    begun_s = time.perf_counter()
    for _ in range(int(steps)):
        step()
    seconds = time.perf_counter() - begun_s
    print(f"\n{seconds}", flush=True)


def measure(
    model: str = "resnet18", batch_size: int = 128, steps: int = 3, rounds: int = 3
) -> Page:
    """The steps and the product in turn."""
    cfg, _ = on_device(job("cpu", (model, batch_size, 4), *FAST))
    precision = str(cfg.trainer.precision or "32-true")
    cases = {
        "steps": partial(told, model, batch_size, steps),
        "product": fresh(matrix_product, "cpu", precision),
    }
    seen = interleaved(cases, rounds)
    product = seen["product"]["flops_per_s"]
    rates, shares = seen["steps"]["rates"], seen["steps"]["shares"]
    names = sorted(shares, key=lambda name: (name.count("|"), -np.median(shares[name])))
    rows = [["convolutions, channels in to out", "share of the steps", "of the product's rate"]]
    for name in names:
        if np.median(shares[name]) >= LEAST_SHARE:
            rate = spread(rates[name] / product, ".0%")
            rows.append([name.replace("|", "·"), spread(shares[name], ".0%"), rate])
    share, rate = shares[ALL], rates[ALL]
    perfect = 1 - share + share * rate / product
    total = rate * share / product
    # as fast as those of the images' gradients, where they are slower
    slow = shares[WEIGHTS] * (1 - np.minimum(1, rates[WEIGHTS] / rates[IMAGES]))
    about = (
        f"{spread(seen['steps']['images_per_s'], ',.1f')} images/s; the product reaches "
        f"{spread(product / 1e9)} GFLOP/s in {precision}. The steps compute at "
        f"{spread(total, '.0%')} of that. With the gradients of weights as fast as those of images "
        f"they would at {spread(total / (1 - slow), '.0%')}, with all convolutions as fast as the "
        f"product at {spread(total / perfect, '.0%')}."
    )
    return Page([about, rows], seen, theme=f"convolutions-{model}-{batch_size}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(*sys.argv[2:])
    else:
        main(measure, model="small", batch_size=32, steps=2, rounds=1)
