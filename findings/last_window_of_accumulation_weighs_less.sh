#!/usr/bin/env bash
# Lightning accumulates gradients over `accumulate_grad_batches`, and steps at an epoch's last batch.
#
# One would guess: each step is made by the mean gradient of the batches since the last one.
# What is seen: each batch's loss is divided by the full window, also where an epoch ends within one. Of
#   5 batches of the same gradient and a window of 4, the second step is a quarter of the first.
# Versions: lightning 2.6.6, torch 2.14.1.
# Why it matters: the last step of each epoch is made with a smaller gradient, the smaller the fewer
#   batches are left over (1 of 64 at worst), and none is divided so by a larger batch size: runs that
#   should be alike differ once an epoch. With Adam the small gradient enters both of its averages.
#
# Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.14.1 lightning==2.6.6
cat >"$folder/steps.py" <<'PYTHON'
import logging
import sys
import warnings

import lightning as L
import torch
from torch.utils.data import DataLoader

warnings.filterwarnings("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class Job(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.after_steps = [0.0]

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return self.weight.sum()  # its gradient is 1, whatever the batch

    def optimizer_step(self, *args, **kwargs) -> None:
        super().optimizer_step(*args, **kwargs)
        self.after_steps.append(self.weight.item())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)


job = Job()
trainer = L.Trainer(
    accelerator="cpu",
    max_epochs=2,
    accumulate_grad_batches=4,
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)
trainer.fit(job, DataLoader(torch.zeros(5), batch_size=1))
steps = [before - after for before, after in zip(job.after_steps, job.after_steps[1:])]
print("steps of two epochs of 5 batches, window 4:", steps, "guessed [1, 1, 1, 1]")
sys.exit(steps != [1, 0.25, 1, 0.25])
PYTHON
"$folder/venv/bin/python" "$folder/steps.py"
