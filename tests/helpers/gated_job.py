"""A small training that can be made slower in ways that a change does by mistake.

Without options it is as it should be. `--sleep-ms` waits that long more for each batch than
`--base-ms`, `--depth` has more layers, `--log-ms` waits in each step, as for a slow server;
`--fails` raises an error at the beginning, `--killed` is killed there.
"""

import argparse
import logging
import os
import signal
import time
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader, Dataset

BATCH, BATCHES, SIZE = 32, 64, 64


class Rows(Dataset[Any]):
    """Rows of numbers; each batch's first row waits."""

    def __init__(self, sleep_ms: float) -> None:
        generator = torch.Generator().manual_seed(0)
        self.rows = torch.randn(BATCH * BATCHES, SIZE, generator=generator)
        self.sleep_ms = sleep_ms

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> torch.Tensor:
        if self.sleep_ms:
            time.sleep(self.sleep_ms / 1e3 / BATCH)
        return self.rows[index]


class Autoencoder(L.LightningModule):
    def __init__(self, width: int, depth: int, log_ms: float) -> None:
        super().__init__()
        self.log_ms = log_ms
        layers = (torch.nn.Linear(width, width) for _ in range(depth))
        hidden = [torch.nn.Sequential(layer, torch.nn.ReLU()) for layer in layers]
        ends = torch.nn.Linear(SIZE, width), torch.nn.Linear(width, SIZE)
        self.net = torch.nn.Sequential(ends[0], *hidden, ends[1])

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        loss = torch.nn.functional.mse_loss(self.net(batch), batch)
        if self.log_ms:
            time.sleep(self.log_ms / 1e3)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sleep-ms", type=float, default=0.0)
    parser.add_argument("--base-ms", type=float, default=0.0)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--depth", type=int, default=1)
    parser.add_argument("--log-ms", type=float, default=0.0)
    parser.add_argument("--fails", action="store_true")
    parser.add_argument("--killed", action="store_true")
    given = parser.parse_args()
    if given.fails:
        raise RuntimeError("this version cannot train")
    if given.killed:
        os.kill(os.getpid(), signal.SIGKILL)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    loader = DataLoader(Rows(given.sleep_ms + given.base_ms), batch_size=BATCH)
    L.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(Autoencoder(given.width, given.depth, given.log_ms), loader)


if __name__ == "__main__":
    main()
