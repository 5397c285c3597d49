"""What a network is made of, counted: layers, parameters, gradients, FLOPs."""

import copy
import re
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from hpml.models.flops import FlopCounter


def describe(module: nn.Module, name: str) -> dict[str, Any]:
    """The record's `model`: what is counted without running the network."""
    return {
        "name": name,
        "conv_layers": sum(count_convolutions(module)),
        "linear_in_features": last_linear_inputs(module),
        "trainable_parameters": count_trainable(module),
        "gradients": None,
        "flops_per_sample": None,
    }


# `python -m hpml.summary` prints the next four as they stand here.
def count_convolutions(network: nn.Module) -> tuple[int, int]:
    """Convolutions on the main path, and on shortcuts, which their names show."""
    convolution = nn.modules.conv._ConvNd
    names = [name for name, layer in network.named_modules() if isinstance(layer, convolution)]
    shortcuts = [name for name in names if re.search("downsample|shortcut|skip", name)]
    return len(names) - len(shortcuts), len(shortcuts)


def last_linear_inputs(network: nn.Module) -> int | None:
    """Input features of the last linear layer, if there is one."""
    inputs = [layer.in_features for layer in network.modules() if isinstance(layer, nn.Linear)]
    return inputs[-1] if inputs else None


def count_trainable(network: nn.Module) -> int:
    """Elements of the parameters that are trained; those of a lazy layer once they are made."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return sum(parameter.numel() for parameter in trained if not is_lazy(parameter))


def count_gradients(network: nn.Module) -> tuple[int, int]:
    """After a backward pass: elements of the gradients, and how many of them are not zero."""
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    return sum(g.numel() for g in gradients), sum(int(g.count_nonzero()) for g in gradients)


def flops_per_sample(network: nn.Module, image_shape: tuple[int, int, int]) -> float | None:
    """Floating-point operations of one sample's forward and backward pass; None if one is unknown.

    A copy of the network runs on torch's meta device: nothing is computed, and no state changes.
    What counts, `hpml.models.flops` says.
    """
    tensors = [t for t in (*network.parameters(), *network.buffers()) if not is_lazy(t)]
    # to copy their values takes half of the time, of a ResNet-18
    copies = {id(tensor): _on_meta(tensor) for tensor in tensors}
    on_meta = copy.deepcopy(network, copies).to("meta")
    images = torch.empty(2, *image_shape, device="meta")  # normalisation wants more than one
    with torch.random.fork_rng(devices=[]), FlopCounter() as counter:
        on_meta(images).sum().backward()
    return None if counter.uncounted else counter.total / 2


def no_formula(operations: list[str]) -> str:
    """Why FLOPs are not given, in words."""
    return f"not counted, since no formula is known for {', '.join(operations)}"


def _on_meta(tensor: torch.Tensor) -> torch.Tensor:
    empty = tensor.detach().to("meta")
    is_parameter = isinstance(tensor, nn.Parameter)
    return nn.Parameter(empty, tensor.requires_grad) if is_parameter else empty
