"""Ends a run on a signal whose exception was swallowed on its way."""

from typing import Any

import lightning as L

from hpml.interrupt import raise_if_arrived


class HonoursSignals(L.Callback):
    """Looks at each batch whether a signal has arrived.

    Logs nothing.
    """

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Ends training."""
        raise_if_arrived()

    def on_test_batch_start(self, *arguments: Any) -> None:
        """Ends an evaluation."""
        raise_if_arrived()
