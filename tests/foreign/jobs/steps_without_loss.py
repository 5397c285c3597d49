"""A training step that returns None for every third batch, which Lightning skips."""

from typing import Any

import lightning as L
from plain import Validated, loader, trainer
from torch import Tensor

EPOCHS = 2
SAMPLES = [44, 44]


class Skipping(Validated):
    def training_step(  # type: ignore[override]
        self, batch: list[Tensor], batch_idx: int
    ) -> Tensor | None:
        return None if batch_idx % 3 == 1 else super().training_step(batch, batch_idx)


def make(**trainer_arguments: Any) -> tuple[L.Trainer, L.LightningModule, Any]:
    return trainer(**trainer_arguments), Skipping(), loader(shuffle=True)


if __name__ == "__main__":
    fitting, module, data = make()
    fitting.fit(module, data)
