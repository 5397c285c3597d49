"""A module with its own `optimizer_step` (a warm-up), `backward` and `lr_scheduler_step`."""

from typing import Any

import torch
from plain import Validated, fit, job
from torch import Tensor

SAMPLES = [44, 44]


class Overriding(Validated):
    def backward(self, loss: Tensor, *arguments: Any, **keywords: Any) -> None:
        loss.backward(*arguments, retain_graph=True, **keywords)

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None
    ) -> None:
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * min(1.0, (self.trainer.global_step + 1) / 4)
        optimizer.step(closure=optimizer_closure)

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Any) -> None:
        optimizer.zero_grad(set_to_none=False)

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        scheduler.step()

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=0.01)
        made = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        return [optimizer], [{"scheduler": made, "interval": "step"}]


make = job(Overriding)

if __name__ == "__main__":
    fit(*make())
