"""A callback that trains a probe with a Trainer of its own in each epoch."""

from typing import Any

import lightning as L
from plain import Regression, Validated, loader, trainer

EPOCHS = 2
SAMPLES = [44, 44]


class Probe(L.Callback):
    def on_train_epoch_end(self, *_: Any) -> None:
        trainer(max_epochs=1).fit(Regression(), loader(20))


def make(callbacks: Any = (), **trainer_arguments: Any) -> tuple[L.Trainer, L.LightningModule, Any]:
    fitting = trainer(callbacks=[Probe(), *callbacks], **trainer_arguments)
    return fitting, Validated(), loader(shuffle=True)


if __name__ == "__main__":
    fitting, module, data = make()
    fitting.fit(module, data)
