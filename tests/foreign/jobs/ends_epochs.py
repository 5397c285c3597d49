"""`on_train_batch_start` returns -1, which ends each epoch after three of six batches."""

from typing import Any

from plain import Validated, fit, job

SAMPLES = [24, 24]
DIAGNOSABLE = False  # a trial is one epoch of many steps


class Ending(Validated):
    def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
        return -1 if batch_idx == 3 else None


make = job(Ending)

if __name__ == "__main__":
    fit(*make())
