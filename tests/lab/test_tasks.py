"""The lab's commands: what each part runs, fed by what was found before it."""

import shlex
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from helpers.labs import FACTS, keep, search_result
from helpers.records import make_run
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from hpml.config.checks import check
from hpml.config.command_line import arranged
from hpml.config.conf import find_conf
from hpml.config.fingerprint import key_of
from hpml.lab.parts import PARTS
from hpml.lab.tasks import Task, Tasks

Make = Callable[..., Tasks]
# What a user may give, one of each kind.
GIVEN = ["data.batch_size=64", "optimizer.lr=.05", "trainer.max_epochs=2", "model.init=torchvision"]
SEARCH = "m/workers/workers.json"
SUMMARIES = "summary-sgd summary-adam summary-no_norm_sgd summary-no_norm_adam"
BOTH = ("gpu", "cpu")


@cache
def composed(*overrides: str) -> DictConfig:
    return compose("lab", overrides=list(overrides))


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """The tasks of a command line, on a machine with these devices."""
    monkeypatch.setattr("sys.argv", ["lab"])

    def made(*overrides: str, devices: tuple[str, ...] = ("cpu",), folder: str = "m") -> Tasks:
        return Tasks(composed(*overrides), overrides, tmp_path / folder, devices)

    with initialize_config_dir(str(find_conf()), version_base="1.3"):
        yield made


def by_name(tasks: Tasks) -> dict[str, Task]:
    return {task.key: task for task in (*tasks.before_training(), *tasks.training())}


def overrides_of(task: Task) -> list[str]:
    """Of a command, as Hydra reads them."""
    return [word for word in arranged(task.words[2:]) if not word.startswith("-")]


def value(task: Task, key: str) -> str:
    (word,) = (word for word in task.words if key_of(word) == key)
    return word.partition("=")[2]


def test_every_command_composes(make: Make) -> None:
    """By its own program's configuration, one of a sweep's jobs."""
    tasks = by_name(make(*GIVEN, "lab.seeds=2", devices=BOTH))
    assert list(tasks) == f"{SUMMARIES} workers diagnosis training no_norm devices".split()
    for task in tasks.values():
        check(compose(task.words[1].rpartition(".")[2], of_job(task, -1)))


def of_job(task: Task, job: int) -> list[str]:
    """The overrides of one job of a sweep; of a command that is none as they are."""
    words = [word for word in overrides_of(task) if not word.startswith("hydra.")]
    pairs = (word.partition("=") for word in words)
    is_sweep = task.words[1] == "hpml.train"
    return [f"{key}={of.split(',')[job]}" for key, _, of in pairs] if is_sweep else words


def test_what_is_given_reaches_every_part_once(make: Make) -> None:
    """Each key stands once in each command; a summary has no use for those of training."""
    for task in by_name(make(*GIVEN, "device=cpu")).values():
        keys = [key_of(word) for word in task.words[2:]]
        assert len(keys) == len(set(keys)), task.command
        for given in GIVEN:
            if not (task.name == "summary" and given.startswith("trainer.")):
                assert given in task.words
        assert "device=cpu" in task.words


def test_what_is_the_labs_own_does_not_leak(make: Make) -> None:
    """The lab's keys, seeds and directory are its alone; `+workers.rounds=2` is no training's."""
    given = ("lab.name=x", "lab.seeds=3", "seed=7", "output_dir=y", "data.num_workers=9")
    tasks = by_name(make(*given, "lab.budget_min=5", "lab.parts=null"))
    for task in tasks.values():
        assert not [word for word in task.words if word.startswith(("lab.", "output_dir="))]
        seeds = [word for word in task.words if word.startswith("seed=")]
        expected = {"training": ["seed=7,8,9"], "no_norm": ["seed=7,8,9"], "summary": ["seed=7"]}
        assert seeds == expected.get(task.name, [])
    assert value(tasks["training"], "data.num_workers") == "9"  # for nothing was found yet
    assert "data.num_workers=9" not in tasks["workers"].words
    of_lab = make("+workers.rounds=2", "+diagnose.budget_s=5", "+summary.seeds=1")
    for task in by_name(of_lab).values():
        own = [w for w in task.words if w.startswith(("workers.", "diagnose.b", "summary.s", "+"))]
        expected = {
            "workers": ["workers.rounds=2", "workers.budget_s=180"],
            "diagnosis": ["diagnose.budget_s=5"],
        }
        assert own == (expected | {"summary": ["summary.seeds=1"]}).get(task.name, [])
    of_lab.worker_rounds, of_lab.search_s = 3, 60.0  # as a budget has it
    words = by_name(of_lab)["workers"].words
    assert [word for word in words if word.startswith("workers.")] == [
        "workers.rounds=3",
        "workers.budget_s=60",
    ]
    (search,) = [
        each for each in make("+workers.budget_s=9").before_training() if each.name == "workers"
    ]
    assert search.words[-3:-1] == ("workers.budget_s=9", "workers.rounds=30")


def test_the_labs_settings_are_the_labs(make: Make) -> None:
    """One sample at a time, learning rate 0.1 for all, no validation in timed parts, 5 epochs."""
    tasks = by_name(make())
    for name in ("workers", "diagnosis", "training", "no_norm"):
        words = tasks[name].words
        assert {"data.pipeline=per_sample", "optimizer.lr=0.1"} <= set(words)
        assert "trainer.limit_val_batches=0" in words
    cfg = compose("train", of_job(tasks["training"], 0))
    assert (cfg.trainer.max_epochs, cfg.data.batch_size, cfg.model.init) == (5, 128, "torch")
    assert (cfg.optimizer.momentum, cfg.optimizer.weight_decay) == (0.9, 5e-4)
    given = by_name(make("data.pipeline=batched", "optimizer.lr=0.2"))["training"].words
    assert "data.pipeline=per_sample" not in given
    assert "optimizer.lr=0.1" not in given


def test_the_best_number_of_workers_feeds_the_others(make: Make, tmp_path: Path) -> None:
    """C5 to C7 train with it; on another machine its own is found."""
    keep(tmp_path / SEARCH, search_result({0: 9, 1: 5, 2: 3, 3: 2, 4: 3}))
    tasks = make(devices=BOTH)
    for name in ("training", "no_norm", "devices"):
        assert value(by_name(tasks)[name], "data.num_workers") == "3"
    tasks.num_workers = 0  # those before had this
    assert value(by_name(tasks)["training"], "data.num_workers") == "0"
    assert value(by_name(make(folder="other"))["training"], "data.num_workers") == "0"


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        *(({0: 9, 1: 8, 2: 5, 3: 4, 4: 3, 8: 3.5}, 4), ({0: 1, 1: 3, 2: 5, 4: 4}, 4)),
        *(({0: 3, 1: 1, 2: 2, 4: 4}, 2), ({0: 1, 1: 2}, 2), ({}, 2)),
    ],
)
def test_one_or_more(make: Make, tmp_path: Path, times: dict[int, float], expected: int) -> None:
    """Where 0 or 1 is the best, with the best number above it."""
    if times:
        keep(tmp_path / SEARCH, search_result(times))
    diagnosis = by_name(make())["diagnosis"]
    assert value(diagnosis, "data.num_workers") == "1"
    assert value(diagnosis, "diagnose.against") == f"data.num_workers={expected}"


def test_parts_share_what_is_the_same(make: Make) -> None:
    """C1, C2 and C6 are one sweep, whose SGD run is C5's first device and C7's comparison."""
    tasks = by_name(make("lab.parts=[c1,c2,c5,c6,c7]", devices=BOTH))
    assert list(tasks) == ["summary-sgd", "summary-no_norm_sgd", "training", "no_norm", "devices"]
    assert tasks["summary-sgd"].parts == ("c7",)
    assert tasks["training"].parts == ("c1", "c2", "c6")
    assert value(tasks["training"], "optimizer") == "sgd,nesterov,adagrad,adadelta,adam"
    assert value(tasks["training"], "device") == "gpu"
    assert value(tasks["devices"], "device") == "cpu"  # the other one alone
    assert value(tasks["devices"], "optimizer") == value(tasks["no_norm"], "optimizer") == "sgd"
    assert value(tasks["no_norm"], "model.norm") == "false"


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        *[("c1", "training"), ("c2", "training"), ("c3", "workers"), ("c4", "diagnosis")],
        *[("c5", "training devices"), ("c6", "training")],
        ("c7", "summary-sgd summary-no_norm_sgd training no_norm"),
        *[("q1", SUMMARIES), ("q4", SUMMARIES)],
    ],
)
def test_a_part_alone_runs_what_it_needs(make: Make, part: str, expected: str) -> None:
    """And says that it is for this part."""
    tasks = by_name(make(f"lab.parts=[{part}]", devices=BOTH))
    assert list(tasks) == expected.split()
    assert all(task.parts == (part,) for task in tasks.values())
    if "training" in tasks and part != "c6":
        assert value(tasks["training"], "optimizer") == "sgd"


def test_parts_as_they_are_typed(make: Make) -> None:
    """One without brackets, capitals, one twice; what adds a part later is all but which part."""
    chosen = {"c3": ["c3"], "[C6,c3,c6]": ["c6", "c3"], "[]": [], "3": ["3"], "null": [*PARTS]}
    assert {typed: make(f"lab.parts={typed}").chosen for typed in chosen} == chosen
    given = ("output_dir=x", "lab.seeds=2", "seed=3", "data.batch_size=4", "+workers.rounds=1")
    others = ("lab.name=n", "lab.parts=[c1]", "lab.budget_min=9", "lab.dry_run=true")
    assert make(*given, *others).typed == list(given)


@pytest.mark.parametrize("model", ["model=small_no_norm", "model=resnet18_no_norm"])
def test_a_network_without_normalisation_has_no_c7(make: Make, model: str) -> None:
    """Nothing is trained for it, and what is counted is the network as it is."""
    assert by_name(make(model, "lab.parts=[c7]")) == {}
    assert make(model, "lab.parts=[c7]").has == set()
    tasks = by_name(make(model))
    assert "no_norm" not in tasks
    assert [key for key in tasks if "summary" in key] == ["summary-sgd", "summary-adam"]
    assert not [w for task in tasks.values() for w in task.words if w.startswith("model.norm")]


@pytest.mark.parametrize("name", ["plain", "a b", "a,b=c", "it's", "Übung", "~x", "(1)", "[a]{b}#"])
def test_any_folder_is_a_value_for_hydra(make: Make, tmp_path: Path, name: str) -> None:
    """Quoted where it has to be; absolute where relative is not shorter."""
    for task in by_name(make(devices=BOTH, folder=name)).values():
        words = overrides_of(task)
        parsed = {o.key_or_group: o for o in OverridesParser.create().parse_overrides(words)}
        assert shlex.split(task.command)[1:] == list(task.words)
        for key in ("hydra.run.dir", "hydra.sweep.dir"):
            if key in parsed:
                assert not parsed[key].is_sweep_override()
                assert parsed[key].value() == str(tmp_path / name / task.name)


def test_options_go_along(make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the user's own options lie; and the folder is shown relative to where one is."""
    monkeypatch.setattr("sys.argv", ["lab", "--config-dir", "mine", "data.batch_size=4"])
    monkeypatch.chdir(tmp_path)
    tasks = make("data.batch_size=4")
    for task in by_name(tasks).values():
        assert task.words[2:4] == ("--config-dir", "mine")
    assert value(by_name(tasks)["workers"], "hydra.run.dir") == "m/workers"
    assert tasks.typed[:2] == ["--config-dir", "mine"]


def test_files_are_looked_at_once(make: Make) -> None:
    """By the lab, not by each part; unless the user wants that."""
    tasks, asked = make("data=image_folder"), make("data=image_folder", "data.verify=true")
    assert (tasks.to_verify, asked.to_verify) == (["data.verify=true"], [])
    assert "data.verify=false" in by_name(tasks)["training"].words
    assert "data.verify=false" not in by_name(tasks)["summary-sgd"].words
    assert "data.verify=true" in by_name(asked)["training"].words
    assert not [word for word in by_name(make())["training"].words if "verify" in word]


def test_what_is_there_is_done(make: Make, tmp_path: Path) -> None:
    """A result that is whole; half a file, or one of another version, is none."""
    tasks = make(devices=BOTH)
    assert tasks.done == set()
    assert tasks.has == {"summary", "workers", "diagnosis", "training", "no_norm", "devices"}
    file = tmp_path / SEARCH
    keep(file, search_result({0: 2, 1: 1}))
    assert tasks.done == {"workers"}
    whole = file.read_text()
    for text in (whole[: len(whole) // 2], "", "[]", '{"recommended": 1}', "\xff"):
        file.write_text(text, encoding="latin-1")
        assert (tasks.done, tasks.search, tasks.best) == (set(), None, 0)
    for name in ("sgd", "adam", "no_norm_sgd", "no_norm_adam"):
        assert "summary" not in tasks.done
        keep(tmp_path / "m" / "summary" / f"{name}.json", FACTS)
    assert tasks.done == {"summary"}
    assert make("lab.parts=[c3]").done == set()


def test_trainings_that_are_there_take_nothing(make: Make, tmp_path: Path) -> None:
    """Each optimizer, device and seed by itself; one that failed is made again."""
    folder = tmp_path / "m"
    tasks = make("lab.seeds=2", devices=BOTH)
    others = [("no_norm", "gpu", 2), ("devices", "cpu", 2)]
    assert tasks.trainings == [("training", "gpu", 10), *others]

    def make_one(part: str, name: str, seed: int, device: str, status: str = "completed") -> None:
        config = {"seed": seed, "device": device}
        make_run(folder / part, f"optimizer={name},seed={seed}", config=config, status=status)

    make_one("training", "sgd", 0, "gpu")
    make_one("training", "adam", 1, "gpu")
    make_one("training", "sgd", 1, "gpu", "failed")
    keep(folder / "training" / "broken" / "record.json", "no record")
    assert tasks.trainings == [("training", "gpu", 8), *others]
    make_one("devices", "sgd", 0, "cpu")
    make_one("devices", "sgd", 1, "cpu")
    assert tasks.trainings == [("training", "gpu", 8), others[0]]
    assert "training" not in tasks.done
    alone = make("lab.parts=[c1]", devices=BOTH)
    assert alone.trainings == []
    assert alone.done == {"training"}
    assert by_name(alone) == {}
    again = make("lab.parts=[c1]", "sweep.on_code_change=rerun", devices=BOTH)
    assert list(by_name(again)) == ["training"]
