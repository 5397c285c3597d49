"""The Trainer of a trial: like the user's, for a single short epoch that leaves nothing behind."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler, ProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.profilers import PassThroughProfiler

from hpml.system.lightning_packages import twin_for, twins
from hpml.timing.profiler import PhaseProfiler
from hpml.trials.intervention import Intervention, is_in_trials, nothing
from hpml.trials.module_copies import copied, is_compiled
from hpml.trials.settings import Settings

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
    """One on the same devices as the user's; `is_sized` where an epoch's steps are known."""
    settings = intervention.settings
    own_precision = {"plugins": [copy.deepcopy(user_trainer.precision_plugin)]}
    silent = intervention.hooks or intervention.without == "logging"
    loggers = [  # as many as the user's, for modules and callbacks that ask for theirs
        type(logger)(folder / f"logger-{number}")
        if _is_local(type(logger)) and not silent
        else twin_for(user_trainer, DummyLogger)()
        for number, logger in enumerate(user_trainer.loggers)
    ]
    has_end = not is_sized and user_trainer.max_steps > 0  # schedulers ask how many steps it has
    trainer: L.Trainer = twin_for(user_trainer, L.Trainer)(
        **_devices(user_trainer, settings),
        **({"precision": settings.precision} if settings.precision else own_precision),
        max_epochs=1,
        min_steps=NEVER,  # else a callback may stop it
        max_steps=max(user_trainer.max_steps, NEVER) if has_end else -1,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        log_every_n_steps=NEVER if silent else settings.log_every or user_trainer.log_every_n_steps,
        accumulate_grad_batches=accumulated(user_trainer, settings),
        gradient_clip_val=user_trainer.gradient_clip_val,
        gradient_clip_algorithm=user_trainer.gradient_clip_algorithm,
        detect_anomaly=user_trainer._detect_anomaly,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=any(isinstance(each, twins(ProgressBar)) for each in callbacks),
        default_root_dir=folder,
        callbacks=list(callbacks),
        logger=loggers,
    )
    if user_trainer.world_size > 1:  # at SIGTERM its handler exchanges, whatever the others do
        vars(trainer._signal_connector).update(register_signal_handlers=nothing)
    return trainer


# What a strategy has of the fit that it is for.
_OF_A_FIT = {
    **dict.fromkeys(("_accelerator", "_checkpoint_io", "_precision_plugin", "_launcher")),
    **dict.fromkeys(("_lightning_module", "_model", "_layer_sync", "_model_averager")),
    "_pl_static_graph_delay_done": False,
}


def _devices(user_trainer: Any, settings: Settings) -> dict[str, Any]:
    """Arguments of a Trainer: where it trains, and how its ranks talk."""
    device: torch.device = user_trainer.strategy.root_device
    on_gpu = device.type == "cuda"
    arguments = {"accelerator": "gpu" if on_gpu else device.type}
    if user_trainer.world_size == 1:
        devices = [device.index or 0] if on_gpu else 1
        return arguments | {"devices": devices, "use_distributed_sampler": False}
    strategy, given = copy.copy(user_trainer.strategy), user_trainer._accelerator_connector
    vars(strategy).update(_OF_A_FIT, _optimizers=[], _lightning_optimizers=[])
    strategy.lr_scheduler_configs = []
    strategy._ddp_kwargs = strategy._ddp_kwargs | dict(settings.ddp)
    return arguments | {
        "devices": user_trainer.device_ids if on_gpu else user_trainer.num_devices,
        "num_nodes": user_trainer.num_nodes,
        "strategy": strategy,
        "sync_batchnorm": given._layer_sync is not None,
        "use_distributed_sampler": given.use_distributed_sampler,
    }


def accumulated(trainer: Any, settings: Settings = Settings()) -> int:  # noqa: B008 - it is frozen
    """Batches that the user's optimizer steps once for, in the epoch that a fit would begin with.

    Callbacks change the Trainer's number as epochs pass, and leave it changed.
    """
    if settings.accumulate:
        return settings.accumulate
    for callback in trainer.callbacks:
        if isinstance(callback, twins(GradientAccumulationScheduler)):
            return int(callback.get_accumulate_grad_batches(trainer.current_epoch))
    return int(trainer.accumulate_grad_batches)


def callbacks_by_name(trainer: Any, module: Any, copy_of_module: Any) -> dict[str, L.Callback]:
    """Copies of the user's callbacks; those that a trial cannot have are left out."""
    callbacks: dict[str, L.Callback] = {}
    for callback in trainer.callbacks:
        if not is_in_trials(callback):
            continue
        name = type(callback).__name__
        if name in callbacks:
            name = f"{name} ({sum(other.startswith(name) for other in callbacks) + 1})"
        callbacks[name] = copied(callback, {id(trainer): None, id(module): copy_of_module})
    return callbacks


def left_out(trainer: Any, module: L.LightningModule) -> list[str]:
    """What the trials do without from the beginning, each in words."""
    notes = []
    if not isinstance(trainer.profiler, (PhaseProfiler, *twins(PassThroughProfiler))):
        name = type(trainer.profiler).__name__
        notes.append(f"the trials run without {name}: its cost is left out")
    if any(map(is_compiled, module.modules())):
        notes.append("what is compiled is compiled anew, in torch's default mode")
    kinds = dict.fromkeys(map(type, trainer.loggers))
    remote = [kind.__name__ for kind in kinds if not _is_local(kind)]
    return notes + [f"nothing was sent to {name}: its cost is left out" for name in remote]


def _is_local(kind: type) -> bool:
    return any(kind in twins(local) for local in LOCAL_LOGGERS)
