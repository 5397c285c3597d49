"""Neither a validation loader nor a validation step, and a training step of one argument."""

from typing import Any

import lightning as L
import torch
from plain import fit, job
from torch import Tensor, nn

SAMPLES = [44, 44]


class Short(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Linear(4, 1)

    def training_step(self, batch: list[Tensor]) -> dict[str, Any]:
        return {"loss": self.network(batch[0]).square().mean(), "anything": "else"}

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


make = job(Short)

if __name__ == "__main__":
    fit(*make())
