"""A Tuner has searched for a batch size, with the same Trainer, before its fit."""

from typing import Any

import lightning as L
from lightning.pytorch.tuner import Tuner
from plain import Validated, samples, trainer
from torch.utils.data import DataLoader

EPOCHS = 2
SAMPLES = [44, 44]


class Sized(Validated):
    batch_size = 2

    def train_dataloader(self) -> Any:
        return DataLoader(samples(44), self.batch_size, shuffle=True)


def make(**trainer_arguments: Any) -> tuple[L.Trainer, L.LightningModule, Any]:
    fitting, module = trainer(**trainer_arguments), Sized()
    Tuner(fitting).scale_batch_size(module, max_trials=1)
    return fitting, module, None


if __name__ == "__main__":
    fitting, module, data = make()
    fitting.fit(module, data)
