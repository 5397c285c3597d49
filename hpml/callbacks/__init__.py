"""Callbacks of a Lightning Trainer. They observe, and never change what is trained."""

from hpml.callbacks.checkpoint import Checkpoint
from hpml.callbacks.forecast import Forecast
from hpml.callbacks.honours_signals import HonoursSignals
from hpml.callbacks.progress_bar import ProgressBar
from hpml.callbacks.run_recorder import RunRecorder

__all__ = ["Checkpoint", "Forecast", "HonoursSignals", "ProgressBar", "RunRecorder"]
