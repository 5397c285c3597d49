"""Reads checkpoints, which may be a stranger's: tensors and plain types, and nothing that calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hpml.errors import UserError

# A hyperparameter that names a function; `load_from_checkpoint` of Lightning up to 2.6.5 calls it.
INSTANTIATOR = "_instantiator"


def read(path: Path, key: str) -> dict[str, Any]:
    """What a checkpoint holds, on the CPU.

    Raises UserError where INSTANTIATOR is among its keys, at whatever depth: nothing here would
    call it, but no checkpoint of ours has it. What torch raises for another kind of file, or for
    one that holds more than `weights_only` admits, comes through. `key` is the one that names the
    file, for the message: `evaluate`, or `resume`.
    """
    import torch

    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(checkpoint, dict):
        raise TypeError(f"{path}: holds no dictionary")
    if _has_key(checkpoint, INSTANTIATOR):
        raise UserError(
            f"{key}={path}: refused: it holds {INSTANTIATOR}, the name of a function that loading "
            "it elsewhere may call"
        )
    return checkpoint


def _has_key(node: Any, key: str) -> bool:
    """Whether a dictionary has a key, or one inside it; what is read may contain itself."""
    waiting, seen = [node], set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, dict):
            if key in node:
                return True
            waiting += node.values()
        elif isinstance(node, list | tuple | set | frozenset):
            waiting += node
    return False
