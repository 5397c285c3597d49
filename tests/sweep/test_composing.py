"""A job's configuration is what Hydra composes, to the last value and its type."""

import itertools
import random
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from helpers.configurations import stress
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import setup_globals
from hydra.errors import ConfigCompositionException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from hpml.config.conf import find_conf
from hpml.config.fingerprint import RUN_DIR, fingerprint
from hpml.sweep import composing
from hpml.sweep.composing import Composer

FIXED = ("experiment=demo", "+note=${seed}", "hydra.verbose=false")
# what varies, each with its values
SCALARS = [
    ("seed", ["3", "4"]),
    ("optimizer.lr", ["0.1", "1e-3", "${seed}"]),
    ("data.encoded", ["jpeg", "null", "'null'"]),
    ("monitor", ["val/loss", "'a, b'"]),
]
KINDS = [
    SCALARS,
    # an option, and a key of its own, in any order
    [("optimizer", ["sgd", "adam"]), ("seed", ["0", "1"]), ("optimizer.lr", ["0.1", "0.2"])],
    [("model.width", ["8", "16"]), ("model", ["small"]), ("data", ["synthetic"])],
    [("scheduler", ["multistep"]), ("scheduler.milestones", ["[2,3]", "[5]", "[7,8,9]"])],
    [("callbacks", ["none", "default"]), ("+trainer.note", ["1", "x"]), ("seed", ["1", "2"])],
    # one key is part of the other: the later one wins
    [("model", ["{_target_:a.b,width:3}", "small"]), ("model.width", ["8", "16"])],
    [("+own", ["{a:1,b:2}", "{a:3}"]), ("++own.a", ["5", "6"]), ("seed", ["1", "2"])],
    [("~optimizer.momentum", None), ("seed", ["1", "2"])],
    [("hydra.job.name", ["a", "b"]), ("+told", ["${hydra:job.num} ${hydra:job.name}"])],
    [("+told", ["${hydra:job.num}"]), ("seed", ["1", "2"])],
    [("logger", ["csv", "tensorboard"]), ("cpu.threads", ["auto", "1"]), ("compile", ["true"])],
    [("data.mean", ["[0.1,0.2,0.3]", "null"]), ("label_smoothing", ["0", "0.1"])],
]


@pytest.fixture(scope="module")
def loader() -> Iterator[Any]:
    with initialize_config_dir(str(find_conf()), version_base="1.3"):
        setup_globals()
        yield GlobalHydra.instance().hydra.config_loader


def products(*varied: tuple[str, list[str] | None]) -> list[tuple[str, ...]]:
    """All jobs of a sweep."""
    words = [[key] if values is None else [f"{key}={v}" for v in values] for key, values in varied]
    return list(itertools.product(*words))


def plain(cfg: DictConfig, hydra: DictConfig) -> tuple[Any, ...]:
    """All values, resolved and as they stand, Hydra's own, and the fingerprint."""
    every: Any = OmegaConf.to_container(cfg, resolve=True)
    hydras = OmegaConf.to_container(hydra, resolve=False)
    return every, OmegaConf.to_yaml(cfg), hydras, fingerprint(every)


def by_hydra(loader: Any, sweep: DictConfig, words: Sequence[str], number: int) -> Any:
    cfg = loader.load_sweep_config(sweep, list(words))
    with open_dict(cfg):
        cfg.hydra.job.num = number
        cfg.run_dir = RUN_DIR
        HydraConfig.instance().set_config(cfg)
        del cfg["hydra"]
    return plain(cfg, HydraConfig.get())


def compare(loader: Any, jobs: Sequence[Sequence[str]]) -> None:
    """Composes each job both ways."""
    sweep = loader.load_configuration("train", list(FIXED[2:]), RunMode.MULTIRUN)
    assert sweep.hydra.sweep.dir  # the sweep's own time is every job's
    composer = Composer(loader, sweep)
    for number, job in enumerate(jobs):
        words = [*FIXED[:2], *job]
        theirs = by_hydra(loader, sweep, words, number)
        cfg = composer.compose(words, number)
        assert plain(cfg, HydraConfig.get()) == theirs, words


@pytest.mark.parametrize("kind", KINDS)
def test_it_composes_what_hydra_composes(loader: Any, kind: list[Any]) -> None:
    """Whatever varies: values, files, lists, what is added and taken away, Hydra's own."""
    jobs = products(*kind)
    compare(loader, random.Random(0).sample(jobs, min(3, len(jobs))))


def test_only_other_files_are_read_again(loader: Any) -> None:
    """Two optimizers with five seeds: two compositions, each changed back and forth."""
    jobs = products(("optimizer", ["sgd", "adam"]), ("seed", [*"01234", "0"]))
    composer, asked = asking(loader)
    seeds = [composer.compose(job, number).seed for number, job in enumerate(jobs)]
    assert seeds == 2 * [0, 1, 2, 3, 4, 0]
    assert [job[0] for job in asked] == ["optimizer=sgd", "optimizer=adam"]


def test_the_keys_of_what_is_chosen_are_values(loader: Any) -> None:
    """One composition for all rates of an optimizer; one each where a dictionary is beside them."""
    composer, asked = asking(loader)
    rates = products(("optimizer", ["adam"]), ("optimizer.lr", ["1", "2", "3"]))
    assert [composer.compose(job, 0).optimizer.lr for job in rates] == [1, 2, 3]
    assert len(asked) == 1
    rates = products(("optimizer", ["{lr:0}"]), ("optimizer.lr", ["4", "5"]))
    assert [composer.compose(job, 0).optimizer.lr for job in rates] == [4, 5]
    assert len(asked) == 3


def test_each_kind_is_composed_once_however_many_come_in_turn(
    loader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the order of `by_kind`, in which those of a kind follow one another."""
    monkeypatch.setattr(composing, "KEPT", 1)
    jobs = products(("seed", [*"012"]), ("optimizer", ["sgd", "adam"]))
    composer, asked = asking(loader)
    places = composer.by_kind(jobs)
    assert places == [0, 2, 4, 1, 3, 5]
    assert [composer.compose(jobs[n], n).seed for n in places] == 2 * [0, 1, 2]
    assert len(asked) == 2


def asking(loader: Any) -> tuple[Composer, list[Sequence[str]]]:
    """A composer, and the overrides that it has Hydra compose."""
    composer = Composer(loader, loader.load_configuration("train", [], RunMode.MULTIRUN))
    composer._loader = Asked(loader, asked := [])
    return composer, asked


class Asked:
    """A loader that notes what it composes."""

    def __init__(self, loader: Any, asked: list[Sequence[str]]) -> None:
        self._loader, self._asked = loader, asked

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def load_sweep_config(self, sweep: DictConfig, words: Sequence[str]) -> DictConfig:
        self._asked.append(words)
        return self._loader.load_sweep_config(sweep, words)


def test_a_key_that_is_not_there_is_refused_in_hydras_words(loader: Any) -> None:
    """Also where other jobs of its kind were composed before."""
    sweep = loader.load_configuration("train", [], RunMode.MULTIRUN)
    composer = Composer(loader, sweep)
    for word in ("optimizer.typo=1", "optimizer.typo=2"):
        with pytest.raises(ConfigCompositionException, match=r"Could not override"):
            composer.compose(["seed=1", word], 0)
    assert composer.compose(["seed=2"], 1).seed == 2


@pytest.mark.parametrize(
    "varied",
    [
        stress([("seed", [str(n) for n in range(1000)])]),
        stress(
            [
                ("optimizer", ["sgd", "nesterov", "adam", "adamw", "rmsprop"]),
                ("model", ["small", "resnet18"]),
                ("seed", [str(n) for n in range(100)]),
            ]
        ),
        stress(
            [
                ("optimizer", ["adam"]),
                ("seed", [str(n) for n in range(100)]),
                ("optimizer.lr", [f"{n}e-4" for n in range(1, 11)]),
            ]
        ),
    ],
)
def test_every_job_of_a_thousand(loader: Any, varied: list[Any]) -> None:
    """One by one."""
    compare(loader, products(*varied))
