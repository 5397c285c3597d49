"""Reinforcement learning: the data are rollouts of the module's own policy, without a length."""

from collections.abc import Callable, Iterator
from typing import Any

import lightning as L
import torch
from plain import fit, job
from torch import Tensor, nn
from torch.distributions import Categorical
from torch.utils.data import DataLoader, IterableDataset

SAMPLES = [40, 40]  # two rollouts of twenty steps each


class Rollouts(IterableDataset[Any]):
    def __init__(self, rollout: Callable[[], Iterator[Any]]) -> None:
        self.rollout = rollout

    def __iter__(self) -> Iterator[Any]:
        for _ in range(2):
            yield from self.rollout()


class Policy(L.LightningModule):
    """Proximal policy optimization, of a walk that is to end where it began."""

    def __init__(self) -> None:
        super().__init__()
        self.actor = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2))
        self.critic = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))

    @torch.no_grad()
    def rollout(self) -> Iterator[Any]:
        state, steps = torch.zeros(2), []
        for _ in range(20):
            chosen = Categorical(logits=self.actor(state))
            action = chosen.sample()
            following = state * 0.9 + torch.randn(2) * 0.1 + (action - 0.5)
            steps.append((state, action, chosen.log_prob(action), -following.norm()))
            state = following
        kept = torch.zeros(())
        for state, action, log_prob, reward in reversed(steps):
            kept = reward + 0.9 * kept
            yield state, action, log_prob, kept - self.critic(state)[0], kept

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        state, action, log_prob, advantage, kept = batch
        ratio = (Categorical(logits=self.actor(state)).log_prob(action) - log_prob).exp()
        gained = torch.min(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage).mean()
        loss = (self.critic(state).squeeze(1) - kept).square().mean() - gained
        self.log("reward", kept.mean(), prog_bar=True)
        return loss

    def train_dataloader(self) -> Any:
        return DataLoader(Rollouts(self.rollout), batch_size=8)

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=1e-3)


make = job(Policy, data=None)

if __name__ == "__main__":
    fit(*make())
