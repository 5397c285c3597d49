"""From a configuration to what is counted of its model."""

import inspect
import logging
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.utils import get_class
from lightning.fabric.utilities.apply_func import apply_to_collection
from omegaconf import DictConfig, OmegaConf
from torch import Tensor
from torch.nn.parameter import is_lazy

from hpml.callbacks.batch_size import LoaderBatches
from hpml.config.auto import on_device
from hpml.config.conf import find_conf, resolve
from hpml.config.group_choices import name_of
from hpml.data.build import build_data
from hpml.data.image_data_module import ImageDataModule
from hpml.errors import UserError, first_line
from hpml.models import counts
from hpml.models.image_classifier import ImageClassifier, MakeOptimizer
from hpml.summary.first_steps import norm_shares, take_first_steps
from hpml.summary.step_watch import StepWatch, watch_step
from hpml.system.random_states import random_states_kept
from hpml.training.build import build_module
from hpml.training.prepare import quiet_lightning
from hpml.trials.batch_contents import tensors_in

log = logging.getLogger("hpml")

# Of images that are not there.
ASSUMED_SIZE, ASSUMED_CLASSES = 32, 10
TIMED_SAMPLES = 32  # of a step that is timed operator by operator
# What lists and decodes the files of images, and no more.
QUICK = {"verify": False, "in_memory": False, "batch_size": 1}
IMPORTS = "import re\n\nfrom torch import nn\nfrom torch.nn.parameter import is_lazy\n\n\n"
COUNTING = (
    counts.count_convolutions,
    counts.last_linear_inputs,
    counts.count_trainable,
    counts.count_gradients,
)


def summarize(cfg: DictConfig) -> dict[str, Any]:
    """What is counted of the model of `cfg`: the keys of the record's `model`, and more.

    Numbers are of elements, of bytes (`…_bytes…`) or of floating-point operations (`…flops…`);
    those of `layers` and of `…_per_sample` are one sample's. What could not be counted is null
    or missing, and `notes` say why. Our own data need not be there. Raises UserError.
    """
    quiet_lightning()
    compiling = "true" if cfg.compile is True else cfg.compile
    notes = [f"compile={compiling} has no effect here"] if cfg.compile else []
    if cfg.trainer.get("precision") not in (None, 32, "32", "32-true"):
        notes.append(f"trainer.precision={cfg.trainer.precision} has no effect here")
    summary = cfg.get("summary") or OmegaConf.load(find_conf() / "summary.yaml").summary
    cfg, _ = on_device(OmegaConf.create(resolve(cfg) | {"device": "cpu", "compile": False}))
    drawn = DrawnSteps(cfg, _data(cfg, notes))
    size, seeds = summary.batch_size, range(cfg.seed, cfg.seed + summary.seeds)
    module, facts = drawn.module, dict[str, Any]()
    try:
        half = drawn.step(cfg.seed, size // 2)
        steps = [drawn.step(seed, size) for seed in seeds]
        module = steps[0].module  # whose lazy layers are made
        facts = _facts_of_steps(steps[0], half, cfg.data.get("batch_size") or drawn.real_batch[1])
        count = steps[0].samples
        facts["batch"] = f"{count or 'unknown'} samples: {_batch_in_words(drawn.data)}"
        facts["nonzero_by_seed"] = {str(n): s.nonzero for n, s in zip(seeds, steps, strict=True)}
        facts["nonzero_by_optimizer"] = drawn.nonzero_by_optimizer(cfg.seed, size)
        facts |= drawn.first_steps(seeds, size, summary.get("first_steps", 0))
        if facts["gradients"] is None:
            notes.append(
                "gradients, FLOPs, memory: not counted where a module optimizes by hand "
                "(automatic_optimization=False) or gives no loss"
            )
        elif count is None:
            notes.append("FLOPs, bytes: nothing tells how many samples a batch has")
        elif steps[0].uncounted:
            notes.append(f"FLOPs: {counts.no_formula(steps[0].uncounted)}")
        if facts["gradients"] is not None and count and facts["memory_bytes"] is None:
            notes.append("memory: not counted, since the batch cannot be cut in two")
    except UserError:
        raise
    except Exception as error:
        failure = f"{type(error).__name__}: {first_line(error)}"
        notes.append(f"gradients, FLOPs, memory: not counted, a training step failed: {failure}")
    main_path, shortcuts = counts.count_convolutions(module)
    made = [parameter for parameter in module.parameters() if not is_lazy(parameter)]
    return {
        **counts.describe(module, name_of(cfg.model)),
        "conv_layers_main_path": main_path,
        "conv_layers_shortcuts": shortcuts,
        "frozen_parameters": sum(p.numel() for p in made if not p.requires_grad),
        # asked for, and not to be had of such a module
        **({"first_steps_by_seed": {}} if summary.get("first_steps") else {}),
        **facts,
        "code": IMPORTS + "\n\n".join(map(inspect.getsource, COUNTING)),
        "notes": notes,
    }


class DrawnSteps:
    """Steps whose weights and batch are drawn from a seed; the caller's random numbers stay."""

    def __init__(self, cfg: DictConfig, data: L.LightningDataModule) -> None:
        self.cfg = cfg
        self.data = data
        with random_states_kept(of_gpus=False):
            self.module = build_module(cfg, data)

    def step(self, seed: int, samples: int, optimizer: MakeOptimizer | None = None) -> StepWatch:
        """One step; `optimizer` goes before the configuration's in our own module."""
        with self._drawn(seed) as module:
            if optimizer and isinstance(module, ImageClassifier):
                module.make_optimizer = optimizer
            return watch_step(module, *self._batch(samples))

    def first_steps(self, seeds: Iterable[int], samples: int, steps: int) -> dict[str, Any]:
        """Of our own module on our own data so many steps, by seed, and the time of normalising."""
        ours = isinstance(self.module, ImageClassifier) and isinstance(self.data, ImageDataModule)
        if not (steps and ours):
            return {}
        by_seed, shares = {}, []
        for seed in seeds:
            with self._drawn(seed) as module:
                assert isinstance(module, ImageClassifier)
                (images, labels), _ = self._batch(samples)
                by_seed[str(seed)] = asdict(take_first_steps(module, images, labels, steps))
        with self._drawn(self.cfg.seed) as module:
            assert isinstance(module, ImageClassifier)
            shares = norm_shares(module, *self._batch(TIMED_SAMPLES)[0])
        of_norm = {"shares": shares, "samples": TIMED_SAMPLES} if shares else None
        return {"first_steps_by_seed": by_seed, "time_of_normalising": of_norm}

    @contextmanager
    def _drawn(self, seed: int) -> Iterator[L.LightningModule]:
        """A module whose weights are drawn from a seed; so is what is drawn meanwhile."""
        with random_states_kept(of_gpus=False), ExitStack() as stack:
            # `build_module` has said of the first module already what it would say
            stack.callback(log.setLevel, log.level)
            log.setLevel(logging.ERROR)
            torch.manual_seed(seed)
            yield build_module(self.cfg, self.data)

    @cached_property
    def real_batch(self) -> tuple[Any, int | None]:
        """The data module's first, and how many samples it has; None where that is not sure."""
        loader = self.data.train_dataloader()
        iterator = iter(loader)
        batch = next(iterator)
        samples = LoaderBatches(loader).samples(batch, iterator)
        batch = self.data.on_before_batch_transfer(batch, 0)
        return self.data.on_after_batch_transfer(batch, 0), samples

    def nonzero_by_optimizer(self, seed: int, samples: int) -> dict[str, int | None]:
        """Non-zero gradients of our own module's step with two optimizers; else nothing."""
        if not isinstance(self.module, ImageClassifier):
            return {}
        both = (torch.optim.SGD, torch.optim.Adam)
        return {make.__name__: self.step(seed, samples, make).nonzero for make in both}

    def _batch(self, samples: int) -> tuple[Any, int | None]:
        """Normally distributed images and random labels, and how many; where the data is the
        user's own, the start of a real batch, or all of it if it cannot be cut.
        """
        if isinstance(self.data, ImageDataModule):
            labels = torch.randint(self.data.num_classes, (samples,))
            return (torch.randn(samples, *self.data.image_shape), labels), samples
        batch, size = self.real_batch
        every = tensors_in(batch)
        if size is None or any(not tensor.ndim or len(tensor) != size for tensor in every):
            return apply_to_collection(batch, Tensor, torch.clone), size
        # copies: a slice would share the storage of the whole batch
        cut = apply_to_collection(batch, Tensor, lambda tensor: tensor[:samples].clone())
        return cut, min(samples, size)


def _batch_in_words(data: L.LightningDataModule) -> str:
    if not isinstance(data, ImageDataModule):
        return "the data module's first"
    shape = "×".join(map(str, data.image_shape))
    return f"random normal images of {shape}, random labels of {data.num_classes} classes"


def _data(cfg: DictConfig, notes: list[str]) -> L.LightningDataModule:
    """The data module; in its stead the shape of our own data, where it need not be loaded."""
    source: type | None = None
    with suppress(Exception):  # to build it says what is wrong
        source = get_class(cfg.data._target_)
    if source is None or not issubclass(source, ImageDataModule):
        return build_data(cfg)
    # what a class derived from one of ours holds is known to that class alone
    is_known = "shape_without_loading" in vars(source)
    shape = source.shape_without_loading(cfg.data) if is_known else None
    if shape is None:
        quick = {key: value for key, value in QUICK.items() if key in cfg.data}
        return build_data(OmegaConf.create({"data": {**cfg.data, **quick}}))
    size, classes = shape[0], shape[1] or cfg.model.get("num_classes")
    assumed = [] if size else [f"{ASSUMED_SIZE}×{ASSUMED_SIZE} pixels (data.image_size)"]
    assumed += [] if classes else [f"{ASSUMED_CLASSES} classes (model.num_classes)"]
    if assumed:
        there = Path(str(cfg.data.get("root"))).expanduser() / "train"
        notes.append(f"assumed, since {there} is not there: {' and '.join(assumed)}")
    return _Shape(size or ASSUMED_SIZE, classes or ASSUMED_CLASSES)


class _Shape(ImageDataModule):
    image_shape = (0, 0, 0)
    num_classes = 0

    def __init__(self, image_size: int, num_classes: int) -> None:
        super().__init__(mean=[], std=[])
        self.image_shape = (3, image_size, image_size)
        self.num_classes = num_classes


def _facts_of_steps(first: StepWatch, half: StepWatch, batch_size: int | None) -> dict[str, Any]:
    """What two steps with different batches show; the memory is estimated for `batch_size`.

    Of what is saved for the backward pass, the slope leaves out what does not grow with the batch.
    """
    inputs = first.of_one_sample(first.input_bytes)
    parameters = list(first.module.parameters())
    state_bytes = sum(value.nbytes for value in first.state)
    activations = memory = None
    saved, saved_of_half = first.saved_bytes, half.saved_bytes
    more = (first.samples or 0) - (half.samples or 0)
    if saved is not None and saved_of_half is not None and inputs and batch_size and more > 0:
        activations = round((saved - saved_of_half) / more)
        memory = {
            "parameters": sum(parameter.nbytes for parameter in parameters),
            "gradients": sum(p.nbytes for p in parameters if p.requires_grad),
            "optimizer_state": state_bytes,
            "buffers": sum(buffer.nbytes for buffer in first.module.buffers()),
            "activations": activations * batch_size,
            "input": round(inputs * batch_size),
        }
    return {
        "gradients": first.gradients,
        "zero_gradients": first.zeros,
        "optimizer": {
            "name": ", ".join(first.optimizers),
            "state_elements": sum(value.numel() for value in first.state),
            "state_bytes": state_bytes,
        },
        "flops_per_sample": first.of_one_sample(first.flops),
        "input_bytes_per_sample": None if inputs is None else round(inputs),
        "activation_bytes_per_sample": activations,
        "memory_bytes": memory and memory | {"total": sum(memory.values())},
        "memory_batch_size": batch_size,
        "layers": [asdict(layer) for layer in first.layers],
    }
