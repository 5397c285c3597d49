"""The Trainer of a trial: like the user's, for a single short epoch that leaves nothing behind."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.profilers import PassThroughProfiler

from hpml.timing.profiler import PhaseProfiler
from hpml.trials.copies import copied, is_compiled
from hpml.trials.intervention import NOT_IN_A_TRIAL, Intervention

# The loggers that can write elsewhere; what others log goes to a server.
LOCAL_LOGGERS = (CSVLogger, TensorBoardLogger)
NEVER = 10**9  # steps


def trial_trainer(
    user_trainer: Any,
    folder: Path,
    is_sized: bool,
    intervention: Intervention = Intervention(),  # noqa: B008 - it is frozen
    callbacks: Sequence[L.Callback] = (),
) -> L.Trainer:
    """One on the same device as the user's; `is_sized` where an epoch's steps are known."""
    device: torch.device = user_trainer.strategy.root_device
    silent = intervention.hooks or intervention.without == "logging"
    loggers = [  # as many as the user's, for modules and callbacks that ask for theirs
        type(logger)(folder / f"logger-{number}")
        if type(logger) in LOCAL_LOGGERS and not silent
        else DummyLogger()
        for number, logger in enumerate(user_trainer.loggers)
    ]
    has_end = not is_sized and user_trainer.max_steps > 0  # schedulers ask how many steps it has
    return L.Trainer(
        accelerator="gpu" if device.type == "cuda" else device.type,
        devices=[device.index or 0] if device.type == "cuda" else 1,
        plugins=[copy.deepcopy(user_trainer.precision_plugin)],
        max_epochs=1,
        min_steps=NEVER,  # else a callback may stop it
        max_steps=max(user_trainer.max_steps, NEVER) if has_end else -1,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        log_every_n_steps=NEVER if silent else user_trainer.log_every_n_steps,
        accumulate_grad_batches=user_trainer.accumulate_grad_batches,
        gradient_clip_val=user_trainer.gradient_clip_val,
        gradient_clip_algorithm=user_trainer.gradient_clip_algorithm,
        detect_anomaly=user_trainer._detect_anomaly,
        use_distributed_sampler=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in callbacks),
        default_root_dir=folder,
        callbacks=list(callbacks),
        logger=loggers,
    )


def callbacks_by_name(trainer: Any, module: Any, copy_of_module: Any) -> dict[str, L.Callback]:
    """Copies of the user's callbacks; those that a trial cannot have are left out."""
    callbacks: dict[str, L.Callback] = {}
    for callback in trainer.callbacks:
        is_ours = type(callback).__module__.partition(".")[0] == __name__.partition(".")[0]
        left_out = is_ours and not getattr(callback, "in_trials", True)
        if isinstance(callback, NOT_IN_A_TRIAL) or left_out:
            continue
        name = type(callback).__name__
        if name in callbacks:
            name = f"{name} ({sum(other.startswith(name) for other in callbacks) + 1})"
        callbacks[name] = copied(callback, {id(trainer): None, id(module): copy_of_module})
    return callbacks


def left_out(trainer: Any, module: L.LightningModule) -> list[str]:
    """What the trials do without from the beginning, each in words."""
    notes = []
    if not isinstance(trainer.profiler, PhaseProfiler | PassThroughProfiler):
        name = type(trainer.profiler).__name__
        notes.append(f"the trials run without {name}: its cost is left out")
    if any(map(is_compiled, module.modules())):
        notes.append("what is compiled is compiled anew, in torch's default mode")
    kinds = dict.fromkeys(map(type, trainer.loggers))
    remote = [kind.__name__ for kind in kinds if kind not in LOCAL_LOGGERS]
    return notes + [f"nothing was sent to {name}: its cost is left out" for name in remote]
