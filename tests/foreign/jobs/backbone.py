"""Fine-tuning: a backbone that is frozen, and thawed with the second epoch."""

from typing import Any

import torch
from lightning.pytorch.callbacks import BackboneFinetuning
from plain import Validated, fit, job, loader
from torch import nn

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


make = job(
    Tuned,
    loader,
    lambda: [BackboneFinetuning(unfreeze_backbone_at_epoch=1, lambda_func=lambda epoch: 1.5)],
    max_epochs=3,
)

if __name__ == "__main__":
    fit(*make())
