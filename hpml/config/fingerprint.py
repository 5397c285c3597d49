"""What identifies a run: its configuration, and the sources that it runs."""

import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hpml.config.aliases import EARLIER
from hpml.errors import PACKAGE
from hpml.formatting import listed

# Keys that say where a run's own files go, or how it is watched: not what it computes.
NOT_IN_FINGERPRINT = (
    *("run_dir", "output_dir", "sweep", "resume", "checkpoint", "logger"),
    *("callbacks.progress_bar", "callbacks.forecast"),
    *("timing.every_n_steps", "timing.trace"),
    *("data.download", "data.verify", "data.timeout_s", "trainer.default_root_dir"),
    *("trainer.enable_progress_bar", "trainer.enable_model_summary"),
)
# Keys that came later, with the values at which a run is what it was without them.
AS_BEFORE = {
    **{"cpu.threads": "auto", "cpu.wait": "auto"},
    **{"data.exif": "ignore", "data.background": None},
    **{"data.decoder": "auto", "data.decode_size": None, "data.crop": "padded"},
    **{"data.workers": "processes", "tta": False},
}
# The same of arguments of a model, by its class.
AS_BEFORE_OF_MODEL = {"hpml.models.small": {"model.norm": True}}
RUN_DIR = "<run_dir>"
TARGET = "._target_"
SHOWN = 3
# What starts runs and reads their records, but has no part in one.
NOT_IN_A_RUN = (
    *("report", "sweep", "lab", "trials", "diagnosis", "diagnose.py", "tuning", "tune.py"),
    *("worker_counts", "workers.py", "compare", "watch", "summary", "cli"),
)
# Their versions are in the record's environment.
INSTALLED = ("hpml", "torch", "torchvision", "lightning")


def key_of(override: str) -> str:
    """The key, or group, of an override: `data.x` of `+data.x=1`."""
    return override.lstrip("+~").partition("=")[0]


def identifying(config: dict[str, Any]) -> dict[str, Any]:
    """The part of a resolved configuration that says what is computed, as dotted keys.

    Where the run's own directory stands in a value, RUN_DIR stands instead.
    """
    here = str(config.get("run_dir") or RUN_DIR)
    model = config.get("model")
    target = model.get("_target_") if isinstance(model, dict) else None
    as_before: dict[str, Any] = AS_BEFORE | AS_BEFORE_OF_MODEL.get(str(target), {})
    leaves = {
        key: value
        for key, value in _leaves(config)
        if not (is_left_out(key) or (key in as_before and as_before[key] == value))
    }
    for key, value in leaves.items():
        if not isinstance(value, str):
            continue
        if key.endswith(TARGET):  # what a thing is called has no part in what is computed
            leaves[key] = EARLIER.get(value, value)
        elif value == here or value.startswith(f"{here}/"):
            leaves[key] = RUN_DIR + value.removeprefix(here)
    return leaves


def difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    """The first keys in which two identifying parts differ, with both values.

    Where another option was chosen that option, and none of its keys: `model=resnet18 (now small)`.
    """
    keys = [key for key in before | now if before.get(key) != now.get(key)]
    options = tuple(key.removesuffix(TARGET) for key in keys if key.endswith(TARGET))
    both = []
    for option in options:
        one, other = (str(of.get(option + TARGET)).rpartition(".")[2] for of in (before, now))
        both.append(f"{option}={one} (now {other})")
    for key in keys:
        if not key.startswith(tuple(f"{option}." for option in options)):
            one, other = (json.dumps(of.get(key)) for of in (before, now))
            both.append(f"{key}={one} (now {other})")
    return listed(both, SHOWN)


def is_left_out(key: str, left_out: Sequence[str] = NOT_IN_FINGERPRINT) -> bool:
    """Whether a dotted key, by default, says nothing about what is computed."""
    return any(key == left or key.startswith(f"{left}.") for left in left_out)


def fingerprint(config: dict[str, Any]) -> str:
    """64 hexadecimal digits over a resolved configuration without NOT_IN_FINGERPRINT."""
    text = json.dumps(identifying(config), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def code_fingerprint(config: dict[str, Any]) -> str:
    """64 hexadecimal digits over our sources and the modules that the configuration names.

    A module is named by a `_target_`; torch, torchvision and Lightning are left out.
    """
    return code_of(targets(config))


def code_of(names: Iterable[str]) -> str:
    """The code fingerprint of a configuration with these targets."""
    digest = hashlib.sha256()
    for source in sorted(PACKAGE.rglob("*.py")):
        if source.relative_to(PACKAGE).parts[0] not in NOT_IN_A_RUN:
            digest.update(source.read_bytes())
    for target in sorted(names):
        if target.partition(".")[0] not in INSTALLED and (file := _source_of(target)):
            digest.update(file.read_bytes())
    return digest.hexdigest()


def targets(config: dict[str, Any]) -> frozenset[str]:
    """Each `_target_`, however deep in dictionaries and lists."""
    return frozenset(_targets(config))


def _leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key and value of all that is not a dictionary, and of empty ones."""
    if isinstance(node, dict) and node:
        for key, child in node.items():
            yield from _leaves(child, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, node


def _targets(node: Any) -> Iterator[str]:
    if isinstance(node, dict) and "_target_" in node:
        yield str(node["_target_"])
    if isinstance(node, dict | list):
        for child in node.values() if isinstance(node, dict) else node:
            yield from _targets(child)


def _source_of(target: str) -> Path | None:
    """The file of the module in a dotted name, found without importing any of it."""
    for folder in sys.path:
        found, place = None, Path(folder)
        for part in target.split("."):
            if (place / f"{part}.py").is_file():
                return place / f"{part}.py"
            place = place / part
            if (place / "__init__.py").is_file():
                found = place / "__init__.py"
        if found is not None:
            return found
    return None
