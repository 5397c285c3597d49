"""States in the plain types that load without calling anything, and as themselves again.

`torch.load(..., weights_only=True)` admits tensors, numbers, text and their plain containers. What
else a state holds is written as a dictionary of these, `{TYPE: …, OF: …}`. To rebuild it, nothing
is imported, and nothing is called that a file could choose: the types are those of this module,
and enums, named tuples and dataclasses without methods, if the process has imported them already.
Functions and objects of other classes are kept only where the user has admitted them by
`torch.serialization.add_safe_globals`, which torch asks itself.
"""

import io
from collections import Counter, OrderedDict
from collections.abc import Container
from dataclasses import dataclass, field, replace
from typing import Any

import lightning as L
import numpy as np
import torch
from omegaconf import DictConfig, ListConfig, OmegaConf

from hpml.checkpointing import safe_load
from hpml.checkpointing.allowed_types import KINDS, content_of, described, rebuild

TYPE, OF = "hpml_type", "of"
NATIVE = {
    *(type(None), bool, int, float, complex, str, bytes),
    *(torch.dtype, torch.device, torch.layout),
}
INSIDE = "[…]"  # of something that is not plain: its parts have no keys of the user's
EMPTY = torch.empty(0)
MOST_BITS = 255 * 8 - 1  # of an integer that weights_only reads
# Lightning's keys for hyperparameters and for their type.
HYPERPARAMETERS = {
    kind.CHECKPOINT_HYPER_PARAMS_KEY: kind.CHECKPOINT_HYPER_PARAMS_TYPE
    for kind in (L.LightningModule, L.LightningDataModule)
}


class NotPlainError(Exception):
    """A state that cannot be kept: says under which key, and of which type it is."""


def plain(state: Any, at: str, imported: Container[str] | None = None) -> Any:
    """A state in plain types, which has been read back, but for its tensors.

    `at` is the key under which it will stand, for the message. A class outside of the modules
    `imported` (None: any that this process has imported) cannot be rebuilt when a run resumes.
    Raises NotPlainError.
    """
    return _written(state, at, imported, None)


def plain_checkpoint(
    checkpoint: dict[str, Any], imported: Container[str] | None = None, complete: bool = True
) -> tuple[dict[str, Any], list[str]]:
    """A checkpoint of Lightning's in plain types, and what was left out of it, in words.

    Hyperparameters are what their reader, not we, makes a module of: numpy's numbers become
    Python's, paths text and configurations dictionaries, and what cannot be kept is left out. So is
    it everywhere else unless the checkpoint has to be `complete`. Raises NotPlainError.
    """
    of_types = HYPERPARAMETERS.values()
    checkpoint = {key: value for key, value in checkpoint.items() if key not in of_types}
    hyper = {key: _simple(checkpoint.pop(key)) for key in HYPERPARAMETERS if key in checkpoint}
    left_out: list[str] = []
    written = _written(checkpoint, "", imported, None if complete else left_out)
    return written | _written(hyper, "", imported, left_out), left_out


def rebuilt(node: Any, imported: Container[str] | None = None) -> Any:
    """What `plain` was given, of what was read; containers are changed in place.

    Raises what the constructors of its types raise, where a file holds something else.
    """
    return _Reader(imported)(node)


def _written(
    state: Any, at: str, imported: Container[str] | None, left_out: list[str] | None
) -> Any:
    """What is written; where `left_out` is a list, it gets what cannot be, else that raises."""
    try:
        skeleton = _Writer(imported, None if left_out is None else [], is_skeleton=True)(state, at)
        file = io.BytesIO()
        torch.save(skeleton, file)
        file.seek(0)
        rebuilt(safe_load.load(file), imported)
        return _Writer(imported, left_out)(state, at)
    except NotPlainError:
        raise
    except RecursionError as error:
        raise NotPlainError(f"{at or 'it'} contains itself, or is nested too deep") from error
    except Exception as error:  # of torch's writer and reader, and of classes that were admitted
        raise NotPlainError(safe_load.reason(error)) from error


def _simple(node: Any) -> Any:
    if isinstance(node, DictConfig | ListConfig):
        node = OmegaConf.to_container(node)
    if isinstance(node, dict):
        return {key: _simple(value) for key, value in node.items()}
    if type(node) in (list, tuple):
        return type(node)(map(_simple, node))
    if isinstance(node, np.generic):
        return node.item()
    return str(node) if hasattr(node, "__fspath__") else node


def _is_plain_key(key: Any) -> bool:
    return type(key) in NATIVE or (type(key) is tuple and all(map(_is_plain_key, key)))


@dataclass
class _Writer:
    """Writes a state in plain types; what stands in two places is written once."""

    imported: Container[str] | None
    left_out: list[str] | None
    is_skeleton: bool = False  # tensors and arrays without their contents
    done: dict[int, tuple[Any, Any]] = field(default_factory=dict)  # by id of those kept here

    def __call__(self, node: Any, at: str) -> Any:
        kind = type(node)
        if kind in NATIVE:
            if kind is int and node.bit_length() > MOST_BITS:
                raise NotPlainError(f"{at} is an integer of {node.bit_length():,} bits")
            return node
        if isinstance(node, torch.Tensor):
            is_bare = kind in (torch.Tensor, torch.nn.Parameter) and not vars(node)
            return EMPTY if self.is_skeleton and is_bare else node
        if id(node) not in self.done:
            try:
                written = self._container(node, at) if kind in CONTAINERS else None
                self.done[id(node)] = node, self._marked(node, at) if written is None else written
            except NotPlainError:
                self.done.pop(id(node), None)  # half of it is no copy for whoever refers to it too
                raise
        return self.done[id(node)][1]

    def _container(self, node: Any, at: str) -> Any:
        """A copy of a container that is plain by itself; None of one that is not."""
        kind = type(node)
        if kind in (dict, OrderedDict, Counter):
            return self._dictionary(node, at) if all(map(_is_plain_key, node)) else None
        if kind is list:
            if all(type(value) in NATIVE for value in node):
                return node
            copy: list[Any] = []
            self.done[id(node)] = node, copy  # it may contain itself
            copy += [self(value, _key(at, index)) for index, value in enumerate(node)]
            return copy
        if kind is tuple:
            return tuple(self(value, _key(at, index)) for index, value in enumerate(node))
        is_plain = kind in (bytearray, torch.Size) or all(map(_is_plain_key, node))
        return node if is_plain else None

    def _dictionary(self, node: Any, at: str) -> Any:
        if TYPE in node:
            return None
        copy: Any = type(node)()
        self.done[id(node)] = node, copy
        for key, value in node.items():
            try:
                copy[key] = self(value, _key(at, key))
            except NotPlainError as error:
                if self.left_out is None:
                    raise
                self.left_out.append(str(error))
        if type(node) is OrderedDict:
            vars(copy).update(vars(node))  # the versions in a module's state_dict
        return copy

    def _marked(self, node: Any, at: str) -> Any:
        """As a dictionary that says its type; as itself what torch's reader has to admit."""
        try:
            found = content_of(node, self.imported, self.is_skeleton)
        except TypeError as error:
            raise NotPlainError(f"{at} is {error}") from error
        if found is not None:
            # all of it has to be kept, and what numpy's are made of as it is
            empties = self.is_skeleton and found[0] not in KINDS
            write = replace(self, left_out=None, is_skeleton=empties)
            return {TYPE: found[0], OF: write(found[1], at if at.endswith(INSIDE) else at + INSIDE)}
        for known in torch.serialization.get_safe_globals():
            one = known[0] if isinstance(known, tuple) else known
            if one is node or one is type(node):
                return node
        raise NotPlainError(f"{at} is {described(node)}")


CONTAINERS = (dict, OrderedDict, Counter, list, tuple, set, bytearray, torch.Size)


def _key(at: str, key: Any) -> str:
    if at.endswith(INSIDE):
        return at
    return f"{at}.{key}" if at else f"{key}"


@dataclass
class _Reader:
    imported: Container[str] | None
    done: dict[int, tuple[Any, Any]] = field(default_factory=dict)

    def __call__(self, node: Any) -> Any:
        if id(node) in self.done:
            return self.done[id(node)][1]
        if type(node) in (dict, OrderedDict, Counter):
            if TYPE in node:
                made = rebuild(node[TYPE], self(node[OF]), self.imported)
                self.done[id(node)] = node, made
                return made
            self.done[id(node)] = node, node
            for key, value in node.items():
                node[key] = self(value)
        elif type(node) is list:
            self.done[id(node)] = node, node
            node[:] = map(self, node)
        elif type(node) is tuple:
            made = tuple(map(self, node))
            self.done[id(node)] = node, made
            return made
        return node
