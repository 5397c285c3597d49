"""A progress bar that leaves the epochs' lines standing, and keeps quiet where nobody watches."""

import sys
from typing import Any

from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm


class ProgressBar(TQDMProgressBar):
    """Lightning's own bar, redrawn every `refresh_rate` batches; off where stdout is no terminal.

    Logs nothing.
    """

    def __init__(self, refresh_rate: int = 10) -> None:
        super().__init__(refresh_rate=refresh_rate if sys.stdout.isatty() else 0, leave=False)

    def init_train_tqdm(self) -> Tqdm:
        """A bar that goes when training ends; Lightning's `leave` is about epochs alone."""
        bar = super().init_train_tqdm()
        bar.leave = False
        return bar

    def on_exception(self, *_: Any) -> None:
        """Clears the bar before what went wrong is said."""
        if self._train_progress_bar is not None:
            self._train_progress_bar.close()
