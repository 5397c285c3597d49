"""A progress bar that leaves the epochs' lines standing, and is off where nobody watches."""

import sys
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm

from hpml.callbacks.observer import Observer


def print_around(trainer: L.Trainer, line: str) -> None:
    """Prints a line to the terminal, and leaves a progress bar whole.

    Not by the module's `print`, which may be its own and do anything; nor by that of Lightning's
    tqdm bar, which prints nothing once training has ended.
    """
    bar: Any = trainer.progress_bar_callback
    if bar is None or not bar.is_enabled or isinstance(bar, TQDMProgressBar):
        Tqdm.write(line)
    else:
        bar.print(line)


# To draw the bar takes a fifth of a millisecond, and more where the terminal is busy.
LEAST_S = 0.1


class ProgressBar(TQDMProgressBar, Observer):
    """Lightning's own bar, off where stdout is no terminal.

    It is redrawn every `refresh_rate` batches, and ten times a second at most. Logs nothing.
    """

    in_trials = True

    def __init__(self, refresh_rate: int = 10) -> None:
        super().__init__(refresh_rate=refresh_rate if sys.stdout.isatty() else 0, leave=False)
        self._drawn_s = 0.0

    def __getstate__(self) -> dict[str, Any]:
        """Without the bars, as Lightning has it, and without the Trainer, that of a fit."""
        return super().__getstate__() | {"_trainer": None}

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *arguments: Any
    ) -> None:
        *_, batch_idx = arguments
        bar, done = self.train_progress_bar, batch_idx + 1
        if bar.disable or not self._should_update(done, bar.total):
            return
        now_s = time.monotonic()
        if now_s - self._drawn_s >= LEAST_S or done == bar.total:
            bar.n = done
            bar.set_postfix(self.get_metrics(trainer, pl_module))  # which draws it
            self._drawn_s = now_s

    def init_train_tqdm(self) -> Tqdm:
        """A bar that goes when training ends; Lightning's `leave` is about epochs alone."""
        bar = super().init_train_tqdm()
        bar.leave = False
        return bar

    def on_exception(self, *_: Any) -> None:
        """Clears the bar before what went wrong is printed."""
        if self._train_progress_bar is not None:
            self._train_progress_bar.close()
