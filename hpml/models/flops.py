"""Floating-point operations of what runs: counted where a formula is known, named where none is.

Counted are products of matrices, convolutions among them, two operations for each pair of numbers;
what goes element by element (activations, normalisation, pooling, embeddings) is left out, as is
usual. Attention counts in full where a mask hides a part, and once what a fused kernel computes
again in its backward pass, so that a network has the same count whichever kernel runs it.
"""

import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch._ops import HigherOrderOperator
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from hpml.models.flop_formulas import FORMULAS, Formula, aten

# Names of torch's operations that hold products: without a formula they are not counted.
PRODUCTS = re.compile(
    "mm(?![aiy])|matmul|mv|dot|conv(?!ert)|linear(?![123]d)|attention|rnn|lstm|gru|^_trilinear|einsum"
    "|cdist|pdist|euclidean|_fft_|linalg(?!_vector_norm|_cross)|cholesky|svd|solve|geqrf|orgqr"
    "|ormqr|householder|inverse|matrix|encoder_layer"
)
# Such names of what has no product: cells whose gates were multiplied before, another layout.
WITHOUT_PRODUCTS = re.compile("^_thnn|flatten_weight|reorder|_check_errors")
# torch's formulas of these mistake heads for the sequence, or count what no mask leaves.
DOUBTFUL = {
    getattr(aten, f"_{kernel}_attention_{way}")
    for kernel in ("efficient", "flash")
    for way in ("forward", "backward")
}
# Operations of these libraries move data, or go element by element; those of others are unknown.
MOVES_DATA = {"prim", "prims", "rngprims", "profiler", "fsdp", "torchvision"}
MOVES_DATA |= {"c10d", "c10d_functional", "_c10d_functional", "_c10d_functional_autograd"}
MAKES_EMPTY = re.compile("^(new_)?empty(_|$)")
READS_SHAPE = re.compile("_like$|^new_|^detach$|^alias$|^resize|^set_|^record_stream$")
UNSEEN = "a kernel called past torch's dispatcher"


class FlopCounter(TorchDispatchMode):
    """Counts within its context what runs on any device, backward passes included.

    `total` is right if `uncounted` is empty: it names operations without a formula of torch's, of
    ours, or one given to `torch.utils.flop_counter.register_flop_formula`. Of other libraries that
    is each, of torch those that multiply matrices by their names. A kernel that is called past
    torch is noticed by a tensor that was made empty, and is read though nothing known filled it.

    torch's own `FlopCounterMode` is not used: it counts as nothing what it does not know, and
    breaks a step with nested tensors or `flex_attention`.
    """

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()
        self.total = 0
        self.uncounted: list[str] = []
        self._empty: dict[int, StorageWeakRef] = {}  # storages that nothing known has filled

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if isinstance(func, HigherOrderOperator):
            self._cannot_count(str(func))
            return func(*args, **kwargs)
        formula, plain = formula_of(func), not types and is_plain((args, kwargs))
        if formula is None and plain and func is not torch.ops.prim.device.default:
            with self:
                outputs = func.decompose(*args, **kwargs)
            if outputs is not NotImplemented:
                return outputs
        outputs = func(*args, **kwargs)
        if plain:
            self._watch_memory(func, args, kwargs, outputs)
        if formula is not None and plain:
            self._count(func, formula, (args, kwargs, outputs))
        elif formula is not None or may_hold_products(func, (args, kwargs, outputs)):
            self._cannot_count(name_of(func))
        return outputs

    def _count(self, func: Any, formula: Formula, given: Any) -> None:
        args, kwargs, outputs = given
        try:
            # four products of real numbers in one of complex ones
            times = 4 if any(t.is_complex() for t in tensors(outputs)) else 1
            self.total += times * formula(*args, **kwargs, out_val=outputs)
        except Exception:  # it does not fit these arguments
            self._cannot_count(name_of(func))

    def _watch_memory(self, func: Any, args: Any, kwargs: Any, outputs: Any) -> None:
        """Notices reads of what was made empty, and that no operation has written."""
        library, _, name = name_of(func).partition(".")
        if library == "aten" and MAKES_EMPTY.search(name):
            made = [
                t
                for t in tensors(outputs)
                if t.is_floating_point() and t.layout == torch.strided and t.numel()
            ]
            self._empty |= {_memory(t)._cdata: StorageWeakRef(_memory(t)) for t in made}
        elif self._empty and not (func.is_view or READS_SHAPE.search(name)):
            names = [argument.name for argument in func._schema.arguments]
            values = dict(zip(names, args, strict=False)) | kwargs
            for argument in func._schema.arguments:
                writes = argument.alias_info is not None and argument.alias_info.is_write
                for tensor in tensors(values.get(argument.name)):
                    known = self._empty.pop(_memory(tensor)._cdata, None)
                    if known and not (writes or library in MOVES_DATA or known.expired()):
                        self._cannot_count(UNSEEN)

    def _cannot_count(self, name: str) -> None:
        if name not in self.uncounted:
            self.uncounted.append(name)


def formula_of(func: Any) -> Formula | None:
    operation = func.overloadpacket
    if operation in DOUBTFUL:
        return None
    return FORMULAS.get(operation) or flop_registry.get(operation)


def may_hold_products(func: Any, given: Any) -> bool:
    """Whether an operation without a formula may multiply matrices, as far as its name tells."""
    library, _, name = name_of(func).partition(".")
    if torch.Tag.pointwise in func.tags:
        return False
    if library == "aten":
        return bool(PRODUCTS.search(name)) and not WITHOUT_PRODUCTS.search(name)
    moves = library in MOVES_DATA and "conv" not in name
    return not moves and any(t.is_floating_point() for t in tensors(given))


def name_of(func: Any) -> str:
    """`aten.mm`, whichever overload."""
    return str(func._schema.name).replace("::", ".")


def is_plain(given: Any) -> bool:
    """Whether shapes tell the work: not of sparse tensors, nor of nested ones."""
    return all(not t.is_nested and t.layout == torch.strided for t in tensors(given))


def tensors(given: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(given) if isinstance(leaf, Tensor))


def _memory(tensor: Tensor) -> torch.UntypedStorage:
    return tensor.untyped_storage()
