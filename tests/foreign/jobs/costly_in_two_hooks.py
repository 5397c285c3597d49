"""A callback whose cost lies in two hooks, beside one that is costlier than either of them."""

import time
from typing import Any

import lightning as L
from plain import fit, job

SAMPLES = [44, 44]


class Two(L.Callback):
    def on_train_batch_start(self, *_: Any) -> None:
        time.sleep(0.002)

    def on_train_batch_end(self, *_: Any) -> None:
        time.sleep(0.002)


class One(L.Callback):
    def on_train_batch_end(self, *_: Any) -> None:
        time.sleep(0.003)


make = job(own=lambda: [Two(), One()])

if __name__ == "__main__":
    fit(*make())
