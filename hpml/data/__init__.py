"""Images: where they come from, in which order, how they are augmented and loaded."""

import importlib
import re
from importlib.util import find_spec
from typing import Any

from hpml.errors import DataError

__all__ = ["DataError"]


def __getattr__(name: str) -> Any:
    """A source of images by its name: `ImageFolder` lies in `image_folder.py`.

    Imported when it is asked for: a loader's process that is spawned, not forked, imports this
    package to unpickle a pipeline, and can do without Lightning.
    """
    module = f"{__name__}.{re.sub(r'(?<=[a-z0-9])(?=[A-Z])', '_', name).lower()}"
    if name.startswith("_") or find_spec(module) is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(module), name)
