"""A GAN by hand: manual optimization with two optimizers, each of a network of its own."""

from typing import Any

import lightning as L
import torch
from plain import fit, job
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

SAMPLES = [44, 44]


class Adversarial(L.LightningModule):
    automatic_optimization = False

    def __init__(self) -> None:
        super().__init__()
        self.generator = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 4))
        self.critic = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))

    def judged(self, samples: Tensor, real: bool) -> Tensor:
        logits = self.critic(samples)
        return binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
        for_generator, for_critic = self.optimizers()  # type: ignore[misc, attr-defined]
        made = self.generator(torch.randn(len(batch[0]), 2, device=self.device))
        self.toggle_optimizer(for_generator)
        loss = self.judged(made, real=True)
        self.log("generator", loss, prog_bar=True)
        self.manual_backward(loss)
        for_generator.step()
        for_generator.zero_grad()
        self.untoggle_optimizer(for_generator)
        self.toggle_optimizer(for_critic)
        loss = self.judged(batch[0], real=True) + self.judged(made.detach(), real=False)
        self.log("critic", loss, prog_bar=True)
        self.manual_backward(loss)
        for_critic.step()
        for_critic.zero_grad()
        self.untoggle_optimizer(for_critic)

    def configure_optimizers(self) -> Any:
        parts = (self.generator, self.critic)
        return [torch.optim.Adam(part.parameters(), lr=1e-3) for part in parts], []


make = job(Adversarial)

if __name__ == "__main__":
    fit(*make())
