"""The phases of a fit as a Chrome trace, beside its record."""

import json
import logging
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L

from hpml.callbacks.observer import Observer
from hpml.callbacks.run_recorder import RunRecorder
from hpml.config.command_line import from_here
from hpml.system.files import write_whole
from hpml.timing.profiler import PhaseProfiler
from hpml.timing.trace import STEPS_AN_EPOCH, Trace

log = logging.getLogger("hpml")

FILE_NAME = "trace.json"
VIEWER = "https://ui.perfetto.dev"


class PhaseTrace(Observer):
    """Writes `trace.json`: epochs, the first steps of each, their phases, and the parts of these.

    It stands behind the timers and their RunRecorder in the Trainer's callbacks. Logs nothing. The
    file is written when the fit is over, or has failed. Each rank after the first has one of its
    own, `trace-rank1.json` …, as a process named after its rank. Times are the host's: on a GPU,
    when work was handed over.

    Args:
        recorder: whose directory it is written to.
        steps_an_epoch: how many steps of an epoch are traced.
        say: prints the line on where the file is; by default the module's `print`.
    """

    def __init__(
        self,
        recorder: RunRecorder,
        steps_an_epoch: int = STEPS_AN_EPOCH,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self.recorder = recorder
        self.steps_an_epoch = steps_an_epoch
        self._say = say
        self._trace: Trace | None = None  # of the fit under way

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if stage == "fit":
            clock = PhaseProfiler.attach(trainer).clock
            self._trace, self._begun_ns = Trace(self.steps_an_epoch), clock.begun_ns
            clock.trace_into(self._trace)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._directory = self.recorder.directory
        if trainer.world_size > 1:  # the first rank has chosen it
            self._directory = Path(trainer.strategy.broadcast(str(self._directory)))

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if stage == "fit":
            self._write(trainer, pl_module)

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        self._write(trainer, pl_module)

    def _write(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Once; a file that cannot be written is told, and ends nothing."""
        trace, self._trace = self._trace, None
        if trace is None or not trace.epochs:
            return
        rank = trainer.global_rank
        file = self._directory / (f"trace-rank{rank}.json" if rank else FILE_NAME)
        content: dict[str, Any] = trace.as_dict(self._begun_ns, rank)
        try:
            write_whole(file, json.dumps(content, separators=(",", ":")) + "\n")
        except OSError as error:
            log.warning(f"{file}: not written ({error.strerror})")
            return
        if trainer.is_global_zero:
            shown = shlex.quote(str(from_here(file)))
            line = f"trace: {shown} ({trace.in_words}; to open at {VIEWER})"
            (self._say or pl_module.print)(line)
