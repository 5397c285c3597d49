"""A command's configuration, printing and end for a call from Python, which leaves nothing behind.

What a command line sets up once for its process is here set up for one call, and taken back.
"""

import inspect
import logging
import multiprocessing
import signal
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, flag_override
from omegaconf.errors import OmegaConfBaseException

from hpml.cli.program import end_children
from hpml.cli.run_directory import fresh_dir, is_given
from hpml.cli.wrong_input import BelowError, explain
from hpml.config.checks import check, refuse_lists
from hpml.config.command_line import as_call, quoted
from hpml.config.conf import find_conf
from hpml.config.fingerprint import key_of
from hpml.errors import UserError
from hpml.system import files
from hpml.system.signals import RunInterrupted, ended_by_signals

log = logging.getLogger("hpml")

Folder = str | Path | None


class Stopped(KeyboardInterrupt):
    """The user has interrupted a call, and it has ended in order."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


@contextmanager
def called(
    name: str, words: Sequence[str], config_dir: Folder, objects: Mapping[str, Any]
) -> Iterator[DictConfig]:
    """Composes and checks the configuration of `hpml.NAME`, for a run in this process.

    Within it Hydra knows the call, what is logged is printed, and signals end the run; all is as it
    was afterwards. `objects` are classes of the user's own by group, None for those not given.

    Raises UserError for wrong input, and Stopped when a signal has ended what is within.
    """
    refuse_several(name, words)
    given = {group: thing for group, thing in objects.items() if thing is not None}
    with composed(name, words, config_dir) as cfg:
        for group, thing in given.items():
            _put(cfg, group, thing, words)
        directory, lock = _directory(cfg)
        with flag_override(cfg, ["readonly", "struct"], False):
            cfg.hydra.runtime.output_dir = str(directory)
            names = {group: cfg.hydra.runtime.choices[group] for group in given}
            cfg.hydra.job.id = as_call(name, words, names)
            HydraConfig.instance().set_config(cfg)
            del cfg["hydra"]
        try:
            check(cfg)
            with printed(), interruptible():
                yield cfg
        finally:
            if lock is not None:
                lock.release()
            else:
                with suppress(OSError):  # it holds something, or is none of ours
                    directory.rmdir()


@contextmanager
def composed(name: str, words: Sequence[str], config_dir: Folder) -> Iterator[DictConfig]:
    """The configuration that a command line of these words would have, with Hydra's own part."""
    check_words(words)
    refuse_lists(words)
    folder = None if config_dir is None else Path(config_dir).expanduser().resolve()
    if folder is not None and not folder.is_dir():
        raise UserError(f"config_dir={config_dir}: there is no such folder")
    own = [] if folder is None else [f"hydra.searchpath=['{folder}']"]
    known, path = HydraConfig.instance().cfg, list(sys.path)
    sys.path += [] if folder is None else [str(folder)]
    try:
        with hydra.initialize_config_dir(str(find_conf()), version_base="1.3"):
            try:
                cfg = hydra.compose(name, [*own, *map(quoted, words)], return_hydra_config=True)
            except Exception as error:  # a number for a group is a ValueError, say
                wrong = error
            else:
                yield cfg
                return
        # the explanation composes too, and Hydra does so once at a time
        options = [] if folder is None else ["--config-dir", str(folder)]
        raise UserError(explain(wrong, name, [*options, *words])) from wrong
    finally:
        HydraConfig.instance().cfg = known
        sys.path[:] = path


def check_words(words: Sequence[Any]) -> None:
    """Raises UserError for what is not an override in one string."""
    for word in words:
        if not isinstance(word, str) or word.startswith("-") or "=" not in word.lstrip("~"):
            hint = "; config_dir=… takes a folder" if str(word).startswith("-") else ""
            raise UserError(f"{word}: give KEY=VALUE, in one string{hint}")


def first_of_each(words: Sequence[str]) -> list[str]:
    """The words of a sweep's first job. Raises UserError for what is none of a command line's."""
    check_words(words)
    parser, first = OverridesParser.create(), []
    for word in words:
        with suppress(HydraException):  # which composing reports
            override = parser.parse_override(quoted(word, sweeps=True))
            if override.is_sweep_override():
                values = override.sweep_string_iterator()
                first.append(f"{override.get_key_element()}={next(iter(values))}")
                continue
        first.append(word)
    return first


def refuse_several(name: str, words: Sequence[str]) -> None:
    """Raises UserError where words ask for a sweep."""
    for word, first in zip(words, first_of_each(words), strict=True):
        if word != first:
            raise UserError(f"{word}: {name}() takes one value; sweep(…) trains with each")


def as_node(group: str, made: Any) -> dict[str, Any]:
    """A class of the user's own, or a partial of one, as a group of the configuration.

    Classes rather than objects: each training begins with fresh weights, drawn from `seed`.
    """
    if isinstance(made, Mapping):
        return {str(key): value for key, value in made.items()}
    kind, settings = made, dict[str, Any]()
    if isinstance(made, partial):
        kind, settings = made.func, dict(made.keywords)
        if made.args:
            settings["_args_"] = list(made.args)
    if not isinstance(kind, type):
        raise UserError(
            f"{group}: is a {type(made).__name__}; give its class, or functools.partial of one: "
            "each training begins with a fresh object"
        )
    if "<locals>" in kind.__qualname__:
        place = "at the top of a cell or of a file"
        raise UserError(f"{group}={kind.__name__}: is defined in a function; define it {place}")
    if "num_classes" in inspect.signature(kind).parameters:
        settings.setdefault("num_classes", None)  # which the data fills in
    return {"_target_": f"{kind.__module__}.{kind.__qualname__}", **settings}


def _put(cfg: DictConfig, group: str, made: Any, words: Sequence[str]) -> None:
    """Has a group hold what the user has made, under its own name."""
    node = as_node(group, made)
    name = str(node.get("_target_")).rpartition(".")[2]
    if both := [word for word in words if key_of(word).partition(".")[0] == group]:
        hint = f"functools.partial({name}, …) takes settings"
        raise UserError(f"{both[0]}: {group}={name} is given too; {hint}")
    try:
        with flag_override(cfg, ["readonly", "struct"], False):
            cfg[group] = node
            cfg.hydra.runtime.choices[group] = name
    except OmegaConfBaseException as error:
        raise UserError(f"{group}={name}: {str(error).splitlines()[0]}") from error


def _directory(cfg: DictConfig) -> tuple[Path, Any]:
    """A call's own directory: a fresh one, or the one that is given, and then with its lock."""
    for key, value in (("run_dir", None), ("hydra.run.dir", cfg.hydra.run.dir)):
        if is_given(cfg, key):
            directory = Path(str(value or cfg.run_dir)).expanduser()
            in_use = f"{key}={directory}: another run is at work there"
            return directory, files.locked(directory, key, in_use)
    if not cfg.hydra.callbacks.run_directory.fresh_dir:
        return Path(str(cfg.hydra.run.dir)).expanduser(), None
    return Path(fresh_dir(cfg.hydra.run.dir)), None


@contextmanager
def printed() -> Iterator[None]:
    """Prints what is logged within, as a command does: errors on stderr, the rest on stdout."""
    usual, errors = logging.StreamHandler(sys.stdout), logging.StreamHandler(sys.stderr)
    usual.addFilter(BelowError())
    errors.setLevel(logging.ERROR)
    # of tqdm in a notebook, for a bar that is not drawn there
    warnings.filterwarnings("ignore", message="IProgress not found")
    level, propagates = log.level, log.propagate
    log.setLevel(logging.INFO)
    log.propagate = False  # a notebook may have a handler of its own at the root
    log.addHandler(usual)
    log.addHandler(errors)
    try:
        yield
    finally:
        log.removeHandler(usual)
        log.removeHandler(errors)
        log.setLevel(level)
        log.propagate = propagates


@contextmanager
def interruptible() -> Iterator[None]:
    """Within it a signal ends the run in order, and what it has started; then it raises Stopped.

    The process goes on: a notebook's kernel is to be usable afterwards.
    """
    before, number = set(multiprocessing.active_children()), None
    try:
        with ended_by_signals(survives=True):
            yield
    except RunInterrupted as interrupted:
        number = interrupted.signal_number
    finally:
        end_children(kept=before)
    if number == signal.SIGINT:
        raise Stopped("interrupted")
    if number is not None:
        signal.raise_signal(number)
