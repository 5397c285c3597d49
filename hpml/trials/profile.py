"""Lightning's profilers on a job: a few steps of it as it is."""

from pathlib import Path
from typing import Any

from lightning.pytorch.profilers import AdvancedProfiler, PyTorchProfiler, SimpleProfiler

from hpml.system.lightning_packages import twin_for
from hpml.trials.intervention import Intervention
from hpml.trials.subject import Subject

PROFILERS = {"simple": SimpleProfiler, "advanced": AdvancedProfiler, "pytorch": PyTorchProfiler}
PROFILED_STEPS = 6


def profile(subject: Subject, name: str, folder: Path) -> list[Path]:
    """The files that one of them leaves in a folder."""
    profiler = twin_for(subject.trainer, PROFILERS[name])(dirpath=folder, filename=name)

    def attach(trainer: Any, module: Any) -> None:
        trainer.profiler = profiler

    subject.fit(Intervention(), 1, PROFILED_STEPS, seed=0, adapt=attach)
    return sorted(folder.glob(f"*{name}*"))
