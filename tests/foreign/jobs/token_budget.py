"""A batch sampler of one's own: sentences of any length, so many that they fit."""

from collections.abc import Iterator
from typing import Any

import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader

EPOCHS = 2
SAMPLES = [None, None]  # only the sampler knows, and its lists go to the workers unseen


class TokenBudget:
    """Lists of indices: as many sentences as have 24 tokens together."""

    def __iter__(self) -> Iterator[list[int]]:
        batch: list[int] = []
        for index in range(40):
            if sum(1 + i % 7 for i in [*batch, index]) > 24:
                yield batch
                batch = []
            batch.append(index)
        yield batch

    def __len__(self) -> int:
        return sum(1 for _ in self)


def collate(samples: Any) -> Any:
    lines = [torch.rand(1 + index % 7, 3) for index in samples]
    return {"tokens": nn.utils.rnn.pad_sequence(lines, batch_first=True)}


class Job(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self.layer(batch["tokens"]).mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def make(**trainer_arguments: Any) -> tuple[L.Trainer, L.LightningModule, Any]:
    off = ("logger", "enable_progress_bar", "enable_checkpointing", "enable_model_summary")
    settings = dict.fromkeys(off, False) | {"accelerator": "cpu", "max_epochs": EPOCHS}
    return (
        L.Trainer(**settings | trainer_arguments),
        Job(),
        DataLoader(range(40), batch_sampler=TokenBudget(), collate_fn=collate),
    )  # type: ignore[arg-type]


if __name__ == "__main__":
    trainer, module, data = make()
    trainer.fit(module, data)
