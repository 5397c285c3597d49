"""Files of YAML are parsed once in a process, whoever reads them how often.

A run's configuration comes from twenty of them, which OmegaConf's parser, in plain Python, takes
half of the composition's time for. What is read is the same: it is copied from what that parser has
made of the same text.
"""

import copy
import io
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from yaml import YAMLError

_load = OmegaConf.load


@cache
def _parsed(text: str) -> Any:
    return _load(io.StringIO(text))


def load(file: Any) -> Any:
    """As `OmegaConf.load` of a path or an open file."""
    is_path = isinstance(file, str | Path)
    text = Path(file).absolute().read_text(encoding="utf-8") if is_path else file.read()
    try:
        return copy.deepcopy(_parsed(text))
    except YAMLError:  # which names the file
        if not is_path:
            file.seek(0)
        return _load(file)


def remember_yaml() -> None:
    OmegaConf.load = load  # type: ignore[method-assign]
