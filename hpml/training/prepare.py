"""A job, prepared once: what trains, evaluates, diagnoses and counts receives the same."""

import logging
import warnings
from collections.abc import Sequence, Sized
from dataclasses import dataclass
from typing import Any

import lightning as L
from omegaconf import DictConfig

from hpml.config.auto import device_type, on_device
from hpml.config.checks import unused_keys
from hpml.config.choices import name_of
from hpml.data.build import build_data
from hpml.data.image_data_module import ImageDataModule
from hpml.models.image_classifier import ImageClassifier
from hpml.timing.advice import JobFacts
from hpml.training.build import build_module
from hpml.training.job_facts import facts_of_config

log = logging.getLogger("hpml")


@dataclass(frozen=True)
class Job:
    """What a configuration asks for, ready to be trained.

    Attributes:
        cfg: the configuration, with a value for each `auto`.
        chosen: these values, by key.
        device: as torch calls it: cpu, cuda or mps.
        data: loaded.
        module: with fresh weights, drawn from `seed`.
    """

    cfg: DictConfig
    chosen: dict[str, Any]
    device: str
    data: L.LightningDataModule
    module: L.LightningModule

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

    @property
    def sizes(self) -> dict[str, int]:
        """Samples by split, as far as the data module has them."""
        splits = {name: getattr(self.data, name, None) for name in ("train", "val", "test")}
        return {name: len(split) for name, split in splits.items() if isinstance(split, Sized)}

    def facts(self, overrides: Sequence[str] | None = None) -> JobFacts:
        """What the advice has to know; `overrides` are the command line's if not given."""
        return facts_of_config(self.cfg, self.device, overrides)


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
