"""The LightningDataModule around a set of images: splits, loaders, the work on the device."""

import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal, get_args

import lightning as L
import numpy as np
import torch
from lightning.pytorch.trainer.states import RunningStage, TrainerFn
from torch import Tensor
from torch.utils.data import DataLoader

from hpml.data.augment import Flip, draw, normalize
from hpml.data.pipelines import (
    Batched,
    DeviceBatch,
    Drawing,
    OnDevice,
    PerSample,
    ResidentSet,
    Split,
    as_is,
)
from hpml.data.sampling import EpochSampler, RepeatingSampler, cut, permutation
from hpml.data.storage import ImageSet
from hpml.data.thread_loader import ThreadLoader
from hpml.data.worker_watchdog import send_feeder_errors
from hpml.errors import DataError
from hpml.system.environment import usable_cores

log = logging.getLogger("hpml")

# Which samples are held out for validation, or form a subset, is the same for every seed: repeats
# over seeds are repeats on the same data.
SUBSET_SEED = 0

# torch and Lightning guess what would make loading faster; here that is measured.
GUESSES = (
    "This DataLoader will create .* worker processes in total",
    ".*does not have many workers which may be a bottleneck.*",
    "Consider setting `persistent_workers=True`.*",
)

PipelineName = Literal["per_sample", "batched", "device"]
WorkerKind = Literal["processes", "threads"]
# Pixels of an image's side, and number of classes, where there are any.
Shape = tuple[int | None, int | None] | None


@dataclass(kw_only=True, eq=False, repr=False)
class ImageDataModule(L.LightningDataModule):
    """What all sources of images share; a source derives from it and says how to `load`.

    A new one is a file here and `conf/data/NAME.yaml`; `image_folder.py` is the one to copy.
    After `setup` there are `num_classes`, `train`, `val` (None without `val_split`) and `test`
    (None where the data has no test set). Validation runs on `val`, or on `test` without it.
    """

    # What may be kept on a GPU as a whole, for it is in the host's memory anyway.
    holds_pixels: ClassVar = False
    choices: ClassVar = {"pipeline": PipelineName, "workers": WorkerKind}

    seed: int = 0  # decides the order of the samples and their augmentation
    batch_size: int = 128  # samples a step, on each device
    num_workers: int = 0  # that load; 0 loads in the training process
    workers: WorkerKind = "processes"  # or threads: see `hpml.data.thread_loader`
    pipeline: PipelineName = "batched"  # see `hpml.data.pipelines`
    eval_batch_size: int | None = None  # samples a step of validation and test; None for batch_size
    augment: bool = True  # random crop and flip of the training samples
    flip: Flip = "random"  # see `hpml.data.augment.draw`
    val_split: float = 0.0  # fraction of the training set that is kept for validation
    train_samples: int | None = None  # how many to use, drawn evenly; None for all
    test_samples: int | None = None  # the same
    drop_last: bool = False  # leave out an epoch's last batch where it is short
    persistent_workers: bool | None = None  # keep them between epochs; None for yes where any are
    prefetch_factor: int | None = None  # batches that each loads ahead; None for torch's default
    timeout_s: float | None = 300.0  # a wait for workers that `ended_if_hung` ends; None for no end
    pin_memory: bool | None = None  # None for yes where the Trainer's device is CUDA
    mean: list[float]  # of the channels, in fractions of full intensity
    std: list[float]  # the same

    def __post_init__(self) -> None:
        super().__init__()
        for key, kind in self.choices.items():
            if getattr(self, key) not in get_args(kind):
                names = ", ".join(get_args(kind))
                raise ValueError(f"{key}={getattr(self, key)!r}: give one of {names}")
        if self.pipeline == "device":
            self.num_workers = 0
        self.loaded: ImageSet | None = None
        self.train: Split | None = None
        self.val: Split | None = None
        self.test: Split | None = None
        self._resident: dict[tuple[bool, torch.device], ResidentSet] = {}
        self._constants: dict[torch.device, tuple[Tensor, Tensor]] = {}
        self._begins_at: tuple[int, int] | None = None  # epoch and batches of it that are done

    @classmethod
    def shape_without_loading(cls, settings: Mapping[str, Any]) -> Shape:
        """As far as `data`'s keys tell; None where the data has to be looked at."""
        return None

    def load(self) -> ImageSet:
        """Reads or makes the data set. Raises DataError, or OSError for an unreadable folder."""
        raise NotImplementedError

    def drawing(self) -> Drawing:
        """How a training sample is augmented."""
        return partial(draw, self.seed, flip=self.flip)

    @property
    def num_classes(self) -> int:
        return len(self._set_up.classes)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self._set_up.train.image_shape

    @property
    def _set_up(self) -> ImageSet:
        assert self.loaded is not None, "setup comes first"
        return self.loaded

    def setup(self, stage: str | None = None) -> None:
        """Loads and splits the data, once. Raises DataError."""
        if self.loaded is not None:
            return
        try:
            loaded = self.load()
        except OSError as error:
            raise DataError(f"{error.filename}: {error.strerror}") from error
        chosen = _subset(len(loaded.train), self.train_samples, "data.train_samples", loaded.where)
        held_out = round(len(chosen) * self.val_split)
        if self.val_split and not 0 < held_out < len(chosen):
            raise DataError(
                f"data.val_split={self.val_split}: leaves no sample for training or validation "
                f"of the {len(chosen)} in {loaded.where}"
            )
        drawing = self.drawing() if self.augment else None
        self.train = Split(loaded.train, np.sort(chosen[held_out:]), drawing)
        if held_out:
            self.val = Split(loaded.train, np.sort(chosen[:held_out]), None)
        if loaded.test:
            chosen = _subset(len(loaded.test), self.test_samples, "data.test_samples", loaded.where)
            self.test = Split(loaded.test, np.sort(chosen), None)
        elif not held_out:
            raise DataError(f"{loaded.where}: has no test set; give data.val_split=0.1, say")
        if len(self.train) < self.batch_size:
            raise DataError(
                f"data.batch_size={self.batch_size}: the training set has only "
                f"{len(self.train)} samples ({loaded.where})"
            )
        self.loaded = loaded

    def train_dataloader(self) -> DataLoader[Any]:
        """The shuffled, augmented training batches of the epoch where the Trainer stands."""
        assert self.train is not None, "setup comes first"
        loader = self._loader(self.train)
        if self.trainer is not None:
            # Workers ask the sampler for its order before Lightning tells it the epoch.
            sampler = loader.sampler
            assert isinstance(sampler, EpochSampler)
            loop: Any = self.trainer.fit_loop
            epoch = loop.epoch_progress.current.processed
            batches = loop.epoch_loop.batch_progress.current.processed if loop.restarting else 0
            if self._begins_at is not None:  # Lightning may not have restored its progress yet
                epoch, batches = self._begins_at
                self._begins_at = None
            done = batches * self.batch_size * sampler.num_replicas
            sampler.set_position(epoch, done if done < sampler.stop else 0)
        return loader

    def begin_at(self, epoch: int, batches: int) -> None:
        """Has the next training loader begin in the middle of an epoch, after so many batches."""
        self._begins_at = epoch, batches

    def val_dataloader(self) -> DataLoader[Any]:
        return self._loader(self.val) if self.val else self.test_dataloader()

    def test_dataloader(self) -> DataLoader[Any]:
        if self.test is None:
            raise DataError(f"{self._set_up.where}: has no test set")
        return self._loader(self.test)

    def _loader(self, split: Split) -> DataLoader[Any]:
        for guess in GUESSES:
            warnings.filterwarnings("ignore", message=guess)
        shuffle, is_test, trainer = split is self.train, split is self.test, self.trainer
        device = trainer.strategy.root_device if trainer else torch.device("cpu")
        stage = self._stage_asking(shuffle)
        if self.pipeline == "device" and trainer:  # now, not in the first batch
            self._resident_set(is_test, device)
        pipelines: dict[str, Any] = {
            "per_sample": partial(PerSample, mean=self.mean, std=self.std),
            "batched": Batched,
            "device": partial(OnDevice, is_test=is_test),
        }
        threads = self.workers == "threads" and self.num_workers > 0
        loader: DataLoader[Any] = (ThreadLoader if threads else DataLoader)(
            pipelines[self.pipeline](split),
            batch_size=self.batch_size if shuffle else self.eval_batch_size or self.batch_size,
            sampler=self._sampler(split, repeats=stage is not None and _overfits(trainer)),
            num_workers=self.num_workers,
            worker_init_fn=send_feeder_errors if self.num_workers else None,
            collate_fn=as_is,
            drop_last=shuffle and self.drop_last,
            persistent_workers=self.num_workers > 0 and self.persistent_workers is not False,
            prefetch_factor=self.prefetch_factor if self.num_workers else None,
            pin_memory=device.type == "cuda" and self.pin_memory is not False,
            # without one of its own, a loader draws from the global generator at each epoch
            generator=torch.Generator().manual_seed(self.seed),
            timeout=(self.timeout_s or 0) if threads else 0,  # processes: see `ended_if_hung`
        )
        if trainer is not None and stage is not None:  # workers would make more, for nobody
            is_check = stage == RunningStage.SANITY_CHECKING
            limit = getattr(trainer, f"limit_{stage.dataloader_prefix}_batches")
            cut(loader, limit, trainer.num_sanity_val_steps if is_check else None)
        if self.num_workers > (cores := usable_cores()) and shuffle:
            log.warning(f"data.num_workers={self.num_workers} on {cores} usable cores")
        return loader

    def _stage_asking(self, for_training: bool) -> RunningStage | None:
        """The Trainer's stage that asks for a loader; None where a person does, who gets all."""
        stage = self.trainer.state.stage if self.trainer else None
        return stage if (stage == RunningStage.TRAINING) == for_training else None

    def _sampler(self, split: Split, repeats: bool) -> EpochSampler:
        shuffle, trainer = split is self.train, self.trainer
        place = {"rank": trainer.global_rank, "world_size": trainer.world_size} if trainer else {}
        kind = RepeatingSampler if repeats else EpochSampler
        sampler = kind(len(split), seed=self.seed, shuffle=shuffle, **place)
        if shuffle and len(sampler) < self.batch_size:
            raise DataError(
                f"data.batch_size={self.batch_size}: each of {sampler.num_replicas} processes "
                f"has only {len(sampler)} training samples"
            )
        return sampler

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Raises the DataError that a loader met, here in the training process."""
        if isinstance(batch, DataError):
            batch.on_all_ranks = False
            raise batch
        return batch

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> tuple[Tensor, Tensor]:
        """Finishes a batch on the device: images (B, 3, H, W) in the Trainer's precision, float32
        without one, and int64 labels (B,)."""
        if isinstance(batch, DeviceBatch):
            images, labels = self._resident_set(batch.is_test, batch.indices.device).take(batch)
        else:
            images, labels = batch
        if images.dtype == torch.uint8:
            images = normalize(images, *self._mean_and_std(images.device))
            if self.trainer is not None:  # which has seen the batch when it was uint8 still
                images = self.trainer.precision_plugin.convert_input(images)
        return images, labels

    def _resident_set(self, is_test: bool, device: torch.device) -> ResidentSet:
        key = is_test, device
        if key not in self._resident:
            source = self._set_up.test if is_test else self._set_up.train
            assert source is not None
            splits = [self.test] if is_test else [self.train, self.val]
            used = np.concatenate([split.indices for split in splits if split is not None])
            self._resident[key] = ResidentSet(source, np.sort(used), device)
        return self._resident[key]

    def _mean_and_std(self, device: torch.device) -> tuple[Tensor, Tensor]:
        if device not in self._constants:
            numbers = torch.tensor([self.mean, self.std], device=device)
            mean, std = numbers.view(2, 3, 1, 1)
            self._constants[device] = mean, std
        return self._constants[device]


def _overfits(trainer: Any) -> bool:
    return trainer.state.fn == TrainerFn.FITTING and trainer.overfit_batches > 0


def _subset(size: int, wanted: int | None, key: str, where: str) -> np.ndarray:
    """Indices in random order: all, or as many as wanted. Raises DataError if there are fewer."""
    if wanted is not None and wanted > size:
        raise DataError(f"{key}={wanted}: there are only {size} in {where}")
    return permutation(SUBSET_SEED, 0, size)[:wanted]
