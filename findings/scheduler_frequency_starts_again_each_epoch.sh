#!/usr/bin/env bash
# Lightning steps a scheduler of `interval="step"` every `frequency` steps.
#
# One would guess: it counts the optimizer's steps over the whole training.
# What is seen: it counts batches, and from 0 again in each epoch. In epochs of 5 batches a frequency of
#   3 gives one step an epoch, and one of 6 never a step: the learning rate stays, without a word. With
#   gradients accumulated over 4 batches, a frequency of 2 steps at every step of the optimizer, and one
#   of 3 at every third.
# Versions: lightning 2.6.6, torch 2.14.1.
# Why it matters: a warm-up or decay "every 1,000 steps" of a job with epochs of 800 batches does
#   nothing, and a sweep over batch sizes changes the schedule with the length of the epoch.
#
# Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.14.1 lightning==2.6.6
cat >"$folder/rates.py" <<'PYTHON'
import logging
import sys
import warnings

import lightning as L
import torch
from torch.utils.data import DataLoader

warnings.filterwarnings("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class Job(L.LightningModule):
    def __init__(self, frequency: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.frequency = frequency

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return self.weight.sum()

    def configure_optimizers(self) -> dict:
        optimizer = torch.optim.SGD(self.parameters(), lr=1.0)
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        step = {"scheduler": scheduler, "interval": "step", "frequency": self.frequency}
        return {"optimizer": optimizer, "lr_scheduler": step}


def rate_at_the_end(frequency: int, batches: int, epochs: int, window: int = 1) -> float:
    job = Job(frequency)
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        accumulate_grad_batches=window,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(job, DataLoader(torch.zeros(batches), batch_size=1))
    return trainer.optimizers[0].param_groups[0]["lr"]


third, sixth = rate_at_the_end(3, 5, 12), rate_at_the_end(6, 5, 12)
print(f"60 steps in epochs of 5, halved every 3 steps: {third}, guessed {0.5**20}")
print(f"60 steps in epochs of 5, halved every 6 steps: {sixth}, guessed {0.5**10}")
second = rate_at_the_end(2, 48, 1, window=4)
print(f"48 batches, 12 steps, halved every 2 steps: {second}, guessed {0.5**6}")
sys.exit(not (third == 0.5**12 and sixth == 1 and second == 0.5**12))
PYTHON
"$folder/venv/bin/python" "$folder/rates.py"
