"""Reads checkpoints, which may be a stranger's: tensors and plain types, and nothing that calls."""

from __future__ import annotations

import re
from pathlib import Path
from typing import IO, Any

from hpml.errors import UserError, first_line

# A hyperparameter that names a function; `load_from_checkpoint` of Lightning up to 2.6.5 calls it.
INSTANTIATOR = "_instantiator"
# Of torch's pages of advice, what it met.
NOT_ADMITTED = re.compile(r"Unsupported global: GLOBAL (\S+) was not")
CAUSE = re.compile(r"WeightsUnpickler error:\s*(.+)")


def read(path: Path, key: str) -> dict[str, Any]:
    """What a checkpoint holds, on the CPU.

    Raises UserError where INSTANTIATOR is among its keys, at whatever depth: nothing here would
    call it, but no checkpoint of ours has it. What torch raises for another kind of file, or for
    one that holds more than `weights_only` admits, comes through. `key` is the one that names the
    file, for the message: `evaluate`, or `resume`.
    """
    checkpoint = load(path)
    if not isinstance(checkpoint, dict):
        raise TypeError("it holds no dictionary")
    if _has_key(checkpoint, INSTANTIATOR):
        raise UserError(
            f"{key}={path}: refused: it holds {INSTANTIATOR}, the name of a function that loading "
            "it elsewhere may call"
        )
    return checkpoint


def load(file: Path | IO[bytes]) -> Any:
    """What a file holds, on the CPU. What torch raises comes through."""
    import torch

    return torch.load(file, map_location="cpu", weights_only=True)


def reason(error: Exception) -> str:
    """Why a file was not read, in one line that does nothing to a terminal."""
    text = f"{error}"
    if met := NOT_ADMITTED.search(text):
        words = f"it holds {met[1]}, which does not load safely"
    elif isinstance(error, OSError) and error.strerror and error.filename:
        words = error.strerror
    elif isinstance(error, KeyError):
        words = f"it has no {error.args[0]}"
    else:
        cause = CAUSE.search(text)
        words = cause[1] if cause else first_line(error)
        if cause or isinstance(error, RuntimeError | EOFError | OSError):  # of torch's reader
            words = f"torch cannot read it ({words.partition('. ')[0]})"
    return "".join(one if one.isprintable() else "?" for one in words)[:200]


def _has_key(node: Any, key: str) -> bool:
    """Whether a dictionary has a key, or one inside it; what is read may contain itself.

    A list with it may be the keys of a dictionary, as `plain_types` writes them.
    """
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
            if any(isinstance(one, str) and one == key for one in node):
                return True
            waiting += node
    return False
