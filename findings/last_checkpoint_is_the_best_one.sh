#!/usr/bin/env bash
# Lightning's ModelCheckpoint(monitor=…, save_last=True), with a loss that gets worse after an epoch.
#
# One would guess: `last.ckpt` is of the last epoch, whatever is monitored: that is what one resumes from.
# What is seen: it is written with the best one alone, and is still of the first epoch at the end of the fit.
#   With `save_top_k=0`, "no best ones, the last one only", there is none until the fit ends.
#   With 2.5.6, in the same job, it is of the last epoch in both cases, and there after each epoch.
# Versions: lightning 2.6.6 and 2.5.6, torch 2.14.1.
# Why it matters: a run that is killed loses all epochs since the best one, or all of them, and the same
#   configuration lost none before. A second ModelCheckpoint without `monitor` writes the last one.
#
# Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.14.1 lightning==2.6.6
cat >"$folder/last.py" <<'PYTHON'
import logging
import sys
import tempfile
import warnings
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

warnings.filterwarnings("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class Worse(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        self.log("loss", float(self.current_epoch), on_step=False, on_epoch=True)
        return self.layer(batch).pow(2).mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Look(L.Callback):
    """Which epoch `last.ckpt` is of, when another one begins and in the end; None without one."""

    def __init__(self, folder: str) -> None:
        self.file, self.seen = Path(folder) / "last.ckpt", []

    def look(self) -> None:
        epoch = torch.load(self.file, weights_only=False)["epoch"] if self.file.exists() else None
        self.seen.append(epoch)

    def on_train_epoch_start(self, trainer: L.Trainer, *_: object) -> None:
        if trainer.current_epoch:
            self.look()


def seen(**settings: object) -> list[int | None]:
    with tempfile.TemporaryDirectory() as folder:
        look = Look(folder)
        trainer = L.Trainer(
            accelerator="cpu",
            max_epochs=4,
            callbacks=[ModelCheckpoint(folder, save_last=True, **settings), look],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(Worse(), DataLoader(torch.randn(8, 1), batch_size=2))
        look.look()
        return look.seen


best, none = seen(monitor="loss", save_top_k=1), seen(save_top_k=0)
print(f"lightning {L.__version__}: the epoch of last.ckpt after each of four epochs (0 to 3)")
print("save_top_k=1, the best one and the last:", *best)
print("save_top_k=0, the last one alone:       ", *none)
expected = {
    "2.6.6": ([0, 0, 0, 0], [None, None, None, 4]),
    "2.5.6": ([0, 1, 2, 3], [0, 1, 2, 3]),
}
sys.exit((best, none) != expected[L.__version__])
PYTHON
"$folder/venv/bin/python" "$folder/last.py"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check lightning==2.5.6
"$folder/venv/bin/python" "$folder/last.py"
