"""A Tuner has searched for a learning rate, with the same Trainer, before its fit."""

from typing import Any

import torch
from lightning.pytorch.tuner import Tuner
from plain import Made, Validated, fit, loader, trainer

SAMPLES = [44, 44]


class Searched(Validated):
    lr = 0.01

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=self.lr)


def make(**trainer_arguments: Any) -> Made:
    fitting, module, data = trainer(**trainer_arguments), Searched(), loader(shuffle=True)
    Tuner(fitting).lr_find(module, data, num_training=10, min_lr=1e-3)
    return fitting, module, data


if __name__ == "__main__":
    fit(*make())
