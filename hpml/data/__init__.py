"""Images: where they come from, in which order, how they are augmented and loaded."""

import importlib
from typing import Any

# Imported when they are asked for: a loader's process that is spawned, not forked, imports this
# package to unpickle a pipeline, and can do without Lightning.
_HOMES = {
    "Cifar10": "cifar10",
    "DataError": "sources",
    "ImageDataModule": "datamodule",
    "ImageFolder": "image_folder",
    "Synthetic": "synthetic",
}
__all__ = ["Cifar10", "DataError", "ImageDataModule", "ImageFolder", "Synthetic"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
