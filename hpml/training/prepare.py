"""A job, prepared once: what trains, evaluates, diagnoses and counts receives the same."""

import logging
import os
import warnings
from collections.abc import Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from omegaconf import DictConfig

from hpml.checkpointing.last_and_best import Checkpoint, build_checkpoints
from hpml.config import command_line
from hpml.config.auto import device_type, on_device
from hpml.config.checks import unused_keys
from hpml.config.cpu import set_threads
from hpml.config.fingerprint import key_of
from hpml.config.group_choices import name_of
from hpml.config.lab_advice import in_the_lab
from hpml.data.build import build_data
from hpml.data.image_data_module import ImageDataModule
from hpml.models.image_classifier import ImageClassifier
from hpml.system.environment import SWEPT, usable_cores
from hpml.system.threads import SPIN, waiting
from hpml.timing.advice import JobFacts
from hpml.training.build import build_module

log = logging.getLogger("hpml")


@dataclass(frozen=True)
class Job:
    """What a configuration asks for, ready to be trained."""

    cfg: DictConfig  # with a value for each `auto`
    chosen: dict[str, Any]  # these values, by key
    device: str  # as torch calls it: cpu, cuda or mps
    data: L.LightningDataModule  # loaded
    module: L.LightningModule  # with fresh weights, drawn from `seed`

    @property
    def is_ours(self) -> bool:
        """Whether neither module nor data are the user's own."""
        return self.is_image_classifier and isinstance(self.data, ImageDataModule)

    @property
    def is_image_classifier(self) -> bool:
        """Whether `optimizer` and the like have an effect on the module."""
        return isinstance(self.module, ImageClassifier)

    @property
    def names(self) -> dict[str, str]:
        """What was chosen of data, model and optimizer."""
        return {group: name_of(self.cfg[group]) for group in ("data", "model", "optimizer")}

    def checkpoints(self, directory: Path) -> list[Checkpoint]:
        """What writes those that stay, into a run's directory."""
        return build_checkpoints(self.cfg, self.names, directory)

    @property
    def sizes(self) -> dict[str, int]:
        """Samples by split, as far as the data module has them."""
        splits = {name: getattr(self.data, name, None) for name in ("train", "val", "test")}
        return {name: len(split) for name, split in splits.items() if isinstance(split, Sized)}

    def facts(self, overrides: Sequence[str] | None = None) -> JobFacts:
        """What the advice has to know; `overrides` are the command line's if not given."""
        cfg, own = self.cfg, command_line.overrides() if overrides is None else overrides
        chosen = [word.partition("=")[2] for word in own if key_of(word) == "experiment"]
        last = chosen[-1].strip("[]") if chosen else ""  # which goes before the others
        return JobFacts(
            keys=True,
            on_gpu=self.device != "cpu",
            data_keys="pipeline" in cfg.data,
            cores=usable_cores(),
            threads=torch.get_num_threads(),
            spins=waiting() == SPIN,
            num_workers=cfg.data.get("num_workers"),
            has_searched=in_the_lab() and SWEPT in os.environ,  # in a training of the lab's
            persistent_workers=cfg.data.get("persistent_workers", False) is not False,
            pin_memory=cfg.data.get("pin_memory", False) is not False,
            pipeline=cfg.data.get("pipeline"),
            in_memory=cfg.data.get("in_memory"),
            crops_whole_images=cfg.data.get("crop") == "resized",
            reduced_precision="16" in str(cfg.trainer.precision),
            channels_last=cfg.channels_last,
            compiled=bool(cfg.compile),
            experiments=tuple(name for name in last.split(",") if name),
        )


def prepare(cfg: DictConfig) -> Job:
    """Fills in `auto` in a configuration that is checked, seeds, and makes data and module.

    Commands check it themselves, before they import torch. Warns of what has no effect. Raises
    UserError for wrong input, and whatever classes of the user's own raise.
    """
    quiet_lightning()
    cfg, chosen = on_device(cfg)
    for sentence in unused_keys(cfg):
        log.warning(sentence)
    L.seed_everything(cfg.seed, workers=True, verbose=False)
    ranks = cfg.trainer.devices
    chosen |= set_threads(cfg, ranks if type(ranks) is int and ranks > 0 else 1)
    data = build_data(cfg)
    return Job(cfg, chosen, device_type(cfg), data, build_module(cfg, data))


def quiet_lightning() -> None:
    """Leaves out what nobody can act on: greetings, a deprecation inside Lightning, and that an
    epoch has fewer steps than its loggers' interval, since we log once an epoch.
    """
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("lightning.pytorch.profilers").setLevel(logging.INFO)  # its report
    # of each that compiles, without a GPU: there is none
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    for message in (
        r".*isinstance\(treespec, LeafSpec\)",
        ".*smaller than the logging interval",
        "torch.distributed.nn.functional.all_gather is depre",
        # a run that resumes does so exactly, or not at all
        ".*ended before the epoch ended and your dataloader",
        "Checkpoint directory .* exists and is not empty",
        "The dirpath has changed from",
        # a batch script may start its one process as it likes
        "The `srun` command is available on your system",
    ):
        warnings.filterwarnings("ignore", message=message)
