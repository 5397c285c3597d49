"""A callback that trains a probe with a Trainer of its own in each epoch."""

from typing import Any

import lightning as L
from plain import Regression, fit, job, loader, trainer

SAMPLES = [44, 44]


class Probe(L.Callback):
    def on_train_epoch_end(self, *_: Any) -> None:
        trainer(max_epochs=1).fit(Regression(), loader(20))


make = job(own=lambda: [Probe()])

if __name__ == "__main__":
    fit(*make())
