"""How fast this machine can compute at most, and how much a training step computes."""

import time
from contextlib import suppress
from typing import Any

import torch
from lightning.pytorch.callbacks import LambdaCallback

from hpml.models.counts import no_formula
from hpml.models.flops import FlopCounter
from hpml.system.lightning_packages import twin_for
from hpml.trials.intervention import Intervention
from hpml.trials.subject import Subject

COUNTED_STEPS = 2
# Long enough for the clock, short beside a training step.
SIZES = {"cpu": 1024, "cuda": 8192, "mps": 4096}
LASTS_S = 0.5
DTYPES = {"16": torch.float16, "bf16": torch.bfloat16, "64": torch.float64}


def flops_per_step(subject: Subject, notes: list[str]) -> float | None:
    """Floating-point operations of a training step, forward and backward.

    None where the step has none that count (see `hpml.models.flops`), cannot be run so, or has
    some that no formula knows, which `notes` are told.
    """
    before = 0  # what compiling the network has run, say

    def begins(*_: Any) -> None:
        nonlocal before
        before = counter.total
        counter.uncounted.clear()

    def adapt(trainer: Any, module: Any) -> None:
        trainer.callbacks.append(twin_for(trainer, LambdaCallback)(on_train_start=begins))

    with suppress(Exception), FlopCounter() as counter:
        subject.fit(Intervention(loading=True), 0, COUNTED_STEPS, seed=0, adapt=adapt)
        if counter.uncounted:
            notes.append(f"FLOPs: {no_formula(counter.uncounted)}")
            return None
        return (counter.total - before) / (COUNTED_STEPS + 1) or None
    return None


def ceiling_flops_per_s(device: torch.device, precision: str) -> float:
    """What a product of two large square matrices reaches, in the precision of the training.

    In float32 on CUDA it rounds as convolutions do there: to TF32, unless that is switched off.
    """
    dtype = DTYPES.get(precision.partition("-")[0], torch.float32)
    size = SIZES.get(device.type, 2048)
    left, right = (torch.full((size, size), 0.5, device=device, dtype=dtype) for _ in range(2))
    out = torch.empty_like(left)
    wait: Any = getattr(torch, device.type).synchronize
    fastest_s, until = float("inf"), time.perf_counter() + LASTS_S
    products = torch.backends.cuda.matmul
    before, products.allow_tf32 = products.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        while time.perf_counter() < until or fastest_s == float("inf"):
            begun = time.perf_counter()
            torch.mm(left, right, out=out)
            wait()
            fastest_s = min(fastest_s, time.perf_counter() - begun)
    finally:
        products.allow_tf32 = before
    return float(2 * size**3 / fastest_s)
