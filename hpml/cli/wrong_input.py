"""What a Hydra program says where it cannot begin, in one line."""

import logging
import re
import shlex
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from traceback import walk_tb
from typing import NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from hpml.config.checks import PROGRAMS
from hpml.config.command_line import config_dir, options, quoted
from hpml.config.conf import closest_key, dotted_keys, find_conf, options_with
from hpml.config.fingerprint import key_of
from hpml.errors import UserError, causes, first_line
from hpml.system import exit_codes
from hpml.system.files import why_not

# The packages of Hydra's own plugins, by the options that they bring.
PLUGINS = {
    "hydra/sweeper=optuna": "hydra-optuna-sweeper",
    **{f"hydra/launcher={name}": f"hydra-{name}-launcher" for name in ("joblib", "ray", "rq")},
    **{f"hydra/launcher=submitit_{on}": "hydra-submitit-launcher" for on in ("local", "slurm")},
    "hydra/launcher=slurm": "'hpml[slurm]'",
    **{f"hydra/{part}=colorlog": "hydra-colorlog" for part in ("hydra_logging", "job_logging")},
}
# Those whose packages, on the Pythons that hpml needs, keep every program of Hydra's from starting.
TOO_OLD = ("hydra/sweeper=ax", "hydra/sweeper=nevergrad")
LAB = "lab"  # the program that has keys of others


class BelowError(logging.Filter):
    """Lets through what belongs on stdout; errors go to stderr."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno < logging.ERROR


def explain(
    error: BaseException, config_name: str, words: Sequence[str], sweeps: bool = False
) -> str:
    """An error of Hydra's, OmegaConf's or ours, for the person who gave the words.

    `sweeps` tells whether the program takes -m.
    """
    chain = list(causes(error))
    if ours := next((cause for cause in chain if isinstance(cause, UserError)), None):
        return str(ours)
    for cause in chain:
        if isinstance(cause, ConfigKeyError | ConfigAttributeError) and cause.full_key:
            if config_name == LAB and (word := _of_another(cause.full_key, words)):
                return f"{word}: is another program's; give +{word}"
            hint = _hint(cause.full_key, _defaults(config_name, words, without=cause.full_key))
            return f"{cause.full_key}: there is no such key; {hint}"
        if isinstance(cause, MissingConfigException) and cause.options is not None:
            group, _, option = str(cause.missing_cfg_file).rpartition("/")
            options = [name for name in cause.options if not name.startswith("base_")]
            if f"{group}={option}" in TOO_OLD:
                why = "its plugin does not work with Python 3.11 or newer"
                return f"{group}={option}: {why}; give hydra/sweeper=optuna"
            if (package := PLUGINS.get(f"{group}={option}")) is not None:
                return f"{group}={option}: pip install {package}"
            return f"{group}={option}: there is no such option; give one of {', '.join(options)}"
        if isinstance(cause, OmegaConfBaseException) and cause.full_key:
            return f"{cause.full_key}: {first_line(cause)}"
        if isinstance(cause, OverrideParseException):
            if "=" not in cause.override and not cause.override.startswith("~"):
                return f"{cause.override}: give KEY=VALUE"
            key, _, value = str(cause.override).partition("=")
            quoted = ",".join(f"'{part}'" for part in value.split(","))
            return f'{cause.override}: put what has signs in it into quotes: "{key}={quoted}"'
    if plugin := _broken_plugin(error):
        why = f"{type(error).__name__}: {first_line(error)}"
        return f"Hydra cannot load the plugin {plugin} ({why}); update it, or uninstall it"
    if ambiguous := re.match("Ambiguous value for argument '(.*)'", str(error)):
        what = "add -m to sweep over these values" if sweeps else "give one value"
        return f"{ambiguous[1]}: {what}; a list has brackets"
    if "Config group override must be" in str(error) and (word := _of_no_option(words)):
        return f"{word}: give the name of an option"
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {why_not(error)}"
    message = str(error).strip().partition("\n\n")[0]
    speaks = HydraException | OmegaConfBaseException | OSError | ValueError
    if message and isinstance(error, speaks):
        return message
    return f"{type(error).__name__}: {message}".rstrip(": ") + "; HYDRA_FULL_ERROR=1 shows where"


def _broken_plugin(error: BaseException) -> str | None:
    """The package that failed when it was imported: Hydra imports all that are installed."""
    for frame, _ in walk_tb(error.__traceback__):
        above, _, name = str(frame.f_globals.get("__name__")).partition(".")
        if frame.f_code.co_name == "<module>" and above == "hydra_plugins":
            return name.partition(".")[0]
    return None


def composed(program: str, words: Sequence[str], key: str) -> DictConfig:
    """A program's configuration with some overrides. Raises UserError that begins with `key`."""
    try:
        return hydra.compose(program, [quoted(word) for word in words])
    except Exception as error:  # a number for a group is a ValueError, say
        why = explain(error, program, [*options(sys.argv[1:]), *words])
        raise UserError(f"{key}: {why}") from error


def _of_another(key: str, words: Sequence[str]) -> str | None:
    """The word that has a key of another program's, which the lab hands on."""
    of_key = (word for word in words if f"{key_of(word)}.".startswith(f"{key}."))
    return next(of_key, None) if key.partition(".")[0] in {*PROGRAMS} - {LAB} else None


def _hint(key: str, defaults: DictConfig) -> str:
    """What was probably meant by a key that is not there."""
    group, hint = key.partition(".")[0], f"+{key}=… adds a key of your own"
    if options := options_with(key):
        hint = f"{group}={' or '.join(options)} would have {key}"
    elif close := closest_key(defaults, key):
        return f"did you mean {close}?"
    if isinstance(defaults.get(group), DictConfig):
        names = [name for name in defaults[group] if not name.startswith("_")]
        hint = f"{group} has {', '.join(names)}; {hint}" if names else hint
    return hint


def refuse_unknown_options(words: Sequence[str], config_name: str) -> None:
    """Ends the program for an option that Hydra does not know: `--seed 3`."""
    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]  # instead of all options, and then a line
    unknown = parser.parse_known_args(words)[1]
    if not unknown:
        return
    option, _, value = unknown[0].partition("=")
    if not option.startswith("-"):
        refuse(f"{unknown[0]}: options such as --cfg go first, then all KEY=VALUE")
    following = words[words.index(unknown[0]) + 1 :][:1]
    value = value or next((word for word in following if not {"-", "="} & set(word)), "VALUE")
    key = option.lstrip("-").replace("-", "_")
    defaults = _defaults(config_name, words, without=option)
    known = key if key in set(dotted_keys(defaults)) else closest_key(defaults, key)
    hint = shlex.quote(f"{known}={value}") if known else "KEY=VALUE; --help lists the keys"
    refuse(f"{option}: there is no such option; give {hint}")


def _of_no_option(given: Sequence[str]) -> str | None:
    """The first override that gives a group something else than the name of an option."""
    parser, groups = OverridesParser.create(), {folder.name for folder in find_conf().iterdir()}
    words = [word for word in given if "=" in word and key_of(word) in groups]
    values = ((word, parser.parse_override(word).value()) for word in words)
    return next((word for word, value in values if not isinstance(value, str | list)), None)


def _defaults(config_name: str, words: Sequence[str], without: str) -> DictConfig:
    """The configuration with the groups that the words choose, as far as it composes."""
    single = [word for word in words if "=" in word and "," not in word]
    chosen = [word for word in single if not {"-", "."} & set(word.partition("=")[0])]
    chosen = [word for word in chosen if not word.startswith(without)]
    if (folder := config_dir(words)) is not None:
        chosen.append(f"hydra.searchpath=['{folder}']")
    of_hydra = without.startswith("hydra.")
    with ExitStack() as stack:
        if not GlobalHydra.instance().is_initialized():  # as it is within a program
            own = hydra.initialize_config_dir(str(find_conf()), version_base="1.3")
            stack.enter_context(own)
        try:
            return hydra.compose(config_name, chosen, return_hydra_config=of_hydra)
        except Exception:  # a number for a group is a ValueError, say
            return hydra.compose(config_name, return_hydra_config=of_hydra)


def refuse(message: str) -> NoReturn:
    """Ends the program as wrong input does: in one line, whatever was given."""
    print(f"error: {' '.join(message.splitlines())}", file=sys.stderr)
    sys.exit(exit_codes.WRONG_INPUT)
