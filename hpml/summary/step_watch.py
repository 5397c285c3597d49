"""What one training step of a module holds: counted on the CPU, not timed."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Any, cast

import lightning as L
import torch
from lightning.fabric.utilities.apply_func import apply_to_collection
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.utilities.seed import isolate_rng
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.parameter import is_lazy
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from hpml.data.image_data_module import ImageDataModule
from hpml.models import counts
from hpml.models.image_classifier import ImageClassifier, MakeOptimizer
from hpml.training.build import build_module

log = logging.getLogger("hpml")

# Their gradients depend on nothing but their input and the gradient at their output.
LINEAR_IN_WEIGHTS = (nn.modules.conv._ConvNd, nn.Linear)


class Shape(ImageDataModule):
    """Stands for images that need not be there: their shape and number of classes alone."""

    image_shape = (0, 0, 0)
    num_classes = 0

    def __init__(self, image_size: int, num_classes: int) -> None:
        super().__init__(mean=[], std=[])
        self.image_shape = (3, image_size, image_size)
        self.num_classes = num_classes


@dataclass
class Layer:
    """A layer as one step showed it; shape and FLOPs are those of one sample's forward pass."""

    name: str
    type: str
    parameters: int
    shape: list[int] | None = None
    calls: int = 0
    flops: float = 0.0


class StepWatch(L.Callback):
    """Counts during the first training step of any module, and ends the fit behind it.

    Logs nothing. What a module does not show, because it optimizes manually say, stays None.
    """

    class Done(Exception):  # noqa: N818 - ends the fit, is no error
        """The step is over."""

    def __init__(self) -> None:
        self.module: L.LightningModule | None = None
        self.samples = 0
        self.input_bytes = 0
        self.layers: list[Layer] = []
        self.saved_bytes: int | None = None
        self.flops: int | None = None
        self.gradients: int | None = None
        self.nonzero: int | None = None
        self.zeros: list[dict[str, Any]] = []
        self.optimizers: list[str] = []
        self.state: list[Tensor] = []
        self._by_layer: dict[nn.Module, Layer] = {}
        self._running: list[Layer] = []
        self._flops_before = 0
        self._saved: dict[int, int] = {}
        self._masks: list[tuple[nn.Module, Tensor, Tensor]] = []
        self._until_backward, self._until_counted = ExitStack(), ExitStack()
        self._counter = FlopCounterMode(display=False)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Starts to watch layers, FLOPs, and what is saved for the backward pass."""
        self.module = pl_module
        self._batch = tensors_of(batch)
        self.samples = len(self._batch[0])
        self.input_bytes = sum(tensor.nbytes for tensor in self._batch)
        self._until_counted.enter_context(self._counter)
        for name, layer in network_of(pl_module).named_modules():
            own = list(layer.parameters(recurse=False))
            if own or not list(layer.children()):
                size = sum(parameter.numel() for parameter in own if not is_lazy(parameter))
                self._by_layer[layer] = Layer(name or "(itself)", type(layer).__name__, size)
                for handle in (
                    layer.register_forward_pre_hook(self._enters),
                    layer.register_forward_hook(self._leaves),
                ):
                    self._until_backward.callback(handle.remove)
        self._until_backward.enter_context(saved_tensors_hooks(self._pack, lambda saved: saved))

    def on_before_backward(
        self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor
    ) -> None:
        """Adds up what was saved: storages, each once, but for weights, buffers and the batch."""
        self._until_backward.close()
        for tensor in (*pl_module.parameters(), *pl_module.buffers(), *self._batch):
            self._saved.pop(tensor.untyped_storage().data_ptr(), None)
        self.saved_bytes = sum(self._saved.values())

    def on_after_backward(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Counts the gradients, before the optimizer has done anything."""
        self._until_counted.close()
        if self.gradients is None:
            self.flops = self._counter.get_total_flops()
            self.gradients, self.nonzero = counts.count_gradients(pl_module)
            if self.nonzero < self.gradients:
                self._find_zeros(network_of(pl_module))

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Looks at the optimizers' state after their first step. Raises Done."""
        self.layers = [row for row in self._by_layer.values() if row.calls or row.parameters]
        self.optimizers = [type(optimizer).__name__ for optimizer in trainer.optimizers]
        states = [state for optimizer in trainer.optimizers for state in optimizer.state.values()]
        kept = [value for state in states for value in state.values()]
        self.state = [value for value in kept if isinstance(value, Tensor) and value.ndim]
        if not pl_module.automatic_optimization:  # one step may hold several passes
            self.saved_bytes = self.flops = self.gradients = self.nonzero = None
            self.zeros = []
        raise self.Done

    def close(self) -> None:
        """Stops watching, wherever the step ended."""
        self._until_backward.close()
        self._until_counted.close()

    def _pack(self, tensor: Tensor) -> Tensor:
        if tensor.layout == torch.strided:
            storage = tensor.untyped_storage()
            self._saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    def _enters(self, layer: nn.Module, inputs: Any) -> None:
        self._book_flops()
        self._running.append(self._by_layer[layer])

    def _leaves(self, layer: nn.Module, inputs: Any, output: Any) -> None:
        self._book_flops()
        row = self._running.pop()
        row.calls += 1
        row.parameters = sum(parameter.numel() for parameter in layer.parameters(recurse=False))
        outputs = tensors_of(output)
        if outputs:
            shape = list(outputs[0].shape)
            row.shape = shape[1:] if shape[:1] == [self.samples] else shape
        if isinstance(layer, LINEAR_IN_WEIGHTS) and output.requires_grad:
            given = inputs[0].detach() != 0
            output.register_hook(lambda grad: self._masks.append((layer, given, grad != 0)))

    def _book_flops(self) -> None:
        """Gives what was computed since the last call to the layer that runs, and to no other."""
        total = self._counter.get_total_flops()
        if self._running:
            self._running[-1].flops += (total - self._flops_before) / self.samples
        self._flops_before = total

    def _find_zeros(self, network: nn.Module) -> None:
        """Says for each parameter how many elements of its gradient are zero, and of how many of
        them the reason is seen.

        An element of a weight's gradient is a sum, over samples and places, of products of an
        input and a gradient at the output. With ones in place of what is not zero, the same sum
        counts the products that can differ from zero.
        """
        products: dict[nn.Parameter, Tensor] = {}
        for layer, given, arriving in self._masks:
            own = [p for p in layer.parameters(recurse=False) if p.grad is not None]
            if all(p.grad is not None and bool(p.grad.all()) for p in own):
                continue
            with torch.enable_grad():
                output = layer.forward(given.to(own[0].dtype))
            sums = torch.autograd.grad(output, own, arriving.to(own[0].dtype))
            for parameter, summed in zip(own, sums, strict=True):
                products[parameter] = products.get(parameter, torch.zeros(())) + summed
        for name, parameter in network.named_parameters():
            zero = torch.zeros(()) if parameter.grad is None else parameter.grad == 0
            if zero.any():
                possible = products.get(parameter, torch.ones(())) > 0.5
                row = {"parameter": name, "elements": parameter.numel(), "zeros": int(zero.sum())}
                self.zeros.append(row | {"without_product": int((zero & ~possible).sum())})


def network_of(module: L.LightningModule) -> nn.Module:
    """What a person calls the network: without our module around it."""
    return module.network if isinstance(module, ImageClassifier) else module


def tensors_of(batch: Any) -> list[Tensor]:
    """The tensors in a batch, in whatever it is made of."""
    found: list[Tensor] = []
    apply_to_collection(batch, Tensor, found.append)
    return found


def watch_step(module: L.LightningModule, batch: Any) -> StepWatch:
    """Lets a Trainer take one step of a module with a batch, on the CPU.

    A real Trainer, so that a module of the user's own finds all that it may ask for.
    """
    watch = StepWatch()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice about loading and logging
        trainer = L.Trainer(
            accelerator="cpu",
            devices=1,
            plugins=[LightningEnvironment()],  # one process, in a SLURM allocation too
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            limit_val_batches=0,
            max_steps=1,
            callbacks=[watch],
        )
        one_batch: DataLoader[Any] = DataLoader(cast(Any, [batch]), batch_size=None)
        try:
            trainer.fit(module, one_batch)
        except StepWatch.Done:
            pass
        finally:
            watch.close()
    return watch


class Drawing:
    """Draws weights and a batch from a seed and takes a step, as often as it is asked to.

    The random numbers of whoever calls it stay as they are.
    """

    def __init__(self, cfg: DictConfig, data: L.LightningDataModule) -> None:
        self.cfg = cfg
        self.data = data
        with isolate_rng(include_cuda=False):
            self.module = build_module(cfg, data)
        self.real_batch: Any = None

    def step(self, seed: int, samples: int, optimizer: MakeOptimizer | None = None) -> StepWatch:
        """One step; `optimizer` goes before the configuration's in our own module."""
        with isolate_rng(include_cuda=False), _silent():
            torch.manual_seed(seed)
            module = build_module(self.cfg, self.data)
            if optimizer and isinstance(module, ImageClassifier):
                module.make_optimizer = optimizer
            return watch_step(module, self._batch(samples))

    @property
    def real_size(self) -> int:
        """How many samples a real batch has."""
        return len(tensors_of(self.real_batch)[0])

    def nonzero_by_optimizer(self, seed: int, samples: int) -> dict[str, int | None]:
        """Non-zero gradients of our own module's step with two optimizers; else nothing."""
        if not isinstance(self.module, ImageClassifier):
            return {}
        both: tuple[MakeOptimizer, ...] = (torch.optim.SGD, torch.optim.Adam)
        return {make.__name__: self.step(seed, samples, make).nonzero for make in both}

    def _batch(self, samples: int) -> Any:
        """Normally distributed images and random labels; where the data is the user's own, the
        start of a real batch, or all of it if it cannot be cut.
        """
        if isinstance(self.data, ImageDataModule):
            labels = torch.randint(self.data.num_classes, (samples,))
            return torch.randn(samples, *self.data.image_shape), labels
        if self.real_batch is None:
            batch = next(iter(self.data.train_dataloader()))
            batch = self.data.on_before_batch_transfer(batch, 0)
            self.real_batch = self.data.on_after_batch_transfer(batch, 0)
        size = self.real_size

        def cut(tensor: Tensor) -> Tensor:
            has_samples = tensor.ndim and len(tensor) == size
            # a copy: a slice would share the storage of the whole batch
            return tensor[:samples].clone() if has_samples else tensor

        return apply_to_collection(self.real_batch, Tensor, cut)


@contextmanager
def _silent() -> Iterator[None]:
    """Keeps back what `build_module` has said of the first module already."""
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def facts_of(first: StepWatch, half: StepWatch, batch_size: int) -> dict[str, Any]:
    """What two steps with different batches show; the memory is estimated for `batch_size`.

    What is saved for the backward pass grows with the batch; the slope between the two leaves out
    what does not.
    """
    assert first.module is not None
    activations = None
    if None not in (first.saved_bytes, half.saved_bytes) and first.samples > half.samples:
        grown = first.saved_bytes - half.saved_bytes  # type: ignore[operator]
        activations = round(grown / (first.samples - half.samples))
    inputs = first.input_bytes / first.samples
    parameters = list(first.module.parameters())
    state_bytes = sum(value.nbytes for value in first.state)
    memory = None
    if activations is not None:
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
        "flops_per_sample": None if first.flops is None else first.flops / first.samples,
        "input_bytes_per_sample": round(inputs),
        "activation_bytes_per_sample": activations,
        "memory_bytes": memory and memory | {"total": sum(memory.values())},
        "memory_batch_size": batch_size,
        "layers": [asdict(layer) for layer in first.layers],
    }
