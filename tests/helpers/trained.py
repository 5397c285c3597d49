"""A run in this process, with all that the tests look at."""

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import TestCase

import torch
from omegaconf import DictConfig
from torch import Tensor

from helpers.configurations import composed
from helpers.own import hooked
from hpml.records.run_record import RunRecord
from hpml.train import train


@dataclass
class Trained:
    """A run that has completed."""

    cfg: DictConfig
    record: RunRecord = field(init=False)
    first_weights: dict[str, Tensor] = field(default_factory=dict)  # copies
    batches: list[list[Tensor]] = field(default_factory=list)  # as they reached the module
    losses: list[float] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)  # the Trainer's, at the end
    messages: str = ""  # all that it has printed
    graphs: int | None = None  # how many were compiled, where somebody has counted

    @property
    def folder(self) -> Path:
        return Path(self.cfg.run_dir)

    @property
    def last(self) -> Path:
        return self.folder / "checkpoints" / "last.ckpt"

    @property
    def weights(self) -> dict[str, Tensor]:
        """Those of its last checkpoint."""
        return torch.load(self.last, weights_only=True)["state_dict"]


def last_weights(run: Path) -> dict[str, bytes]:
    """Those of the last checkpoint of a run, bit for bit."""
    state = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return {name: value.numpy().tobytes() for name, value in state.items()}


def trained(run_dir: Path, *overrides: str, **groups: dict[str, Any]) -> Trained:
    """Trains as configured, with a callback that only looks on."""

    def begin(trainer: Any, module: Any) -> None:
        run.first_weights |= copy.deepcopy(module.state_dict())

    def note(trainer: Any, module: Any, outputs: Any, batch: Any, *_: Any) -> None:
        run.batches.append(batch)
        run.losses.append(float(outputs["loss"]))

    def end(trainer: Any, module: Any) -> None:
        run.metrics |= {name: float(value) for name, value in trainer.callback_metrics.items()}

    watch = hooked(on_train_start=begin, on_train_batch_end=note, on_fit_end=end)
    run = Trained(composed(run_dir, *overrides, watch, **groups))
    with TestCase().assertLogs("hpml") as printed:
        run.record = train(run.cfg)
    run.messages = "\n".join(message.getMessage() for message in printed.records)
    return run
