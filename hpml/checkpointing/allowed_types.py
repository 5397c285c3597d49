"""The types that states hold besides the plain ones: of what each is made, and made again."""

import copyreg
import random
import sys
from argparse import Namespace
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Container
from dataclasses import is_dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag
from fractions import Fraction
from functools import partial
from pathlib import PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
from types import ModuleType, SimpleNamespace
from typing import Any, Generic
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
import torch
from lightning.fabric.utilities.data import AttributeDict
from omegaconf import DictConfig, ListConfig, OmegaConf, SCMode

# Made again as Python's own pickle does it; none of them does more with what it is given than to
# keep it.
REDUCED: dict[str, type] = {
    kind.__name__: kind
    for kind in (
        *(dict, OrderedDict, Counter, defaultdict, deque, set, frozenset, range, slice),
        *(date, datetime, time, timedelta, timezone, Decimal, Fraction, UUID),
        *(PurePosixPath, PosixPath, PureWindowsPath, WindowsPath),
        *(random.Random, AttributeDict, Namespace, SimpleNamespace),
    )
}
# Classes that a state may hold as such, as a defaultdict does.
CLASSES: dict[str, type] = {
    kind.__name__: kind
    for kind in (*(bool, int, float, complex, str, bytes, list, tuple), *REDUCED.values())
}
BIT_GENERATORS = ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64")
# What named tuples and dataclasses have without one's doing; all else could do more than hold data.
GENERATED = {
    *("__new__", "__init__", "__post_init__", "__repr__", "__hash__", "__getnewargs__"),
    *("__eq__", "__lt__", "__le__", "__gt__", "__ge__", "__setattr__", "__delattr__"),
    *("__getstate__", "__setstate__", "__replace__", "__annotate__", "__annotate_func__"),
    *("_make", "_replace", "_asdict"),
}


def content_of(node: Any, imported: Container[str] | None, empty: bool) -> tuple[str, Any] | None:
    """The name of an object's kind and its content, for `rebuild`; None where it has none here.

    `empty` leaves out the elements of arrays. Raises TypeError, in words that follow `is`.
    """
    kind = type(node)
    if REDUCED.get(kind.__name__) is kind:
        return kind.__name__, _reduced(node)
    if isinstance(node, type) and CLASSES.get(node.__name__) is node:
        return "class", node.__name__
    if isinstance(node, Enum):
        is_member = kind.__members__.get(str(node.name)) is node
        return "enum", [*_name(kind, imported), node.name if is_member else int(node.value)]
    if _is_data(kind):
        is_tuple = issubclass(kind, tuple)
        values = list(node) if is_tuple else _values(node)
        return "tuple" if is_tuple else "dataclass", [*_name(kind, imported), values]
    if kind is np.ndarray and empty:
        node = node.ravel()[:0]
    for name, (known, content, _) in KINDS.items():
        if kind is known or (known in ABSTRACT and isinstance(node, known)):
            return name, content(node)
    return None


def _values(node: Any) -> dict[str, Any]:
    """Those of a dataclass, in slots or not."""
    slots = [name for kind in type(node).__mro__ for name in vars(kind).get("__slots__", ())]
    names = dict.fromkeys([*slots, *getattr(node, "__dict__", {})])
    return {name: getattr(node, name) for name in names if hasattr(node, name)}


def rebuild(kind: Any, content: Any, imported: Container[str] | None) -> Any:
    """An object of its kind and content. Raises for what `content_of` has not made."""
    if kind in REDUCED:
        return _from_reduced(REDUCED[kind], **content)
    if kind == "class":
        return CLASSES[content]
    if kind in KINDS:
        return KINDS[kind][2](content)
    module, name, value = content
    found = _imported_class(module, name, imported)
    if kind == "enum" and issubclass(found, Enum):
        by_value = issubclass(found, Flag) and type(value) is int
        return found(value) if by_value else found.__members__[value]
    if kind == "tuple" and _is_data(found) and issubclass(found, tuple):
        return tuple.__new__(found, value)
    if kind == "dataclass" and _is_data(found) and is_dataclass(found):
        made = object.__new__(found)
        for key, one in value.items():
            if key.startswith("__"):
                raise ValueError(f"{key} for a field")
            object.__setattr__(made, key, one)
        return made
    raise TypeError(f"{module}.{name} is no {kind} without methods of its own")


def described(node: Any) -> str:
    """What an object is, in words."""
    kind = "a class" if isinstance(node, type) else "a function"
    named = node if isinstance(node, type) or callable(node) else None
    name = getattr(named, "__qualname__", None)
    if name is None:
        kind, named = "of the type", type(node)
        name = named.__qualname__
    return f"{kind} {named.__module__}.{name}"


def _reduced(node: Any) -> dict[str, Any]:
    """The parts that pickle would write, as `object.__reduce__` gives them."""
    call, arguments, *rest = node.__reduce_ex__(4)  # 2 loses a time's fold
    state, items, pairs = (*rest, None, None, None)[:3]
    is_new = call is copyreg.__newobj__  # type: ignore[attr-defined]
    parts = {"new": is_new or None, "arguments": list(arguments[1:] if is_new else arguments)}
    parts["state"] = state
    parts["items"] = None if items is None else list(items)
    parts["pairs"] = None if pairs is None else [list(pair) for pair in pairs]
    return {name: part for name, part in parts.items() if part is not None}


def _from_reduced(
    kind: Any,
    arguments: list[Any],
    new: bool = False,
    state: Any = None,
    items: Any = (),
    pairs: Any = (),
) -> Any:
    made = kind.__new__(kind, *arguments) if new else kind(*arguments)
    if state is not None:
        own = getattr(kind, "__setstate__", None)  # the class's: an attribute is the file's
        own(made, state) if own is not None else vars(made).update(state)
    if items:
        kind.extend(made, items)
    for key, value in pairs:
        made[key] = value
    return made


def _of_scalar(number: np.generic) -> list[Any]:
    if number.dtype.hasobject:
        raise TypeError("a number of Python objects")
    return [np.lib.format.dtype_to_descr(number.dtype), number.tobytes()]


def _to_scalar(content: list[Any]) -> Any:
    descr, number = content
    return np.ndarray((), _to_dtype(descr), number)[()]


def _of_array(array: np.ndarray[Any, Any]) -> list[Any]:
    if array.dtype.hasobject:
        raise TypeError("an array of Python objects")
    content = np.frombuffer(bytearray(array.tobytes("A")), np.uint8)
    order = "F" if array.flags.fnc else "C"  # in which sums of it add up
    return [
        np.lib.format.dtype_to_descr(array.dtype),
        array.shape,
        order,
        torch.from_numpy(content),
    ]


def _to_array(content: list[Any]) -> Any:
    descr, shape, order, elements = content
    if type(elements) is not torch.Tensor:
        raise TypeError("an array's elements are no tensor")
    dtype = _to_dtype(descr)
    return np.ndarray(shape, dtype, elements.numpy().tobytes(), order=order).copy("K")


def _to_dtype(descr: Any) -> Any:
    dtype = np.lib.format.descr_to_dtype(descr)
    if dtype.hasobject:  # would take what a file holds for addresses
        raise TypeError("an array of Python objects")
    return dtype


def _of_generator(generator: np.random.Generator) -> list[Any]:
    bits: Any = generator.bit_generator
    return [type(bits).__name__, bits.state, getattr(bits.seed_seq, "state", None)]


def _to_generator(content: list[Any]) -> np.random.Generator:
    name, state, seeds = content
    if name not in BIT_GENERATORS:
        raise TypeError(f"{name} is no bit generator of numpy")
    made = getattr(np.random, name)(None if seeds is None else np.random.SeedSequence(**seeds))
    made.state = state
    return np.random.Generator(made)


def _of_random_state(generator: np.random.RandomState) -> Any:
    return generator.get_state(legacy=False)


def _to_random_state(state: Any) -> np.random.RandomState:
    made = np.random.RandomState(0)
    made.set_state(state)
    return made


def _of_torch_generator(generator: torch.Generator) -> list[Any]:
    return [str(generator.device), generator.get_state()]


def _to_torch_generator(content: list[Any]) -> torch.Generator:
    made = torch.Generator(content[0])
    made.set_state(content[1])
    return made


def _of_zone(zone: ZoneInfo) -> str:
    if zone.key is None:
        raise TypeError("a time zone without a name")
    return zone.key


def _of_partial(node: partial[Any]) -> list[Any]:
    return [node.func, list(node.args), node.keywords]


def _to_partial(content: list[Any]) -> partial[Any]:
    function, arguments, keywords = content
    return partial(function, *arguments, **keywords)


def _of_config(config: DictConfig | ListConfig) -> list[Any]:
    kind = OmegaConf.get_type(config)
    if kind not in (dict, list) or config._is_missing() or config._is_none():
        raise TypeError(f"a configuration of the type {kind}")
    content = OmegaConf.to_container(config, structured_config_mode=SCMode.DICT_CONFIG)
    return [content, dict(config._metadata.flags or {})]


def _to_config(content: list[Any]) -> Any:
    return OmegaConf.create(content[0], flags=content[1])


KINDS: dict[str, tuple[type, Callable[[Any], Any], Callable[[Any], Any]]] = {
    "ndarray": (np.ndarray, _of_array, _to_array),
    "scalar": (np.generic, _of_scalar, _to_scalar),
    "dtype": (np.dtype, np.lib.format.dtype_to_descr, _to_dtype),
    "generator": (np.random.Generator, _of_generator, _to_generator),
    "random_state": (np.random.RandomState, _of_random_state, _to_random_state),
    "torch_generator": (torch.Generator, _of_torch_generator, _to_torch_generator),
    "zone": (ZoneInfo, _of_zone, ZoneInfo),
    "partial": (partial, _of_partial, _to_partial),
    "DictConfig": (DictConfig, _of_config, _to_config),
    "ListConfig": (ListConfig, _of_config, _to_config),
}
ABSTRACT = (np.generic, np.dtype)  # whose subclasses are numpy's own


def _is_data(kind: type) -> bool:
    """Whether a class is a named tuple or a dataclass that does nothing but hold its values."""
    if not (is_dataclass(kind) or (issubclass(kind, tuple) and hasattr(kind, "_fields"))):
        return False
    own = {
        name
        for base in kind.__mro__
        if base not in (object, tuple, Generic)
        for name, value in vars(base).items()
        if callable(value) or isinstance(value, property | classmethod | staticmethod)
    }
    return own <= GENERATED


def _name(kind: type, imported: Container[str] | None) -> list[str]:
    """Module and name, by which a class is found again. Raises TypeError where it would not be."""
    if _imported_class(kind.__module__, kind.__qualname__, imported) is not kind:
        raise TypeError(f"of the type {kind.__module__}.{kind.__qualname__}, not found by its name")
    return [kind.__module__, kind.__qualname__]


def _imported_class(module: str, name: str, imported: Container[str] | None) -> type:
    """A class of a module that is imported already: a file has none imported."""
    is_known = imported is None or module in imported
    found: Any = sys.modules.get(module) if is_known else None
    for part in name.split("."):  # not by getattr, which modules may answer by an import
        found = vars(found).get(part) if isinstance(found, ModuleType | type) else None
    if not isinstance(found, type) or (found.__module__, found.__qualname__) != (module, name):
        raise TypeError(f"of the type {module}.{name}, which is not imported by then")
    return found
