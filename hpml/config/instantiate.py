"""From a `_target_` to the object that it makes, with errors that name the key."""

import sys
from collections.abc import Callable
from itertools import dropwhile
from pathlib import Path
from traceback import walk_tb
from typing import Any, TypeVar

from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf

from hpml.config.aliases import with_names_of_today
from hpml.config.command_line import as_typed, typed_in
from hpml.errors import UserError, first_line

# The packages to which a configuration's values are handed: what they raise is about the values.
# A frame of any other package's code, the user's above all, needs its traceback.
HANDED_TO = sys.stdlib_module_names | {"hydra", "lightning", "tensorboard", "torch", "torchvision"}
# Arguments that hold a path, of data sets, loggers, callbacks and the Trainer of KNOWN packages.
PATHS = ("root", "save_dir", "dirpath", "directory", "tracking_uri", "default_root_dir")
KNOWN = ("hpml.", "lightning.")
OURS = __name__.partition(".")[0]
_T = TypeVar("_T")


def instantiate_target(node: Any, key: str, **settings: Any) -> Any:
    """What a configuration's `_target_` makes. Raises UserError that names the key.

    What a class of the user's own raises comes through as it is: they need its traceback.
    """
    if not OmegaConf.is_dict(node) or "_target_" not in node:
        raise UserError(f"{key}: needs a _target_")
    plain = with_names_of_today(OmegaConf.to_container(node, resolve=True))
    if str(node["_target_"]).startswith(KNOWN):
        plain = with_typed_paths(plain)
    try:
        return instantiate(plain, _convert_="all", **settings)
    except InstantiationException as error:
        cause = error.__cause__ or error
        package = {"logger.wandb": "wandb", "logger.mlflow": "mlflow"}.get(key)
        if package and isinstance(cause, ModuleNotFoundError):
            raise UserError(f"{key}: is not installed; pip install {package}") from error
        if isinstance(cause, UserError) or not is_about_values(cause):
            raise cause from error
        if isinstance(cause, ImportError) and cause.__cause__ is not None:
            raise UserError(_not_loaded(f"{key}._target_={node._target_}", cause)) from error
        raise UserError(f"{key}: {first_line(cause)}") from error
    except TypeError as error:  # Hydra's word for a wrong _partial_, _args_ or the like
        raise UserError(f"{key}: {first_line(error)}") from error


def with_typed_paths(arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments in which paths lead where they were typed, also from a run's own folder."""
    if typed_in() == Path.cwd():
        return arguments
    paths = {key: arguments[key] for key in PATHS if isinstance(arguments.get(key), str)}
    local = {key: path for key, path in paths.items() if ":" not in path}  # and no server
    return arguments | {key: str(as_typed(path)) for key, path in local.items()}


def _not_loaded(target: str, error: BaseException) -> str:
    """Why a `_target_` cannot be loaded; where a module of their own has to lie."""
    why = f"{target}: cannot be loaded ({first_line(error.__cause__ or error)})"
    missing = error.__cause__.name if isinstance(error.__cause__, ModuleNotFoundError) else None
    if not missing or target.partition("=")[2].partition(".")[0] != missing:
        return why
    sources = HydraConfig.get().runtime.config_sources if HydraConfig.initialized() else ()
    folders = [source.path for source in sources if "command-line" in source.provider]
    places = [f"the working directory {Path.cwd()}", *folders]
    return f"{why}; looked for in {' and '.join(places)}: put {missing}.py there, or install it"


def probe(key: str, make: Callable[[], _T]) -> _T:
    """Calls what a configuration's values are handed to; names the key where it refuses them."""
    try:
        return make()
    except Exception as error:
        if not is_about_values(error):
            raise
        raise UserError(f"{key}: {first_line(error)}") from error


def is_about_values(error: BaseException) -> bool:
    """Whether only code of HANDED_TO, called directly from ours, had a part in an exception."""
    modules = [frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__)]
    packages = [module.partition(".")[0] for module in modules]
    return HANDED_TO.issuperset(dropwhile(OURS.__eq__, packages))
