"""A progress bar that leaves the epochs' lines standing, and keeps quiet where nobody watches."""

import sys

from lightning.pytorch.callbacks import TQDMProgressBar


class ProgressBar(TQDMProgressBar):
    """Lightning's own bar, redrawn every `refresh_rate` batches; off where stdout is no terminal.

    Logs nothing.
    """

    def __init__(self, refresh_rate: int = 10) -> None:
        super().__init__(refresh_rate=refresh_rate if sys.stdout.isatty() else 0, leave=False)
