"""Callbacks of a Lightning Trainer. They observe, and never change what is trained."""

from hpml.callbacks.data_load_timer import DataLoadTimer
from hpml.callbacks.epoch_timer import EpochTimer
from hpml.callbacks.hparams import HParams
from hpml.callbacks.phase_timers import phase_timers
from hpml.callbacks.progress_bar import ProgressBar
from hpml.callbacks.run_recorder import RunRecorder
from hpml.callbacks.runtime_estimator import RuntimeEstimator
from hpml.callbacks.train_timer import TrainTimer
from hpml.checkpointing.last_and_best import Checkpoint
from hpml.checkpointing.resume_checkpoints import ResumeCheckpoints
from hpml.checkpointing.stop_on_signal import StopOnSignal

__all__ = [
    "Checkpoint",
    "DataLoadTimer",
    "EpochTimer",
    "HParams",
    "ProgressBar",
    "ResumeCheckpoints",
    "RunRecorder",
    "RuntimeEstimator",
    "StopOnSignal",
    "TrainTimer",
    "phase_timers",
]
