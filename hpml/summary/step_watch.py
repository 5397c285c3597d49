"""What one training step of a module holds: counted on the CPU, not timed."""

import warnings
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from typing import Any, cast

import lightning as L
import torch
from lightning.pytorch.plugins.environments import LightningEnvironment
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.parameter import is_lazy
from torch.utils.data import DataLoader

from hpml.models import counts
from hpml.models.flops import FlopCounter
from hpml.models.image_classifier import ImageClassifier
from hpml.trials.batch_contents import tensors_in

# Layers whose gradients depend on nothing but their input and the gradient at their output.
LINEAR_IN_WEIGHTS = (nn.modules.conv._ConvNd, nn.Linear)


@dataclass
class Layer:
    """A layer as one step showed it; shape and FLOPs are those of one sample's forward pass."""

    name: str
    type: str
    parameters: int
    shape: list[int] | None = None
    calls: int = 0
    flops: float | None = 0.0  # None where an operation of it has no formula


class StepWatch(L.Callback):
    """Counts during the first training step of any module, and ends the fit behind it.

    Logs nothing. What a module does not show, because it optimizes manually say, stays None. So do
    figures of one sample where nobody knows how many `samples` the batch has.
    """

    class Done(Exception):  # noqa: N818 - ends the fit, is no error
        """The step is over."""

    module: L.LightningModule
    input_bytes: int
    layers: list[Layer]
    optimizers: list[str]
    state: list[Tensor]
    saved_bytes: int | None = None
    flops: int | None = None
    uncounted: list[str]  # operations without a formula
    gradients: int | None = None
    nonzero: int | None = None

    def __init__(self, samples: int | None) -> None:
        self.samples = samples
        self.zeros: list[dict[str, Any]] = []
        self._by_layer: dict[nn.Module, Layer] = {}
        self._running: list[Layer] = []
        self._flops_before, self._unknown_before = 0, 0
        self._saved: dict[int, int] = {}
        self._zero_gradients = ZeroGradients()
        self._until_backward, self._until_counted = ExitStack(), ExitStack()
        self._counter = FlopCounter()
        self.uncounted = self._counter.uncounted

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.module = pl_module
        self._batch = tensors_in(batch)
        self.input_bytes = sum(tensor.nbytes for tensor in self._batch)
        self._until_counted.enter_context(self._counter)
        self._until_backward.callback(self._book_flops)
        for name, layer in network_of(pl_module).named_modules():
            own = [p for p in layer.parameters(recurse=False) if not is_lazy(p)]
            size = sum(parameter.numel() for parameter in own)
            self._by_layer[layer] = Layer(name or "(itself)", type(layer).__name__, size)
            self._until_backward.enter_context(layer.register_forward_pre_hook(self._enters))
            self._until_backward.enter_context(layer.register_forward_hook(self._leaves))
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
            self.flops = None if self.uncounted else self._counter.total
            self.gradients, self.nonzero = counts.count_gradients(pl_module)
            if self.nonzero < self.gradients:
                self.zeros = self._zero_gradients.rows(network_of(pl_module))

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Looks at the optimizers' state after their first step. Raises Done."""
        self.layers = [row for layer, row in self._by_layer.items() if _is_shown(layer, row)]
        for row in self.layers:
            row.flops = self.of_one_sample(row.flops)
        self.optimizers = [type(optimizer).__name__ for optimizer in trainer.optimizers]
        states = [state for optimizer in trainer.optimizers for state in optimizer.state.values()]
        kept = [value for state in states for value in state.values()]
        self.state = [value for value in kept if isinstance(value, Tensor) and value.ndim]
        if not pl_module.automatic_optimization:  # one step may hold several passes
            self.saved_bytes = self.flops = self.gradients = self.nonzero = None
            self.zeros = []
        raise self.Done

    def of_one_sample(self, figure: float | None) -> float | None:
        return figure / self.samples if self.samples and figure is not None else None

    def close(self) -> None:
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
        if outputs := tensors_in(output):
            shape = list(outputs[0].shape)
            row.shape = shape[1:] if shape[:1] == [self.samples] else shape
        self._zero_gradients.watch(layer, inputs, output)

    def _book_flops(self) -> None:
        """Gives what was computed since the last call to the layer that runs, and to no other.

        So they add up to the forward pass. torch's counter keeps FLOPs by module too, but under
        names that it makes of classes: where a step calls layers directly, all its Linear layers
        share one sum, a layer counts again in those around it, and a shared layer has another name
        than in `named_modules`.
        """
        total, unknown = self._counter.total, len(self.uncounted)
        root = next(iter(self._by_layer.values()))  # what no layer computes is the network's own
        row = self._running[-1] if self._running else root
        if unknown > self._unknown_before:
            row.flops = None
        elif row.flops is not None:
            row.flops += total - self._flops_before
        self._flops_before, self._unknown_before = total, unknown


def _is_shown(layer: nn.Module, row: Layer) -> bool:
    """Layers as such, and what computes something besides its layers."""
    return bool(row.parameters or row.flops != 0 or (row.calls and not list(layer.children())))


class ZeroGradients:
    """Watches the layers of one step, and afterwards explains its zeros.

    An element of a weight's gradient is a sum, over samples and places, of products of an input and
    a gradient at the output. With ones in place of what is not zero, the same sum counts the
    products that can differ from zero.
    """

    def __init__(self) -> None:
        self._masks: list[tuple[nn.Module, Tensor, Tensor]] = []

    def watch(self, layer: nn.Module, inputs: Any, output: Any) -> None:
        """Keeps what a layer that has just run was given."""
        if isinstance(layer, LINEAR_IN_WEIGHTS) and output.requires_grad:
            given = inputs[0].detach() != 0
            output.register_hook(lambda grad: self._masks.append((layer, given, grad != 0)))

    def rows(self, network: nn.Module) -> list[dict[str, Any]]:
        """After a backward pass: each parameter with zeros, and how many have no product."""
        products = self._possible_products()
        rows = []
        for name, parameter in network.named_parameters():
            zero = torch.zeros(()) if parameter.grad is None else parameter.grad == 0
            if zero.any():
                possible = products.get(parameter, torch.ones(())) > 0.5
                row = {"parameter": name, "elements": parameter.numel(), "zeros": int(zero.sum())}
                rows.append(row | {"without_product": int((zero & ~possible).sum())})
        return rows

    def _possible_products(self) -> dict[nn.Parameter, Tensor]:
        """How many products of each element can differ from zero, where a gradient has a zero."""
        products: dict[nn.Parameter, Tensor] = {}
        for layer, given, arriving in self._masks:
            own = [p for p in layer.parameters(recurse=False) if p.grad is not None]
            if all(bool(p.grad.all()) for p in own if p.grad is not None):
                continue
            with torch.enable_grad():
                output = layer.forward(given.to(own[0].dtype))
            sums = torch.autograd.grad(output, own, arriving.to(own[0].dtype))
            for parameter, summed in zip(own, sums, strict=True):
                products[parameter] = products.get(parameter, torch.zeros(())) + summed
        return products


def network_of(module: L.LightningModule) -> nn.Module:
    """What a person calls the network: without our module around it."""
    return module.network if isinstance(module, ImageClassifier) else module


def watch_step(module: L.LightningModule, batch: Any, samples: int | None) -> StepWatch:
    """Lets a Trainer, for which a module may ask, take one step with a batch, on the CPU."""
    watch = StepWatch(samples)
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
        with closing(watch), suppress(StepWatch.Done):
            trainer.fit(module, one_batch)
    return watch
