"""Fine-tuning: a backbone that is frozen, and thawed with the second epoch."""

from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import BackboneFinetuning
from plain import Validated, loader, trainer
from torch import nn

EPOCHS = 3
SAMPLES = [44, 44, 44]


class Tuned(Validated):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8))
        self.head = nn.Linear(8, 1)

    @property
    def network(self) -> Any:
        return lambda inputs: self.head(self.backbone(inputs))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(filter(lambda p: p.requires_grad, self.parameters()), lr=0.01)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]


def make(**trainer_arguments: Any) -> tuple[L.Trainer, L.LightningModule, Any]:
    own = BackboneFinetuning(unfreeze_backbone_at_epoch=1, lambda_func=lambda epoch: 1.5)
    callbacks = [own, *trainer_arguments.pop("callbacks", [])]
    return trainer(callbacks=callbacks, max_epochs=3, **trainer_arguments), Tuned(), loader()


if __name__ == "__main__":
    fitting, module, data = make()
    fitting.fit(module, data)
