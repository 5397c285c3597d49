"""EarlyStopping ends the fit after three epochs of nine."""

from lightning.pytorch.callbacks import EarlyStopping
from plain import Validated, fit, job
from torch import Tensor

SAMPLES = [44, 44, 44]


class Worse(Validated):
    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("val_loss", float(self.trainer.current_epoch))


make = job(Worse, own=lambda: [EarlyStopping("val_loss", patience=2)], max_epochs=9)

if __name__ == "__main__":
    fit(*make())
