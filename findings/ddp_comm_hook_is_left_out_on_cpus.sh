#!/usr/bin/env bash
# Lightning's DDPStrategy(ddp_comm_hook=…) is never called on processors, and nothing says so.
#
# One would guess: the hook is handed to DistributedDataParallel whatever the device: torch has
#   communication hooks for gloo too, and its own `register_comm_hook` calls them there.
# What is seen: with accelerator="cpu" two processes train, exchange their gradients by DDP's own
#   all-reduce, and call the hook never. No error, no warning. The same hook, registered by hand on the
#   same processors, is called for each bucket: Lightning registers hooks where the device is a GPU.
# Versions: lightning 2.6.6, torch 2.14.1.
# Why it matters: a hook that compresses, delays or times is tried on processors first, in a test above
#   all. There the test passes whatever the hook does, and a timing without its cost is taken for one
#   with it. Way around: register it on `trainer.strategy.model` in `on_train_start`.
#
# Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check lightning==2.6.6 torch==2.14.1
cat >"$folder/fit.py" <<'PYTHON'
import sys

import lightning as L
import torch
from lightning.pytorch.strategies import DDPStrategy
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

calls = 0


def counting(state, bucket):
    global calls
    calls += 1
    return allreduce_hook(state, bucket)


class Linear(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 4)

    def on_train_start(self):
        if by_hand:
            self.trainer.strategy.model.register_comm_hook(None, counting)

    def training_step(self, batch, batch_idx):
        return self.layer(batch).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


by_hand = sys.argv[1] == "by_hand"
hook = None if by_hand else counting
trainer = L.Trainer(
    accelerator="cpu",
    devices=2,
    strategy=DDPStrategy(process_group_backend="gloo", ddp_comm_hook=hook),
    max_steps=4,
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)
trainer.fit(Linear(), torch.utils.data.DataLoader(torch.randn(32, 4), batch_size=4))
if trainer.global_rank == 0:
    print(f"{sys.argv[1]}: {trainer.global_step} steps, {calls} calls", flush=True)
PYTHON
cd "$folder"
seen=""
for how in by_strategy by_hand; do
  line=$("$folder/venv/bin/python" fit.py $how 2>/dev/null | grep "^$how:")
  echo "$line"
  seen+="$line;"
done
[ "$seen" = "by_strategy: 4 steps, 0 calls;by_hand: 4 steps, 4 calls;" ]
