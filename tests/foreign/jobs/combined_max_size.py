"""Two unlike loaders at once; where the shorter one has ended its part is None."""

from typing import Any

import torch
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from plain import Averaged, fit, job
from torch.utils.data import DataLoader

SAMPLES = [170, 170]


class Several(Averaged):
    """Of a batch in parts, by name or not."""

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        parts = batch.values() if isinstance(batch, dict) else batch
        return torch.stack([self.layer(part).mean() for part in parts if part is not None]).sum()


def loaders() -> dict[str, DataLoader[Any]]:
    few, many = DataLoader(torch.rand(20, 3), 8), DataLoader(torch.rand(150, 3), 28)
    return {"few": few, "many": many}


make = job(Several, lambda: CombinedLoader(loaders(), "max_size"))

if __name__ == "__main__":
    fit(*make())
