#!/usr/bin/env bash
# Lightning's reload_dataloaders_every_n_epochs=1 asks for a new training loader in each epoch.
#
# One would guess: it goes through each of these loaders once; four epochs, four passes begun.
# What is seen: seven. In each epoch but the first the new loader is begun, that pass is dropped
#   before its first batch is taken, and another is begun. Without reloading each epoch has one.
# Versions: lightning 2.6.6, torch 2.14.1.
# Why it matters: with workers a pass that begins starts all processes, and they load the first
#   batches at once: an epoch pays twice for its start, and num_workers * prefetch_factor batches
#   are made for nobody. A sampler that draws its order in __iter__ draws one order more than there
#   are epochs, so the batches differ from those of the same run without reloading.
#
# Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.14.1 lightning==2.6.6
cat >"$folder/passes.py" <<'PYTHON'
import logging
import sys
import warnings

import lightning as L
from lightning.pytorch.demos.boring_classes import BoringModel, RandomDataset
from torch.utils.data import DataLoader

warnings.simplefilter("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
EPOCHS, BATCHES = 4, 3


class Loader(DataLoader):
    begun = 0

    def __iter__(self):
        Loader.begun += 1
        return super().__iter__()


class Data(L.LightningDataModule):
    asked = 0

    def train_dataloader(self):
        Data.asked += 1
        return Loader(RandomDataset(32, BATCHES))


def passes(every_n_epochs: int) -> tuple[int, int]:
    Loader.begun = Data.asked = 0
    off = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=EPOCHS,
        limit_val_batches=0,
        reload_dataloaders_every_n_epochs=every_n_epochs,
        **dict.fromkeys(off, False),
    )
    trainer.fit(BoringModel(), datamodule=Data())
    return Data.asked, Loader.begun


kept, reloaded = passes(0), passes(1)
for name, (asked, begun) in (("kept", kept), ("reloaded in each epoch", reloaded)):
    print(f"{EPOCHS} epochs, loaders {name}: {asked} made, {begun} passes begun")
sys.exit(not (kept == (1, EPOCHS) and reloaded == (EPOCHS, 2 * EPOCHS - 1)))
PYTHON
"$folder/venv/bin/python" "$folder/passes.py"
