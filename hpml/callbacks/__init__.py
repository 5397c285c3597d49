"""Callbacks of a Lightning Trainer. They observe; `weight_averaging` alone changes the training."""

from hpml.callbacks.data_load_timer import DataLoadTimer
from hpml.callbacks.epoch_timer import EpochTimer
from hpml.callbacks.hparams import HParams
from hpml.callbacks.loader_timer import LoaderTimer
from hpml.callbacks.phase_timers import phase_timers
from hpml.callbacks.phase_trace import PhaseTrace
from hpml.callbacks.progress_bar import ProgressBar
from hpml.callbacks.run_recorder import RunRecorder
from hpml.callbacks.runtime_estimator import RuntimeEstimator
from hpml.callbacks.train_timer import TrainTimer

__all__ = [
    "DataLoadTimer",
    "EpochTimer",
    "HParams",
    "LoaderTimer",
    "PhaseTrace",
    "ProgressBar",
    "RunRecorder",
    "RuntimeEstimator",
    "TrainTimer",
    "phase_timers",
]
