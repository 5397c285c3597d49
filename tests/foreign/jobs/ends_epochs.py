"""`on_train_batch_start` returns -1, which ends each epoch after three of six batches."""

from typing import Any

import lightning as L
from plain import Validated, loader, trainer

EPOCHS = 2
SAMPLES = [24, 24]
DIAGNOSABLE = False  # a trial is one epoch of many steps


class Ending(Validated):
    def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
        return -1 if batch_idx == 3 else None


def make(**trainer_arguments: Any) -> tuple[L.Trainer, L.LightningModule, Any]:
    return trainer(**trainer_arguments), Ending(), loader(shuffle=True)


if __name__ == "__main__":
    fitting, module, data = make()
    fitting.fit(module, data)
