"""How long training itself takes."""

from typing import ClassVar

import lightning as L

from hpml.callbacks.phase_timer import PhaseTimer
from hpml.timing.epoch_times import EpochTimes


class TrainTimer(PhaseTimer):
    """Times the training of batches, on any Trainer.

    | key, once an epoch | what |
    | --- | --- |
    | `time/train_s` | the training batch: forward, loss, backward, optimizer step |

    `epochs` holds its parts too: `forward_s` (all of `training_step`), `backward_s`,
    `optimizer_s` (with clipping and zeroing of gradients), `rest_s`. On a GPU they are the host's:
    how long it took to hand the work over.
    """

    times: ClassVar = ("train_s",)

    def keep(self, trainer: L.Trainer, times: EpochTimes) -> dict[str, float]:
        figures = super().keep(trainer, times)
        self.epochs[-1].update(times.train_split() or {})
        return figures
