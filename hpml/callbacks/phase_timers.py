"""All timers for anybody's Trainer, in one line."""

from pathlib import Path
from typing import Any

import lightning as L

from hpml.callbacks.data_load_timer import DataLoadTimer
from hpml.callbacks.epoch_timer import EpochTimer
from hpml.callbacks.loader_timer import LoaderTimer
from hpml.callbacks.phase_trace import PhaseTrace
from hpml.callbacks.run_recorder import RunRecorder
from hpml.callbacks.train_timer import TrainTimer
from hpml.errors import UserError


def phase_timers(
    record: str | Path | None = None,
    every_n_steps: int | None = 50,
    sync: bool = False,
    flops_per_sample: float | None = None,
    trace: bool = False,
    loader: bool = False,
) -> list[L.Callback]:
    """`L.Trainer(callbacks=[*phase_timers()])`: a DataLoadTimer, a TrainTimer, an EpochTimer.

    They print a row an epoch and a verdict at the end, and log what their docstrings list.

    Args:
        record: a directory for a `record.json`; one that exists already is left as it is, and the
            next free one of `record-2`, `record-3` … is taken.
        every_n_steps: length of the live windows; None for none.
        sync: waits for the GPU at every border between phases: an audit, which slows training.
        flops_per_sample: forward and backward, for the achieved TFLOP/s; see `hpml.models.counts`.
        trace: writes `trace.json` beside the record: see PhaseTrace.
        loader: takes the training loader apart when the fit is over, in about 5 s: see LoaderTimer.

    Raises ValueError for a trace without a record.
    """
    if trace and record is None:
        raise ValueError("trace=True: is written beside the record; give record=DIRECTORY too")
    timer = EpochTimer(every_n_steps=every_n_steps, sync=sync, flops_per_sample=flops_per_sample)
    callbacks = _Timers([DataLoadTimer(), TrainTimer(), timer])
    recorder = None if record is None else RunRecorder(Path(record), timer)
    if recorder is not None:
        callbacks += [recorder, PhaseTrace(recorder)] if trace else [recorder]
    if loader:
        callbacks.append(LoaderTimer(recorder))
    return callbacks


class _Timers(list[L.Callback]):
    """A list that says so where a Trainer takes it for a callback."""

    def __getattr__(self, name: str) -> Any:
        if hasattr(L.Callback, name):
            raise UserError(
                "callbacks=[phase_timers()]: is a list in a list; give callbacks=[*phase_timers()]"
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
