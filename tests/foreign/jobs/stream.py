"""An IterableDataset that tells no length."""

from typing import Any

import lightning as L
from plain import Stream, Validated, trainer
from torch.utils.data import DataLoader

EPOCHS = 2
SAMPLES = [44, 44]


def make(**trainer_arguments: Any) -> tuple[L.Trainer, L.LightningModule, Any]:
    return trainer(**trainer_arguments), Validated(), DataLoader(Stream(), batch_size=8)


if __name__ == "__main__":
    fitting, module, data = make()
    fitting.fit(module, data)
