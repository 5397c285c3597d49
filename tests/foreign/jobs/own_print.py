"""A module whose own `print` takes other arguments, and logs."""

from typing import Any

import lightning as L
from plain import Validated, loader, trainer

EPOCHS = 2
SAMPLES = [44, 44]


class Printing(Validated):
    def print(self, *, loss: float) -> None:  # type: ignore[override]
        self.log("printed", loss)

    def on_train_epoch_end(self) -> None:
        self.print(loss=float(self.trainer.callback_metrics["val_loss"]))


def make(**trainer_arguments: Any) -> tuple[L.Trainer, L.LightningModule, Any]:
    return trainer(**trainer_arguments), Printing(), loader(shuffle=True)


if __name__ == "__main__":
    fitting, module, data = make()
    fitting.fit(module, data)
