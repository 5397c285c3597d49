"""Whether a changed job still computes the same: its first losses and weights beside its own."""

import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import lightning as L
import torch
from lightning.pytorch import callbacks
from torch.nn.modules.dropout import _DropoutNd

from hpml.system.lightning_packages import twin_for
from hpml.trials.batch_contents import tensors_in
from hpml.trials.intervention import Intervention
from hpml.trials.losses import ROUNDING, apart, rounding
from hpml.trials.subject import Subject
from hpml.trials.trainer import accumulated

STEPS = 5
REDUCED = 5e-2  # parts of a loss that numbers of fewer bits make of it, within STEPS
# What float32 and bfloat16 round a weight by; how many times what that grows to is rounding, by a
# few tries: a last bit may decide which of two pixels is the largest.
LAST_BIT, REDUCED_BITS, GROWN, TRIES = 2.0**-24, 2.0**-9, 10, 3
LEAST_SHOWN = 1e-3  # in per cent
UNBOUNDED = "other batches, or no finite loss"
AGAIN = 1  # the same a second time
KINDS = BITS, ROUNDED, DRAWS, DIFFERENT = "equal", "rounded", "draws", "different"  # best first


@dataclass(frozen=True)
class Trace:
    """What a job's first steps have computed, and of what."""

    losses: tuple[float, ...]  # one a step; none where the training step returns none
    weights: torch.Tensor  # after them, in one row
    batches: tuple[int, ...]  # a checksum of each, as the training step gets it

    def difference(self, other: "Trace") -> float:
        """The largest part by which a loss differs, or without losses the weights.

        0 where no bit does, infinite where the batches do, or a loss is not finite.
        """
        difference = apart(self.losses, other.losses) if self.batches == other.batches else math.inf
        if math.isinf(difference):
            return math.inf
        if self.losses == other.losses and torch.equal(self.weights, other.weights):
            return 0.0
        if not self.losses:
            size = float(torch.linalg.vector_norm(other.weights)) or 1.0
            return float(torch.linalg.vector_norm(self.weights - other.weights)) / size
        return max(math.ulp(1.0), difference)


def weights_of(network: torch.nn.Module) -> torch.Tensor:
    """Its parameters, in one row on the processor."""
    every = [each.detach().flatten().float().cpu() for each in network.parameters()]
    return torch.cat(every) if every else torch.zeros(0)


@dataclass(frozen=True)
class Sameness:
    """How a changed job's first steps compare with the job's own."""

    kind: str  # BITS, ROUNDED, DRAWS or DIFFERENT
    difference: float  # the largest part by which a loss differs; infinite where that has no size

    @property
    def in_words(self) -> str:
        size = f"{self.difference:{'.1%' if self.difference >= LEAST_SHOWN else '.0e'}}"
        size = size if math.isfinite(self.difference) else UNBOUNDED
        return {
            BITS: "to the bit",
            ROUNDED: f"within rounding ({self.difference:.0e})",
            DRAWS: "but for dropout's draws",
            DIFFERENT: f"different ({size})",
        }[self.kind]


def worst(every: Sequence[Sameness]) -> Sameness:
    """Of several ranks: the same on all is what is the same on each."""
    return max(every, key=lambda each: (KINDS.index(each.kind), each.difference))


class Reference:
    """A job's own first steps, beside which changed ones are compared.

    It ran twice, which shows what is never the same here.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        # without dropout or with, perturbed by a part or not, and which try
        self._own: dict[tuple[bool, float, int], Trace] = {}

    def compare(
        self, changed: Subject, intervention: Intervention, fewer_bits: bool = False
    ) -> Sameness:
        """The first steps with an intervention, or of another subject.

        `fewer_bits` tells whether it computes with such numbers. Rounding is as much as weights,
        perturbed by their last bit, make of it in as many steps. Where dropout is all that differs,
        its draws come in another order: compilers and memory formats have one of their own. Several
        ranks call this together, and get the same.
        """
        found = self._compared(changed, intervention, fewer_bits, no_dropout=False)
        if found.kind != DIFFERENT or math.isinf(found.difference):
            return found
        without = self._compared(changed, intervention, fewer_bits, no_dropout=True)
        return found if without.kind == DIFFERENT else Sameness(DRAWS, found.difference)

    def _compared(
        self, changed: Subject, intervention: Intervention, fewer_bits: bool, no_dropout: bool
    ) -> Sameness:
        first, again = (self._trace(no_dropout, 0.0, number) for number in (0, AGAIN))
        with _no_dropout(changed.network) if no_dropout else nullcontext():
            other = trace(changed, intervention)
        if first.batches != again.batches:  # its samples are never the same
            first, again, other = (replace(each, batches=()) for each in (first, again, other))
        difference = min(each.difference(other) for each in (first, again))
        allowed = rounding(first.difference(again), REDUCED if fewer_bits else ROUNDING)
        agreement = self._subject.agreement
        if agreement.any(allowed < difference < math.inf):
            size = REDUCED_BITS if fewer_bits else LAST_BIT
            perturbed = [self._trace(no_dropout, size, number) for number in range(TRIES)]
            allowed = max(allowed, *(GROWN * first.difference(each) for each in perturbed))
        rounded = difference <= allowed and math.isfinite(difference)
        kind = BITS if difference == 0 else ROUNDED if rounded else DIFFERENT
        return worst(agreement.every(Sameness(kind, difference)))

    def _trace(self, no_dropout: bool, perturbed: float, number: int) -> Trace:
        key = no_dropout, perturbed, number
        if key not in self._own:
            with _no_dropout(self._subject.network) if no_dropout else nullcontext():
                self._own[key] = trace(self._subject, Intervention(), perturbed, number)
        return self._own[key]


def trace(
    subject: Subject, intervention: Intervention, perturbed: float = 0.0, number: int = 0
) -> Trace:
    """The first steps from one random state, each sample with random numbers of its own.

    Without that a worker would draw other ones than this process does, though it computes the same.
    The weights at first are `perturbed` by such a part of each, drawn for this try.
    """
    steps = STEPS * accumulated(subject.trainer)  # so that optimizers step
    losses: list[float] = []
    batches: list[int] = []

    def look(trainer: L.Trainer, module: Any, batch: Any, *_: Any) -> None:
        if len(batches) < steps:
            batches.append(_checksum(batch))

    def record(trainer: L.Trainer, module: Any, outputs: Any, *_: Any) -> None:
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if isinstance(loss, torch.Tensor) and len(losses) < steps:
            losses.append(float(loss.detach()))

    def attach(trainer: Any, module: Any) -> None:
        generator = torch.Generator().manual_seed(number)
        for weights in module.parameters() if perturbed else ():
            noise = torch.randn(weights.shape, generator=generator).to(weights)
            weights.data.mul_(1 + perturbed * noise)
        kind = twin_for(trainer, callbacks.LambdaCallback)
        # the first one, for a later one may write into its batch
        trainer.callbacks.insert(0, kind(on_train_batch_start=look, on_train_batch_end=record))

    settings = replace(intervention.settings, by_index=True)
    subject.fit(replace(intervention, settings=settings), 0, steps, seed=0, adapt=attach)
    return Trace(tuple(losses), weights_of(subject.network), tuple(batches))


def _checksum(batch: Any) -> int:
    """Of all tensors' bytes."""
    sum_of_all = 0
    for tensor in tensors_in(batch):
        flat = tensor.detach().cpu().contiguous().flatten()
        sum_of_all = zlib.crc32(flat.view(torch.uint8).numpy().tobytes(), sum_of_all)
    return sum_of_all


@contextmanager
def _no_dropout(network: torch.nn.Module) -> Iterator[None]:
    parts = [part for part in network.modules() if isinstance(part, _DropoutNd)]
    before = [part.p for part in parts]
    for part in parts:
        part.p = 0.0
    try:
        yield
    finally:
        for part, p in zip(parts, before, strict=True):
            part.p = p
