"""Which elements of the gradients are zero, and for how many of them the reason is seen."""

from typing import Any

import torch
from torch import Tensor, nn

# Their gradients depend on nothing but their input and the gradient at their output.
LINEAR_IN_WEIGHTS = (nn.modules.conv._ConvNd, nn.Linear)


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
