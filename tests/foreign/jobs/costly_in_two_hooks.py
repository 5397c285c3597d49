"""A callback whose cost lies in two hooks, beside one that is costlier than either of them."""

import time
from typing import Any

import lightning as L
from plain import Validated, loader, trainer

EPOCHS = 2
SAMPLES = [44, 44]


class Two(L.Callback):
    def on_train_batch_start(self, *_: Any) -> None:
        time.sleep(0.002)

    def on_train_batch_end(self, *_: Any) -> None:
        time.sleep(0.002)


class One(L.Callback):
    def on_train_batch_end(self, *_: Any) -> None:
        time.sleep(0.003)


def make(callbacks: Any = (), **trainer_arguments: Any) -> tuple[L.Trainer, L.LightningModule, Any]:
    fitting = trainer(callbacks=[Two(), One(), *callbacks], **trainer_arguments)
    return fitting, Validated(), loader(shuffle=True)


if __name__ == "__main__":
    fitting, module, data = make()
    fitting.fit(module, data)
