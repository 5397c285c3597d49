"""Writes docs/keys.md from the configuration and its comments.

    python scripts/keys_page.py

A key that options set differently has a value for each of them; a key that not all of them have is
followed by the names of those that have it.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from hpml.cli.help import key_values, options_of, read_meanings
from hpml.config.conf import find_conf

PAGE = Path(__file__).parents[1] / "docs" / "keys.md"
COMMANDS = ("diagnose", "tune", "workers", "summary", "lab")
HEAD = """# Keys

Every key of every command, with its default and its meaning.

```bash
python -m hpml.train --help                          # the keys of the options in use
python -m hpml.train --help data=synthetic           # those of others
python -m hpml.train --cfg job experiment=fast       # the configuration that a command line makes
```

`KEY=VALUE` sets a key, `GROUP=OPTION` chooses an option with its keys, `-m KEY=A,B` sweeps, and
`+KEY=VALUE` adds a key that is not here. A value with signs in it stands in quotes:
`"data.mean=[0.5,0.5,0.5]"`.
"""
TAIL = """
## Options of your own

They go into a folder of the same shape. A LightningModule, a LightningDataModule or any
`torch.nn.Module` comes in by its `_target_`; a `num_classes: null` is filled in from the data:

```bash
mkdir -p mine/model
echo '{_target_: torchvision.models.squeezenet1_1, num_classes: null}' > mine/model/squeezenet.yaml
python -m hpml.train --config-dir mine model=squeezenet data.image_size=64 data=image_folder
```

A callback of your own: `+callbacks.NAME._target_=module.Class`; loggers of two kinds:
`logger=[tensorboard,csv]`. W&B and MLflow need `pip install -e ".[wandb]"` or `".[mlflow]"`.

## Completion in bash

```bash
eval "$(python -m hpml.train -sc install=bash)"
```

Then `python -m hpml.train opt<TAB>` completes groups, their options and keys, as `hpml train` and
`python -m hpml.data` do; it takes a second. It is tested in bash alone.
"""


def keys_page() -> str:
    """The page as it should be: a table a group, from what `conf/` holds now."""
    with initialize_config_dir(str(find_conf()), version_base="1.3"):
        return HEAD + "".join(_sections()) + TAIL


def _sections() -> Iterator[str]:
    loader = GlobalHydra.instance().config_loader()
    groups = [group for group in sorted(loader.list_groups("")) if group != "hydra"]
    plain = compose("train")
    meanings = read_meanings([find_conf()], {})
    values = _values(plain, [str(name) for name in plain if name not in groups])
    yield "\n## Of every run\n" + _table(
        {(key, meanings[key]): {value: []} for key, value in values}
    )
    for group in groups:
        yield f"\n## {group.capitalize()}\n\n{''.join(_options(group))}"
        rows: dict[tuple[str, str], dict[str, list[str]]] = {}
        options = options_of(group) if group != "experiment" else []
        for option in options:
            cfg = compose("train", [f"{group}={option}"])
            meanings = read_meanings([find_conf()], {group: option})
            for key, value in _values(cfg, [group] if group in cfg else []):
                rows.setdefault((key, meanings[key]), {}).setdefault(value, []).append(option)
        if rows:
            yield _table(rows, len(options) if "none" not in options else len(options) - 1)
    for command in COMMANDS:
        values = _values(compose(command), [command])
        meanings = read_meanings([find_conf()], {})
        rows = {(key, meanings[key]): {value: []} for key, value in values}
        yield f"\n## {command.capitalize()}\n\nOf `hpml.{command}` alone.\n" + _table(rows)


def _values(cfg: DictConfig, names: list[str]) -> list[tuple[str, str]]:
    """Keys and values as they are written in the files, interpolations and all."""
    raw = OmegaConf.create(OmegaConf.to_yaml(cfg).replace("${", "$\\{"))
    return [(key, value.replace("$\\{", "${")) for key, value in key_values(raw, names)]


def _options(group: str) -> Iterator[str]:
    """A line for each option, with what stands at the top of its file."""
    for option in options_of(group):
        lines = (find_conf() / group / f"{option}.yaml").read_text(encoding="utf-8").splitlines()
        top = [line[2:] for line in lines if re.match(r"# (?!@)", line)]
        yield f"- `{group}={option}`{': ' if top else ''}{' '.join(top)}\n"


def _table(rows: dict[tuple[str, str], dict[str, list[str]]], options: int = 1) -> str:
    text = "\n| key | default | meaning |\n| --- | --- | --- |\n"
    for (key, meaning), values in rows.items():
        everywhere = sum(map(len, values.values())) in (0, options)
        cells = [
            f"`{value}`" + ("" if everywhere and len(values) == 1 else f" ({', '.join(names)})")
            for value, names in values.items()
        ]
        text += f"| `{key}` | {'; '.join(cells)} | {meaning} |\n"
    return text


if __name__ == "__main__":
    PAGE.write_text(keys_page(), encoding="utf-8")
