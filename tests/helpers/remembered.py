"""What a process of tests reads over and over, and finds the same: YAML, and others' plugins.

A run's configuration comes from twenty files, which OmegaConf's parser, in plain Python, takes half
of the composition's time for: each text is parsed once, and copied. Which files those are, and what
they make together, Hydra finds out once for each choice of options: values come on top. Each
Trainer looks for plugins in the metadata of all that is installed: 6 ms, of the 40 of a small fit.
"""

import copy
import io
from dataclasses import replace
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from hydra._internal import config_loader_impl
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.defaults_list import DefaultsList, Overrides, create_defaults_list
from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from hpml.config.conf import find_conf

_load = OmegaConf.load
_composed = ConfigLoaderImpl._compose_config_from_defaults_list
_lists: dict[Any, DefaultsList] = {}
_merged: dict[Any, DictConfig] = {}


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


def _are_ours(repo: Any) -> bool:
    """No file is a test's own, which it may write again."""
    sources = (source for source in repo.get_sources() if source.scheme() == "file")
    return all(source.path == str(find_conf()) for source in sources)


def _list_of(
    repo: Any, config_name: str | None, overrides_list: list[Any], **how: bool
) -> DefaultsList:
    """As `create_defaults_list`, which only what chooses files decides."""
    if not _are_ours(repo):
        return create_defaults_list(repo, config_name, overrides_list, **how)
    values = Overrides(repo, overrides_list).config_overrides
    chosen = [word for word in overrides_list if word not in values]
    key = (config_name, *(word.input_line for word in chosen), *how.values())
    if key not in _lists:
        _lists[key] = create_defaults_list(repo, config_name, chosen, **how)
    return replace(_lists[key], config_overrides=values)


def _merged_of(loader: ConfigLoaderImpl, defaults: list[Any], repo: Any) -> DictConfig:
    if not _are_ours(repo):
        return _composed(loader, defaults, repo)
    key = tuple(map(repr, defaults))
    if key not in _merged:
        _merged[key] = _composed(loader, defaults, repo)
    return copy.deepcopy(_merged[key])


def remember_configurations() -> None:
    OmegaConf.load = load  # type: ignore[method-assign]
    config_loader_impl.create_defaults_list = _list_of
    ConfigLoaderImpl._compose_config_from_defaults_list = _merged_of  # type: ignore[assignment]


def remember_plugins() -> None:
    from lightning.fabric.utilities import registry

    registry.entry_points = cache(entry_points)  # type: ignore[attr-defined]
