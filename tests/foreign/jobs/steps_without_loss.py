"""A training step that returns None for every third batch, which Lightning skips."""

from plain import Validated, fit, job
from torch import Tensor

SAMPLES = [44, 44]


class Skipping(Validated):
    def training_step(  # type: ignore[override]
        self, batch: list[Tensor], batch_idx: int
    ) -> Tensor | None:
        return None if batch_idx % 3 == 1 else super().training_step(batch, batch_idx)


make = job(Skipping)

if __name__ == "__main__":
    fit(*make())
