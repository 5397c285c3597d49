"""The command line: as Hydra reads it, and as it can be typed again."""

import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException
from omegaconf import OmegaConf

from hpml.config.fingerprint import key_of
from hpml.system.signals import JOB

# What a sweep's launcher tells a job about its place in the sweep.
OF_A_JOB = ("hydra.run.dir", "hydra.job.num", "sweep.name")
# Hydra's options that take a value
WITH_VALUE = (
    *("--config-dir", "-cd", "--config-path", "-cp"),
    *("--config-name", "-cn", "--package", "-p"),
)
CALL = "call: "  # begins the identity of a job that was called from Python


def arranged(words: Sequence[str]) -> list[str]:
    """A command line in the form that Hydra reads, of one that a person may well have typed.

    `-m` and what is in WITH_VALUE go first: Hydra's parser gives up where they stand between
    overrides. A value with a `=` in it, a path of a sweep's job say, is put into quotes.
    """
    others = [word for word, is_option in _marked(words) if not is_option]
    overrides = [word for word in others if word not in ("-m", "--multirun")]
    sweeps = len(overrides) < len(others)
    first = [*(["-m"] if sweeps else []), *options(words)]
    return first + [quoted(word, sweeps) for word in overrides]


def quoted(word: str, sweeps: bool = False) -> str:
    """An override in quotes where it is none without: `evaluate=sweeps/a/seed=1/last.ckpt`.

    In a sweep a comma may end one value or be part of it: that is left to who types it.
    """
    key, equals, value = word.partition("=")
    unclear = sweeps and "," in value
    if "=" not in value or word.startswith("-") or set("'\"\\${}") & set(value) or unclear:
        return word
    try:
        OverridesParser.create().parse_override(word)
    except HydraException:
        return f"{key}{equals}'{value}'"
    return word


def as_override(key: str, text: str) -> str:
    """A key and a text as Hydra reads them, in quotes where they need them."""
    if re.fullmatch(r"[\w./+:@%-]+", text, re.ASCII):
        plain = f"{key}={text}"
        if OverridesParser.create().parse_override(plain).value() == text:  # and no number, say
            return plain
    return f"{key}={QuotedString(text, Quote.single).with_quotes()}"


def overrides() -> list[str]:
    """Those of this run as they were typed; none outside of a Hydra program."""
    if not HydraConfig.initialized():
        return []
    # what they interpolate is not in Hydra's own part of the configuration
    typed: Any = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    return list(map(str, typed))


def options(words: Sequence[str]) -> list[str]:
    """Those of WITH_VALUE among the words, with their values: `--config-dir mine`."""
    return [word for word, is_option in _marked(words) if is_option]


def config_dir(words: Sequence[str]) -> Path | None:
    """The folder of the user's own options that the words name."""
    folder = None
    for word, following in zip(words, [*words[1:], ""], strict=False):  # there may be none
        option, _, value = word.partition("=")
        if option in ("--config-dir", "-cd"):
            folder = Path(value or following).resolve()
    return folder


def _marked(words: Sequence[str]) -> Iterator[tuple[str, bool]]:
    for before, word in zip(["", *words], words, strict=False):
        yield word, before in WITH_VALUE or word.partition("=")[0] in WITH_VALUE


def program() -> list[str]:
    """How this program is started, without its arguments: `-m hpml.train`, or a file."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return ["-m", spec.name.removesuffix(".__main__")] if spec else [sys.argv[0]]


def typed(*more: str) -> str:
    """The command line as it can be typed again, with some overrides more, or others.

    For a sweep's job it is that of a run like it, in a directory of its own; for a call from Python
    that call.
    """
    if (called := _called()) is not None:
        name, arguments = called
        every = [*([arguments] if arguments else []), *(f'"{word}"' for word in more)]
        return f"{name}({', '.join(every)})"
    found = shutil.which("python")
    same = found is not None and Path(found).samefile(sys.executable)
    left_out = {*map(key_of, more), *(OF_A_JOB if JOB in os.environ else ())}
    words = [word for word in sys.argv[1:] if key_of(word) not in left_out]
    return shlex.join(["python" if same else sys.executable, *program(), *words, *more])


def typed_in() -> Path:
    """The folder of the command line: with `hydra.job.chdir=true` not the working directory."""
    if not HydraConfig.initialized() or OmegaConf.is_missing(HydraConfig.get().runtime, "cwd"):
        return Path.cwd()
    return Path(HydraConfig.get().runtime.cwd)


def from_here(path: Path) -> Path:
    """A path as one types it: relative where it lies below the folder of the command line."""
    here = typed_in()
    return path.relative_to(here) if path.is_relative_to(here) else path


def as_typed(text: object) -> Path:
    """The path that somebody has typed: relative to the folder of the command line."""
    path, here = Path(str(text)).expanduser(), typed_in()
    return path if here == Path.cwd() else here / path


def as_call(name: str, words: Sequence[str], objects: Mapping[str, Any]) -> str:
    """A call from Python as `hydra.job.id`, where `typed` finds it; `objects` by keyword."""
    given = [f'"{word}"' for word in words] + [f"{key}={name}" for key, name in objects.items()]
    return f"{CALL}{name}({', '.join(given)})"


def _called() -> tuple[str, str] | None:
    """The call from Python that `as_call` has noted, around its arguments; None for a command."""
    job = HydraConfig.get().job if HydraConfig.initialized() else None
    noted = "" if job is None or OmegaConf.is_missing(job, "id") else str(job.id)
    if not noted.startswith(CALL):
        return None
    name, _, arguments = noted.removeprefix(CALL).partition("(")
    return name, arguments.removesuffix(")")
