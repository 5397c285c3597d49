"""Callbacks of a Lightning Trainer. They observe, and never change what is trained."""

from hpml.callbacks.checkpoint import Checkpoint
from hpml.callbacks.data_load_timer import DataLoadTimer
from hpml.callbacks.epoch_timer import EpochTimer
from hpml.callbacks.forecast import Forecast
from hpml.callbacks.honours_signals import HonoursSignals
from hpml.callbacks.hparams import HParams
from hpml.callbacks.phase_timers import phase_timers
from hpml.callbacks.progress_bar import ProgressBar
from hpml.callbacks.resume_points import ResumePoints
from hpml.callbacks.run_recorder import RunRecorder
from hpml.callbacks.train_timer import TrainTimer

__all__ = [
    "Checkpoint",
    "DataLoadTimer",
    "EpochTimer",
    "Forecast",
    "HParams",
    "HonoursSignals",
    "ProgressBar",
    "ResumePoints",
    "RunRecorder",
    "TrainTimer",
    "phase_timers",
]
