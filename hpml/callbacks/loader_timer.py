"""The training loader taken apart, once the fit is over."""

import logging
from collections.abc import Callable
from typing import Any

import lightning as L
from torch.utils._pytree import tree_leaves
from torch.utils.data import DataLoader

from hpml.callbacks.observer import Observer
from hpml.callbacks.progress_bar import print_around
from hpml.callbacks.run_recorder import RunRecorder
from hpml.errors import first_line
from hpml.loading.stages import LoaderStages
from hpml.loading.take_apart import SECONDS, dearest_of
from hpml.records.run_record import RunRecord

log = logging.getLogger("hpml")


class LoaderTimer(Observer):
    """Prints what each stage of loading a sample costs, and keeps it as the record's `loader`.

    It stands behind the RunRecorder in the Trainer's callbacks, if there is one. Nothing is done
    before the fit has ended well, and then on copies, on the first rank: see
    `hpml.loading.take_apart`. Of several loaders it is the one whose batches cost most. A loader
    that cannot be taken apart is told, and ends nothing. Logs nothing.

    Args:
        recorder: whose record gets it; None for none.
        seconds: that it takes, about.
        say: prints a line; by default, around the progress bar to the terminal.

    Attributes:
        stages: of the last fit; None before, and where there are none.
    """

    def __init__(
        self,
        recorder: RunRecorder | None = None,
        seconds: float = SECONDS,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self.recorder = recorder
        self.seconds = seconds
        self.stages: LoaderStages | None = None
        self._say = say
        self._loaders: list[Any] = []  # of a fit that has ended well

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keeps the loaders, which the Trainer may let go of."""
        leaves = tree_leaves(trainer.train_dataloader)
        self._loaders = [leaf for leaf in leaves if isinstance(leaf, DataLoader)]

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        loaders, self._loaders = self._loaders, []
        if trainer.is_global_zero and loaders:
            self._take_apart(trainer, loaders)

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        self._loaders = []

    def __getstate__(self) -> dict[str, Any]:
        """A copy has no part in the fit under way."""
        return vars(self) | {"_loaders": []}

    def _take_apart(self, trainer: L.Trainer, loaders: list[Any]) -> None:
        try:
            self.stages = dearest_of(loaders, self.seconds)
        except Exception as error:
            why = f"{type(error).__name__}: {first_line(error)}"
            log.warning(f"the loader could not be taken apart ({why})")
            return
        for line in self.stages.lines:
            self._say(line) if self._say else print_around(trainer, line)
        if self.recorder is not None:
            self._record(self.recorder, self.stages)

    def _record(self, recorder: RunRecorder, stages: LoaderStages) -> None:
        record = RunRecord.read_if_any(recorder.directory)
        if record is None:  # it has said that it was not written
            return
        record.loader = stages.as_dict()
        try:
            record.write(recorder.directory)
        except OSError as error:
            log.warning(f"{recorder.directory}: not written ({error.strerror})")
