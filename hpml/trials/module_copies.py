"""Copies of a user's modules and callbacks, for a trial to wear out."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch.utilities.compile import from_compiled
from torch._dynamo import OptimizedModule

from hpml.system.lightning_packages import twin_for


def copied(thing: Any, memo: dict[int, Any]) -> Any:
    """A deep copy; parts that cannot be copied, a lock or an open file, are shared with it."""
    modules = list(thing.modules()) if isinstance(thing, torch.nn.Module) else []
    memo |= {id(vars(part).get("_compiler_ctx")): None for part in modules}
    try:
        copy_of_thing = copy.deepcopy(thing, dict(memo))
    except Exception:
        for part in [thing, *modules]:
            for value in getattr(part, "__dict__", {}).values():
                try:
                    copy.deepcopy(value, dict(memo))
                except Exception:
                    for item in value if isinstance(value, list) else [value]:
                        is_tensor = isinstance(item, torch.Tensor)
                        memo[id(item)] = item.detach().clone() if is_tensor else item
        copy_of_thing = copy.deepcopy(thing, memo)
    for part, original in zip(copy_of_thing.modules() if modules else (), modules, strict=True):
        if getattr(original, "_compiled_call_impl", None) is not None:
            part.compile()
        vars(part).update(_compiled_again(original, part))
    return copy_of_thing


def copied_module(module: Any, memo: dict[int, Any]) -> Any:
    """A deep copy of a LightningModule; of what `torch.compile` gives for one, compiled as that."""
    plain = uncompiled(module)
    copy_of_module = copied(plain, memo)
    if plain is not module and plain._compiler_ctx is None:
        compiled = OptimizedModule(copy_of_module, module.dynamo_ctx)
        copy_of_module = twin_for(plain, from_compiled)(compiled)
    return copy_of_module


def uncompiled(module: Any) -> Any:
    """The LightningModule that `torch.compile` has wrapped; any other as it is."""
    return module._orig_mod if isinstance(module, OptimizedModule) else module


def _compiled_again(original: torch.nn.Module, part: torch.nn.Module) -> dict[str, Any]:
    """Its methods that are compiled, of the copy: else they would compute with the original."""
    context = getattr(original, "_compiler_ctx", None)  # of a LightningModule
    compiled = context["dynamo_ctx"] if context else torch.compile
    return {
        name: compiled(method.__func__.__get__(part))
        for name, method in compiled_methods(original).items()
    }


def compiled_methods(part: torch.nn.Module) -> dict[str, Any]:
    """Methods of its own that it has a compiled version of, as attributes of the object."""
    every = {
        name: getattr(value, "_torchdynamo_orig_callable", None)
        for name, value in vars(part).items()
    }
    return {k: each for k, each in every.items() if getattr(each, "__self__", None) is part}


def is_compiled(part: torch.nn.Module) -> bool:
    """Whether it calls a compiled version of itself, of which it does not tell the mode."""
    if getattr(part, "_compiled_call_impl", None) is not None:
        return True
    return bool(compiled_methods(part)) and not getattr(part, "_compiler_ctx", None)


@contextmanager
def preserve_attributes(module: torch.nn.Module) -> Iterator[None]:
    """What is set on a module, or registered with it, is undone; not what its parts do."""
    own = vars(module)
    before = dict(own)
    parts = {name: dict(own[name]) for name in ("_parameters", "_buffers", "_modules")}
    try:
        yield
    finally:
        for now, then in [(own, before), *((before[name], parts[name]) for name in parts)]:
            now.clear()
            now.update(then)
