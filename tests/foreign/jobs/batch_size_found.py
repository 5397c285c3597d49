"""A Tuner has searched for a batch size, with the same Trainer, before its fit."""

from typing import Any

from lightning.pytorch.tuner import Tuner
from plain import Made, Validated, fit, samples, trainer
from torch.utils.data import DataLoader

SAMPLES = [44, 44]


class Sized(Validated):
    batch_size = 2

    def train_dataloader(self) -> Any:
        return DataLoader(samples(44), self.batch_size, shuffle=True)


def make(**trainer_arguments: Any) -> Made:
    fitting, module = trainer(**trainer_arguments), Sized()
    Tuner(fitting).scale_batch_size(module, max_trials=1)
    return fitting, module, None


if __name__ == "__main__":
    fit(*make())
