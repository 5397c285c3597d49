"""What `--help` prints of a Hydra program: its keys, each with its value and its meaning.

Hydra fills in `hydra.help.template`, whose `${hpml.keys:}` is resolved here. The meaning of a key
is the comment behind it in `conf/`, or in a folder that `--config-dir` adds.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from operator import itemgetter
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from hpml.config.checks import check
from hpml.config.conf import spelled
from hpml.formatting import console

WIDEST = 100
BASE = "base_"  # options that others build on, and that are none themselves
UNSET = "…"  # a value that stands only when a run begins
# What is built of the keys: a matter of options of one's own
NOT_LISTED = ("_target_", "_partial_")
LINE = re.compile(r"(?P<indent> *)(?P<key>[\w.]+):(?: .*?)??(?:\s+# (?P<meaning>.+))?")


def register() -> None:
    OmegaConf.register_new_resolver(
        # Hydra takes a `$` in the template for a name of its own
        "hpml.keys",
        lambda _root_: keys_page(_root_).replace("$", "$$"),
        replace=True,
    )


def keys_page(cfg: DictConfig) -> str:
    """Each group of options with its keys, their values and meanings, in aligned columns.

    Raises UserError for a value that is not allowed.
    """
    check(cfg)
    from rich.table import Table
    from rich.text import Text

    runtime = cfg.hydra.runtime
    folders = [Path(each.path) for each in runtime.config_sources if each.schema == "file"]
    chosen = {str(group): str(option) for group, option in runtime.choices.items() if option}
    meanings = read_meanings(folders, chosen)
    page = console(WIDEST)
    with page.capture() as text:
        for heading, rows in _sections(cfg, chosen):
            page.print(Text(heading))
            table = Table.grid(padding=(0, 2, 0, 0))
            for key, value in rows:
                table.add_row(Text(f"  {key}"), Text(value), Text(meanings.get(key, "")))
            if rows:
                page.print(table)
            page.print()
    return "\n".join(line.rstrip() for line in text.get().splitlines()).rstrip()


def _sections(
    cfg: DictConfig, chosen: dict[str, str]
) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """What belongs together, as a heading and its keys with their values."""
    command = cfg.hydra.job.config_name
    groups = GlobalHydra.instance().config_loader().list_groups("")
    # run_dir follows Hydra's directory, and is refused on a command line
    names = [str(name) for name in cfg if name not in (*groups, command, "hydra", "run_dir")]
    if isinstance(cfg.get(command), DictConfig):
        yield "Of this command (KEY=VALUE)", list(key_values(cfg, [command]))
    yield "Of every run (KEY=VALUE)", list(key_values(cfg, names))
    for group in sorted(set(groups) - {"hydra"}):
        option = chosen.get(group)
        others = ", ".join(name for name in options_of(group) if name != option)
        heading = f"{group}={option or 'OPTION'}"
        heading += f", {'or' if option else 'of'} {others}" if others else ""
        yield heading, list(key_values(cfg, [group])) if group in cfg else []


def options_of(group: str) -> list[str]:
    options = GlobalHydra.instance().config_loader().get_group_options(group)
    return sorted(option for option in options if not option.startswith(BASE))


def key_values(
    node: DictConfig, names: Sequence[str], prefix: str = ""
) -> Iterator[tuple[str, str]]:
    """Keys as they are typed, with their values; what has a `_target_` of its own is one too."""
    for name in names:
        child: Any = node._get_node(name)
        if isinstance(child, DictConfig) and not child._is_none():
            if prefix and "_target_" in child:
                yield prefix + name, str(child["_target_"]).rpartition(".")[2]
            inner = [str(key) for key in child if key not in NOT_LISTED]
            yield from key_values(child, inner, f"{prefix}{name}.")
        else:
            value = None
            with suppress(OmegaConfBaseException):
                value = node[name]
            # what Hydra sets when a run begins is not there yet
            is_unset = value is None and OmegaConf.is_interpolation(node, name)
            yield prefix + name, UNSET if is_unset else spelled(value).replace(", ", ",") or '""'


def read_meanings(folders: Sequence[Path], chosen: dict[str, str]) -> dict[str, str]:
    """The comment behind each key in the files of some folders of configurations.

    The option in use goes first, then the base option of its group, then the others: options build
    on each other, and do not repeat what stands there.
    """
    ranked = [(1, "", file) for folder in folders for file in sorted(folder.glob("*.yaml"))]
    for file in (file for folder in folders for file in sorted(folder.glob("*/*.yaml"))):
        group = file.parent.name
        rank = 4 if chosen.get(group) == file.stem else 2 + file.stem.startswith(BASE)
        # an experiment sets keys of any group
        ranked.append((0, "", file) if group == "experiment" else (rank, f"{group}.", file))
    meanings: dict[str, str] = {}
    for _, prefix, file in sorted(ranked, key=itemgetter(0)):
        meanings |= {prefix + key: meaning for key, meaning in comments(file).items()}
    return meanings


def comments(file: Path) -> dict[str, str]:
    """The comment behind each key of a YAML file, by the dotted key."""
    found: dict[str, str] = {}
    above: list[tuple[int, str]] = []  # the keys around this line, with their indents
    for line in file.read_text(encoding="utf-8").splitlines():
        if part := LINE.fullmatch(line):
            indent = len(part["indent"])
            above = [(depth, key) for depth, key in above if depth < indent]
            above.append((indent, part["key"]))
            if part["meaning"]:
                found[".".join(key for _, key in above)] = part["meaning"]
    return found
