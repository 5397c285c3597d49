#!/usr/bin/env bash
# Lightning's StochasticWeightAveraging, with a network that has batch normalisation.
#
# One would guess: `max_epochs=4` trains four epochs, and statistics are brought up to date meanwhile.
# What is seen: a fifth epoch runs all training batches forward once more, with one step of the optimizer
#   at its end, and validates again, as an epoch like the others.
# Versions: lightning 2.6.6, torch 2.14.1.
# Why it matters: a run takes an epoch longer than planned (a walltime, a forecast, a comparison by whole
#   time), and its last row is no training: its time has no backward passes. Without batch normalisation
#   there is no such epoch.
#
# Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.14.1 lightning==2.6.6
cat >"$folder/epochs.py" <<'PYTHON'
import logging
import sys
import warnings

import lightning as L
import torch
from lightning.pytorch.callbacks import StochasticWeightAveraging
from torch import nn
from torch.utils.data import DataLoader

warnings.filterwarnings("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class Job(L.LightningModule):
    def __init__(self, normalises: bool) -> None:
        super().__init__()
        norm = nn.BatchNorm1d(1) if normalises else nn.Identity()
        self.network = nn.Sequential(nn.Linear(1, 1), norm)
        self.epochs: list[list[int]] = []  # training batches and steps of each

    def on_train_epoch_start(self) -> None:
        self.epochs.append([0, 0])

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        self.epochs[-1][0] += 1
        return self.network(batch).pow(2).mean()

    def optimizer_step(self, *args, **kwargs) -> None:
        super().optimizer_step(*args, **kwargs)
        self.epochs[-1][1] += 1

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def epochs(normalises: bool, *callbacks: L.Callback) -> list[list[int]]:
    job = Job(normalises)
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=4,
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(job, DataLoader(torch.randn(8, 1), batch_size=2))
    return job.epochs


plain = epochs(True)
averaged = epochs(True, StochasticWeightAveraging(0.01, swa_epoch_start=2))
without = epochs(False, StochasticWeightAveraging(0.01, swa_epoch_start=2))
print("training batches and steps of each epoch, max_epochs=4")
print("without averaging:          ", *plain)
print("averaging, batch norm:      ", *averaged)
print("averaging, no batch norm:   ", *without)
four = [[4, 4]] * 4
sys.exit(not (plain == without == four and averaged == [*four, [4, 1]]))
PYTHON
"$folder/venv/bin/python" "$folder/epochs.py"
