"""Training steps with weights and batches that are drawn from a seed."""

import logging
from contextlib import ExitStack
from functools import cached_property
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.apply_func import apply_to_collection
from lightning.pytorch.utilities.seed import isolate_rng
from omegaconf import DictConfig
from torch import Tensor

from hpml.data.image_data_module import ImageDataModule
from hpml.models.image_classifier import ImageClassifier, MakeOptimizer
from hpml.summary.step_watch import StepWatch, tensors_of, watch_step
from hpml.training.build import build_module

log = logging.getLogger("hpml")


class DrawnSteps:
    """Steps whose weights and batch are drawn from a seed; the caller's random numbers stay."""

    def __init__(self, cfg: DictConfig, data: L.LightningDataModule) -> None:
        self.cfg = cfg
        self.data = data
        with isolate_rng(include_cuda=False):
            self.module = build_module(cfg, data)

    def step(self, seed: int, samples: int, optimizer: MakeOptimizer | None = None) -> StepWatch:
        """One step; `optimizer` goes before the configuration's in our own module."""
        with isolate_rng(include_cuda=False), ExitStack() as stack:
            # `build_module` has said of the first module already what it would say
            stack.callback(log.setLevel, log.level)
            log.setLevel(logging.ERROR)
            torch.manual_seed(seed)
            module = build_module(self.cfg, self.data)
            if optimizer and isinstance(module, ImageClassifier):
                module.make_optimizer = optimizer
            return watch_step(module, self._batch(samples))

    @cached_property
    def real_batch(self) -> Any:
        batch = next(iter(self.data.train_dataloader()))
        batch = self.data.on_before_batch_transfer(batch, 0)
        return self.data.on_after_batch_transfer(batch, 0)

    @property
    def real_size(self) -> int:
        """How many samples a real batch has."""
        return len(tensors_of(self.real_batch)[0])

    def nonzero_by_optimizer(self, seed: int, samples: int) -> dict[str, int | None]:
        """Non-zero gradients of our own module's step with two optimizers; else nothing."""
        if not isinstance(self.module, ImageClassifier):
            return {}
        both = (torch.optim.SGD, torch.optim.Adam)
        return {make.__name__: self.step(seed, samples, make).nonzero for make in both}

    def _batch(self, samples: int) -> Any:
        """Normally distributed images and random labels; where the data is the user's own, the
        start of a real batch, or all of it if it cannot be cut.
        """
        if isinstance(self.data, ImageDataModule):
            labels = torch.randint(self.data.num_classes, (samples,))
            return torch.randn(samples, *self.data.image_shape), labels

        def cut(tensor: Tensor) -> Tensor:
            has_samples = tensor.ndim and len(tensor) == self.real_size
            # a copy: a slice would share the storage of the whole batch
            return tensor[:samples].clone() if has_samples else tensor

        return apply_to_collection(self.real_batch, Tensor, cut)
