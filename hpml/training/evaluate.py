"""Evaluates a checkpoint on the test set: `evaluate=PATH`."""

import inspect
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

import hpml.data
import hpml.models
from hpml.checkpointing import safe_load
from hpml.checkpointing.plain_types import rebuilt
from hpml.config.aliases import with_names_of_today
from hpml.config.auto import on_device
from hpml.config.checks import check
from hpml.config.command_line import as_typed
from hpml.config.conf import resolve
from hpml.config.fingerprint import key_of
from hpml.data.image_data_module import ImageDataModule
from hpml.data.worker_watchdog import ended_if_hung
from hpml.errors import UserError
from hpml.models.counts import describe
from hpml.records.run_record import RunRecord
from hpml.system import environment
from hpml.training.build import build_trainer, end_processes
from hpml.training.prepare import prepare

log = logging.getLogger("hpml")

# Keys that Hydra reads in a node: what to call, and how.
OF_HYDRA = ("_target_", "_args_", "_partial_", "_recursive_", "_convert_")


def evaluate(cfg: DictConfig, record: RunRecord) -> None:
    """Evaluates a checkpoint on the test set, with the model and data that it was trained with.

    What the command line says of `model` or `data` goes before what the checkpoint says. The
    checkpoint may come from a stranger: it may set sizes, names and the folder that is read, never
    what is called, where something is written, or what is fetched.
    """
    record.environment = environment.describe()
    path = as_typed(cfg.evaluate)
    given = set(map(key_of, record.overrides))
    taken = {"data", "model"} - given
    trained_with, name, weights = _read(path, taken)
    for group in taken:
        asked = cfg[group]
        cfg[group] = trained_with[group]
        for key in given:
            if key.startswith(f"{group}."):
                value = OmegaConf.select(asked, key.removeprefix(f"{group}."))
                OmegaConf.update(cfg, key, value, force_add=True)
    config = resolve(cfg)
    for group in taken:
        _refuse_calls(config[group], record.config[group], group, path)
    if "data" in taken and "data.download" not in given:
        _fetch_only_where_asked(cfg, record.config["data"])
    check(cfg)
    cfg, record.chosen = on_device(cfg)
    record.config = resolve(cfg)  # the fingerprint remains that of what was asked
    job = prepare(cfg)
    cfg, module = job.cfg, job.module
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(f"evaluate={path}: does not fit model={job.names['model']}") from error
    if type(module).test_step is L.LightningModule.test_step:
        raise UserError(f"evaluate={path}: model={job.names['model']} has no test_step")
    trainer = build_trainer(cfg)
    record.environment["device"] = trainer.strategy.root_device.type
    record.model = describe(module, job.names["model"] if "model" in given else name)
    size = job.sizes.get("test") if cfg.trainer.limit_test_batches is None else None
    on = f" on {size:,} test samples" if size is not None else ""
    log.info(f"{path}: model={record.model['name']}{on}")
    with ended_if_hung(cfg.data.get("timeout_s")):
        metrics = trainer.test(module, datamodule=job.data, verbose=False)[0]
    end_processes()
    record.evaluation = {"checkpoint": str(path), "metrics": dict(metrics)}
    for name, value in metrics.items():
        log.info(f"{name} {value:.4f}")


def _read(path: Path, taken: set[str]) -> tuple[dict[str, DictConfig], str, dict[str, Any]]:
    """Of a checkpoint: the groups that are taken from it, its model's name, its weights."""
    try:
        checkpoint = safe_load.read(path, "evaluate")
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"evaluate={path}: there is no such file") from error
    except Exception as error:  # there is no end to what torch can raise
        why = safe_load.reason(error)
        raise UserError(f"evaluate={path}: cannot be loaded: {why}") from error
    try:
        trained_with = {
            group: OmegaConf.create(
                with_names_of_today(dict(rebuilt(checkpoint["hpml_config"][group])))
            )
            for group in taken
        }
        name = str(checkpoint["hpml_names"]["model"])
        weights = rebuilt(checkpoint["state_dict"])
    except Exception as error:
        why = safe_load.reason(error)
        raise UserError(f"evaluate={path}: no checkpoint of hpml: {why}") from error
    _refuse_odd_text(trained_with, name, path)
    return trained_with, name, weights


def _refuse_odd_text(trained_with: dict[str, DictConfig], name: str, path: Path) -> None:
    """Raises UserError for text that would do more than be read.

    Interpolations are resolved when a checkpoint is written: one that holds any would have them
    read the environment of this process. Control characters would reach the terminal.
    """
    for group, node in trained_with.items():
        for key, value in _entries(OmegaConf.to_container(node), group):
            text = key if isinstance(value, dict | list) else f"{key} {value}"
            if "${" in text or not text.isprintable():
                raise UserError(
                    f"evaluate={path}: refused: its {_shown(key)} holds an interpolation or a "
                    f"control character; give {group}=… yourself"
                )
    if not name.isprintable():
        raise UserError(f"evaluate={path}: no checkpoint of hpml")


def _refuse_calls(config: Any, chosen: Any, group: str, path: Path) -> None:
    """Raises UserError for a key of Hydra's that is neither ours nor as the command line has it.

    `config` is a group as it is to be instantiated, `chosen` as it was without the checkpoint.
    """
    known = {
        (key.rpartition(".")[2], repr(value))
        for key, value in _entries(chosen, group)
        if key.endswith(OF_HYDRA)
    }
    for key, value in _entries(config, group):
        name = key.rpartition(".")[2]
        ours = key == f"{group}._target_" and _is_ours(group, value)
        if name in OF_HYDRA and not ours and (name, repr(value)) not in known:
            raise UserError(
                f"evaluate={path}: refused: it sets {_shown(key)}={_shown(value)}, which is not "
                f"hpml's own; if you trust that, give {group}=… yourself"
            )


def _is_ours(group: str, target: Any) -> bool:
    """What may be called because a checkpoint says so: our networks and sources of images.

    All else only where the command line says it too. No module outside of this package is
    imported to find that out.
    """
    package = {"data": hpml.data, "model": hpml.models}[group]
    home, _, name = str(target).rpartition(".")
    if home != package.__name__ or not name.isidentifier():
        return False
    if group == "model":
        return name in hpml.models.__all__
    source = getattr(package, name, None)
    is_source = isinstance(source, type) and issubclass(source, ImageDataModule)
    return is_source and source is not ImageDataModule


def _fetch_only_where_asked(cfg: DictConfig, chosen: dict[str, Any]) -> None:
    """A folder that only the checkpoint names is read: nothing is fetched into it."""
    fetches = "download" in cfg.data
    if _is_ours("data", cfg.data.get("_target_")):
        fetches |= "download" in inspect.signature(get_class(cfg.data._target_)).parameters
    if fetches and cfg.data.get("root") != chosen.get("root"):
        OmegaConf.update(cfg, "data.download", False, force_add=True)


def _entries(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Dotted key and value of all that dictionaries and lists hold, however deep."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for name, value in items:
        yield f"{key}.{name}", value
        if isinstance(value, dict | list):
            yield from _entries(value, f"{key}.{name}")


def _shown(text: object) -> str:
    """What a stranger wrote, in one line that does nothing to a terminal."""
    return f"{text!r}"[1:-1][:80] if isinstance(text, str) else f"{text!r}"[:80]
