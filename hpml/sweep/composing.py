"""The configurations of a sweep's jobs: Hydra composes those that choose other files.

Between jobs that choose the same files, and give the same keys other values, only these values are
set anew, by Hydra's own rules: a hundredth of the work.
"""

from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from hpml.config.fingerprint import RUN_DIR

# Compositions that are kept; a job alone holds about a megabyte.
KEPT = 64
Kind = tuple[str, ...]


@lru_cache(maxsize=1 << 16)
def parsed(word: str) -> Override:
    """An override of the command line, in parts. Raises Hydra's OverrideParseException."""
    (override,) = OverridesParser.create().parse_overrides([word])
    return override


class Composer:
    """Composes the jobs of one sweep, whose own configuration is `sweep`."""

    def __init__(self, config_loader: ConfigLoader, sweep: DictConfig) -> None:
        self._loader = config_loader
        self._sweep = sweep
        self._kept: OrderedDict[Kind, _Composition] = OrderedDict()
        self._groups: dict[str, bool] = {}

    def compose(self, overrides: Sequence[str], number: int) -> DictConfig:
        """A job's configuration, as the job itself will compose it, valid until the next call.

        Without the node `hydra`, which `HydraConfig` holds then, for interpolations of the user's
        own. Raises what Hydra raises.
        """
        kind = self._kind(overrides)
        composition = self._kept.pop(kind, None)
        if composition is None:
            cfg = self._loader.load_sweep_config(self._sweep, list(overrides))
            composition = _Composition(cfg, overrides)
        else:
            composition.change_to(self._sweep, overrides)
        self._kept[kind] = composition  # only what was composed without an error
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return composition.of_job(number)

    def by_kind(self, jobs: Sequence[Sequence[str]]) -> list[int]:
        """Places of jobs in the order in which each kind is composed once, however many there are.

        The kinds, and the jobs of each, stay as they come.
        """
        first: dict[Kind, int] = {}
        turns = [first.setdefault(self._kind(overrides), len(first)) for overrides in jobs]
        return sorted(range(len(jobs)), key=turns.__getitem__)

    def _kind(self, overrides: Sequence[str]) -> Kind:
        """What jobs have in common between which only values differ.

        Of a value that may be set anew its key; of all else the override as it stands. Files are
        chosen before any value is set, wherever these words stand.
        """
        words = [parsed(word) for word in overrides]
        keys = [str(word.key_or_group) for word in words if not self._chooses(word)]
        kind = []
        for word in words:
            key = str(word.key_or_group)
            alone = sum(_touch(key, other) for other in keys) == 1  # itself
            kind.append(key if alone and self._is_plain(word) else str(word.input_line))
        return tuple(kind)

    def _chooses(self, word: Override) -> bool:
        """Whether it chooses files, and sets no value: a dictionary is one."""
        return self._is_group(str(word.key_or_group)) and not isinstance(word.value(), dict)

    def _is_plain(self, word: Override) -> bool:
        """Whether it gives one value to a key that is there, and chooses no file."""
        plain_word = not (word.is_add() or word.is_force_add() or word.is_delete())
        return (
            plain_word
            and word.package is None
            and not word.is_hydra_override()
            and isinstance(word.value(), str | int | float | None)
            and not self._is_group(str(word.key_or_group))
        )

    def _is_group(self, key: str) -> bool:
        """Whether there are files to choose, where `hydra.searchpath` of the command looks too."""
        if key not in self._groups:
            hydra = self._sweep.hydra
            words: Any = OmegaConf.to_container(hydra.overrides.hydra)  # as they stand
            name = str(hydra.job.config_name)
            found = self._loader.get_group_options(key, None, name, words)
            self._groups[key] = bool(found)
        return self._groups[key]


class _Composition:
    """A job's configuration, which can become that of another job."""

    def __init__(self, cfg: DictConfig, overrides: Sequence[str]) -> None:
        HydraConfig.instance().set_config(cfg)
        self._hydra: Any = HydraConfig.instance().cfg
        self._cfg = cfg
        self._overrides = overrides
        with open_dict(cfg):
            cfg.run_dir = RUN_DIR  # it is not known yet, and has no part in the fingerprint
            del cfg["hydra"]

    def change_to(self, sweep: DictConfig, overrides: Sequence[str]) -> None:
        """Gives the keys the values of these overrides, which are of the same kind."""
        pairs = zip(self._overrides, overrides, strict=True)
        changed = [parsed(now) for before, now in pairs if now != before]
        self._overrides = overrides
        ConfigLoaderImpl._apply_overrides_to_config(changed, self._cfg)
        OmegaConf.copy_cache(from_config=sweep, to_config=self._cfg)

    def of_job(self, number: int) -> DictConfig:
        """The configuration, with what Hydra says of a job in its own."""
        HydraConfig.instance().cfg = self._hydra
        hydra = self._hydra.hydra
        task = [word for word in map(parsed, self._overrides) if not word.is_hydra_override()]
        form = hydra.job.config.override_dirname
        with read_write(hydra), open_dict(hydra):
            hydra.job.num = number
            hydra.overrides.task = [word.input_line for word in task]
            hydra.job.override_dirname = get_overrides_dirname(
                task, list(form.exclude_keys), form.item_sep, form.kv_sep
            )
        return self._cfg


def _touch(key: str, other: str) -> bool:
    """Whether a key is the other one, or above or below it."""
    return f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}.")
