"""Programs that know nothing of hpml."""

JOB = """\
import os
import signal
import sys

import lightning as L
import torch
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader, TensorDataset


class Module(L.LightningModule):
    def __init__(self, width: int = 4):
        super().__init__()
        self.layer = torch.nn.Linear(width, 1)

    def training_step(self, batch, batch_idx):
        loss = self.layer(batch[0]).square().mean()
        self.log("loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.layer(batch[0]).mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def loader():
    return DataLoader(TensorDataset(torch.rand(12, 4)), 4, shuffle=True)


def trainer(**settings):
    off = ("enable_progress_bar", "enable_model_summary", "enable_checkpointing", "logger")
    quiet = dict.fromkeys(off, False) | {"accelerator": "cpu", "max_epochs": 2}
    return L.Trainer(**quiet | settings)


L.seed_everything(1)
"""
PLAIN = (
    JOB
    + """
if __name__ == "__main__":
    trainer = trainer(logger=CSVLogger("logs"), enable_checkpointing=True, log_every_n_steps=1)
    trainer.fit(Module(), loader(), loader())
    kept = torch.load(trainer.checkpoint_callback.best_model_path, weights_only=False)
    print(trainer.callback_metrics, trainer.progress_bar_metrics, torch.rand(1))
    print([type(callback).__name__ for callback in trainer.callbacks])
    print(kept["callbacks"], kept["state_dict"], type(trainer.profiler).__name__)
    print(open("logs/lightning_logs/version_0/metrics.csv").read())
"""
)
FAILS = (
    JOB
    + """
class Failing(Module):
    def training_step(self, batch, batch_idx):
        if self.global_step == 4:
            raise RuntimeError("of the user's own")
        return super().training_step(batch, batch_idx)

print("begins")
trainer().fit(Failing(), loader())
"""
)
INTERRUPTED = FAILS.replace(
    'raise RuntimeError("of the user\'s own")',
    # a shell has its background jobs ignore it
    "signal.signal(signal.SIGINT, signal.default_int_handler); os.kill(os.getpid(), signal.SIGINT)",
)
TWICE = (
    JOB
    + """
class Own(L.Trainer):
    def fit(self, *arguments, **keywords):
        print("its own fit")
        super().fit(*arguments, **keywords)

L.Trainer = Own
trainer = trainer(max_epochs=1)
trainer.fit(Module(), loader())
trainer.fit_loop.max_epochs = 3
trainer.fit(Module(), loader())
sys.exit(3)
"""
)
PROCESSES = (
    JOB
    + """
if __name__ == "__main__":
    trainer = trainer(strategy="ddp", devices=2)
    trainer.fit(Module(), loader())
    if trainer.is_global_zero:
        print("ends", trainer.callback_metrics)
"""
)
CLI = (
    JOB
    + """
from lightning.pytorch.cli import LightningCLI

class Data(L.LightningDataModule):
    def __init__(self, batch_size: int = 4):
        super().__init__()
        self.batch_size = batch_size

    def train_dataloader(self):
        return DataLoader(TensorDataset(torch.rand(12, 4)), self.batch_size)

if __name__ == "__main__":
    cli = LightningCLI(Module, Data, save_config_callback=None)
    print(cli.trainer.callback_metrics)
"""
)
CLI_YAML = """\
seed_everything: 1
trainer:
  max_epochs: 2
  accelerator: cpu
  logger: false
  enable_progress_bar: false
  enable_checkpointing: false
data: {batch_size: 3}
"""
