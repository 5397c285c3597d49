"""A new loader for each epoch, which grows: `reload_dataloaders_every_n_epochs=1`."""

from typing import Any

import lightning as L
from plain import Validated, loader, trainer

EPOCHS = 3
SAMPLES = [12, 24, 36]


class Growing(Validated):
    def train_dataloader(self) -> Any:
        return loader(12 * (self.trainer.current_epoch + 1), shuffle=True)


def make(**trainer_arguments: Any) -> tuple[L.Trainer, L.LightningModule, Any]:
    settings = {"reload_dataloaders_every_n_epochs": 1, "max_epochs": 3}
    return trainer(**settings | trainer_arguments), Growing(), None


if __name__ == "__main__":
    fitting, module, data = make()
    fitting.fit(module, data)
