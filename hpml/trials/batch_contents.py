"""What a batch of any kind holds: its tensors and bytes, copies, and whether two are alike."""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

_DEEP_COPY = torch.Tensor.__deepcopy__


def tensors_in(batch: Any) -> list[torch.Tensor]:
    """All tensors of a batch, in whichever collections and objects they are."""
    return [leaf for leaf in _leaves(batch) if isinstance(leaf, torch.Tensor)]


def size_of(batch: Any) -> int:
    """Bytes of a batch's tensors and arrays."""
    arrays: Any = (leaf for leaf in _leaves(batch) if isinstance(leaf, torch.Tensor | np.ndarray))
    return sum(
        leaf.numel() * leaf.element_size() if isinstance(leaf, torch.Tensor) else leaf.nbytes
        for leaf in arrays
    )


def copy_of(batch: Any) -> Any:
    """A deep copy. Raises what copying raises, of a lock or an open file, say."""
    with _Clones():
        return copy.deepcopy(batch)


class _Clones(TorchFunctionMode):
    """A deep copy of a slice would hold all that it is a slice of."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not _DEEP_COPY:
            return func(*args, **(kwargs or {}))
        tensor, memo = args
        clone = tensor.detach().clone().requires_grad_(tensor.requires_grad)
        memo[id(tensor)] = clone = clone.pin_memory() if tensor.is_pinned() else clone
        vars(clone).update(copy.deepcopy(vars(tensor), memo))
        return clone


def alike(first: Any, second: Any) -> bool:
    """Whether two batches are the same, bit for bit and part by part."""
    pairs, seen = [(first, second)], {}
    while pairs:
        a, b = pair = pairs.pop()
        if a is b or (id(a), id(b)) in seen:
            continue
        seen[id(a), id(b)] = pair  # held, so that no other object has their ids
        of_a, of_b = _parts(a), _parts(b)
        if type(a) is not type(b) or (of_a is None) != (of_b is None):
            return False
        if of_a is None or of_b is None:
            if not _same_leaf(a, b):
                return False
        elif len(of_a) != len(of_b):
            return False
        else:
            pairs += zip(of_a, of_b, strict=True)
    return True


def share_memory(first: Any, second: Any) -> bool:
    """Whether writing into one batch may change another one."""
    return not _memory(first).keys().isdisjoint(_memory(second))


def _memory(batch: Any) -> dict[tuple[str, int], Any]:
    """Where its tensors and arrays lie, and which lists, dictionaries and objects it is of.

    Its values hold what has the address, so that nothing else comes to have it.
    """
    places = {}
    for thing in _within(batch):
        if isinstance(thing, torch.Tensor):
            place = _dense(thing).untyped_storage().data_ptr()
            places["data", place] = thing
        elif isinstance(thing, np.ndarray):
            while isinstance(thing.base, np.ndarray):
                thing = thing.base
            places["data", thing.__array_interface__["data"][0]] = thing
        elif isinstance(thing, list | dict | set) or hasattr(thing, "__dict__"):
            places["object", id(thing)] = thing
    return places


def _leaves(batch: Any) -> Iterator[Any]:
    return (thing for thing in _within(batch) if _parts(thing) is None)


def _within(batch: Any) -> Iterator[Any]:
    """It and all of its parts, in their order."""
    things, seen = [batch], {}
    while things:
        thing = things.pop()
        if id(thing) not in seen and not isinstance(thing, type):
            seen[id(thing)] = thing
            yield thing
            things += reversed(_parts(thing) or ())


def _parts(thing: Any) -> list[Any] | None:
    """What it consists of, as copying and pickling know it; None where that is itself."""
    if isinstance(thing, np.ndarray) and thing.dtype.hasobject:
        return list(thing.flat)
    if isinstance(thing, torch.Tensor | np.ndarray | type):
        return None
    if type(thing) in (list, tuple):
        return list(thing)
    if type(thing) is dict:
        return [*thing.keys(), *thing.values()]
    if isinstance(thing, set | frozenset) or type(thing).__module__ == "builtins":
        return None
    try:
        reduced = thing.__reduce_ex__(4)
    except Exception:  # a function, a lock
        return None
    if isinstance(reduced, str):
        return None
    _, *parts = reduced
    return [list(part) if isinstance(part, Iterator) else part for part in parts]


def _same_leaf(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return _same_values(a, b)
    if isinstance(a, np.ndarray):
        return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
    return type(a).__eq__ is object.__eq__ or bool(a == b)


def _same_values(a: torch.Tensor, b: torch.Tensor) -> bool:
    kinds = [(t.shape, t.dtype, t.device, t.layout, t.requires_grad) for t in (a, b)]
    try:
        with torch.no_grad():
            return kinds[0] == kinds[1] and _equal(_dense(a), _dense(b))
    except (RuntimeError, NotImplementedError):  # a layout that torch cannot compare
        return False


def _dense(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.layout is torch.jagged:
        return tensor.values()
    return tensor.detach() if tensor.layout is torch.strided else tensor.to_dense()


def _equal(a: torch.Tensor, b: torch.Tensor) -> bool:
    same_or_nan = (a == b) | ((a != a) & (b != b))  # which no NaN is
    return torch.equal(a, b) or bool(same_or_nan.all())
