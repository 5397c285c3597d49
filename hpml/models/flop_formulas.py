"""How many floating-point operations torch's products take, by the sizes of what they are given.

Each formula gets an operation's own arguments and, as `out_val`, what it returned. Two operations
count for each pair of numbers that is multiplied and added; see `hpml.models.flops` for what that
leaves out. Those of torch's own counter that are right, `convolution` say, are not repeated here.
"""

from collections.abc import Callable, Iterator
from math import prod
from typing import Any

import torch
from torch import Tensor

Formula = Callable[..., int]
aten: Any = torch.ops.aten


def product(left: Tensor, right: Tensor, *_: Any, **__: Any) -> int:
    """Matrices, batches of them, vectors: each number of the left meets a row of the right."""
    return 2 * left.numel() * (right.shape[-1] if right.ndim > 1 else 1)


def added_product(added: Tensor, left: Tensor, right: Tensor, *_: Any, **__: Any) -> int:
    return product(left, right)


def convolution(images: Tensor, weight: Tensor, *_: Any, out_val: Tensor, **__: Any) -> int:
    """Not transposed. Of a group's channels alone: so is the weight's shape."""
    return 2 * weight.numel() * len(images) * prod(out_val.shape[2:])


def convolution_backward(
    arriving: Tensor, images: Tensor, weight: Tensor, *others: Any, **__: Any
) -> int:
    """Each gradient that is asked for, of the input and of the weight, costs a forward pass.

    torch's own formula forgets the groups in that of the weight: times their number too much.
    """
    transposed, needed = others[4], others[7]
    places = prod((images if transposed else arriving).shape[2:])
    return 2 * weight.numel() * len(images) * places * sum(needed[:2])


def attention(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    """Of (batch, heads, length, width): each query meets each key, and each score a value."""
    scores = prod(query.shape[:-1]) * key.shape[-2]
    return 2 * scores * (query.shape[-1] + value.shape[-1])


def attention_backward(
    arriving: Tensor, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any
) -> int:
    """Two gradients of each product; that kernels compute the scores again is left out."""
    return 2 * attention(query, key, value)


def trilinear(
    first: Tensor,
    second: Tensor,
    third: Tensor,
    expand1: list[int],
    expand2: list[int],
    expand3: list[int],
    summed: list[int],
    unrolled: int = 1,
    **_: Any,
) -> int:
    """Two products, as torch multiplies: the first two tensors, then the third.

    One that sums nothing goes element by element. The `expand`s say where a tensor lacks an axis.
    """
    tensors, expands = (first, second, third), (expand1, expand2, expand3)
    sizes = [dict(_sizes(tensor, expand)) for tensor, expand in zip(tensors, expands, strict=True)]
    both = sizes[0] | sizes[1]
    axes = set(summed) - {unrolled} or set(summed)  # what it unrolls it sums by adding
    early = {axis for axis in axes if axis not in sizes[2]}
    left = {axis: size for axis, size in both.items() if axis not in early}
    flops = 2 * prod(both.values()) if early else 0
    return flops + (2 * prod((left | sizes[2]).values()) if axes - early else 0)


def _sizes(tensor: Tensor, lacks: list[int]) -> Iterator[tuple[int, int]]:
    sizes = iter(tensor.shape)
    for axis in range(tensor.ndim + len(lacks)):
        if axis not in lacks:
            yield axis, next(sizes)


def recurrent_layer(inputs: Tensor, of_input: Tensor, of_hidden: Tensor, *_: Any, **__: Any) -> int:
    """A layer in one direction, on a CPU: each step of each sample meets both weights."""
    return 2 * _steps(inputs) * (of_input.numel() + of_hidden.numel())


def recurrent_layer_backward(
    inputs: Tensor, of_input: Tensor, of_hidden: Tensor, *others: Any, **__: Any
) -> int:
    """Of weights that are trained, of inputs that need it, and back through all steps but one."""
    steps, start = _steps(inputs), others[2]
    back = steps if start.requires_grad else steps - start.numel() // start.shape[-1]
    forward = steps * (of_input.requires_grad + inputs.requires_grad)
    hidden = steps * of_hidden.requires_grad + back
    return 2 * (forward * of_input.numel() + hidden * of_hidden.numel())


def cudnn_rnn(inputs: Tensor, weights: list[Tensor], *_: Any, **__: Any) -> int:
    """All layers and directions; each step of each sample meets every matrix."""
    return 2 * _steps(inputs) * sum(weight.numel() for weight in weights if weight.ndim == 2)


def cudnn_rnn_backward(
    inputs: Tensor, weights: list[Tensor], tensors_a_layer: int, *others: Any, **__: Any
) -> int:
    """The same, as if layer by layer: `others` end with which gradients are asked for."""
    steps, start, needed = _steps(inputs), others[1], others[-1]
    directions = 2 if others[-5] else 1
    total = 0
    for number, weight in enumerate(weights):
        layer, which = divmod(number, tensors_a_layer)
        if weight.ndim == 2:
            back = steps
            if which == 0 and layer < directions and not needed[0]:
                back = 0
            elif which == 1 and not needed[1]:
                back -= start.shape[-2]  # what was before the first step needs no gradient
            total += weight.numel() * (back + steps * needed[3])
    return 2 * total


def _steps(inputs: Tensor) -> int:
    """Of all samples; packed sequences have no padding."""
    return inputs.numel() // inputs.shape[-1]


def self_attention(inputs: Tensor, width: int, of_three: Tensor, of_output: Tensor) -> int:
    """The fast path of inference: projections to queries, keys and values, attention, and out."""
    batch, length, _ = inputs.shape
    return 2 * batch * length * (of_three.numel() + of_output.numel() + 2 * length * width)


def multi_head_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    width: int,
    heads: int,
    of_three: Tensor,
    _: Tensor,
    of_output: Tensor,
    *__: Any,
    **___: Any,
) -> int:
    return self_attention(query, width, of_three, of_output)


def encoder_layer(
    inputs: Tensor,
    width: int,
    heads: int,
    of_three: Tensor,
    _: Tensor,
    of_output: Tensor,
    *others: Any,
    **__: Any,
) -> int:
    """The same with the two linear layers behind it."""
    linear = others[8].numel() + others[10].numel()
    tokens = prod(inputs.shape[:2])
    return self_attention(inputs, width, of_three, of_output) + 2 * tokens * linear


_FUSED = [
    f"_scaled_dot_product_{kernel}"
    for kernel in (
        *("flash_attention", "flash_attention_for_cpu", "efficient_attention"),
        *("cudnn_attention", "fused_attention_overrideable"),
    )
]
_NAMES: dict[Formula, list[str]] = {
    product: ["mm", "bmm", "mv", "dot", "vdot", "_int_mm"],
    added_product: [
        *("addmm", "addmm_", "baddbmm", "baddbmm_", "addbmm", "addbmm_", "addmv", "addmv_"),
        "_addmm_activation",
    ],
    convolution: ["cudnn_convolution", "_slow_conv2d_forward"],
    convolution_backward: ["convolution_backward"],
    attention: _FUSED,
    attention_backward: [f"{kernel}_backward" for kernel in _FUSED],
    trilinear: ["_trilinear"],
    recurrent_layer: ["mkldnn_rnn_layer"],
    recurrent_layer_backward: ["mkldnn_rnn_layer_backward"],
    cudnn_rnn: ["_cudnn_rnn"],
    cudnn_rnn_backward: ["_cudnn_rnn_backward"],
    multi_head_attention: ["_native_multi_head_attention"],
    encoder_layer: ["_transformer_encoder_layer_fwd"],
}
FORMULAS: dict[Any, Formula] = {
    getattr(aten, name): formula
    for formula, names in _NAMES.items()
    for name in names
    if hasattr(aten, name)  # not each is in each torch
}
