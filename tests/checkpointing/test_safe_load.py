"""What a stranger's checkpoint, to evaluate or to resume from, cannot do."""

import copy
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.configurations import QUICK, Compose, composed
from helpers.own import StopError, hooked
from hydra.utils import instantiate
from torchvision.datasets import CIFAR10

from hpml.checkpointing import safe_load
from hpml.checkpointing.resume_choice import file_name, resume_checkpoints
from hpml.errors import UserError
from hpml.train import train

JOB = (*QUICK, "trainer.max_epochs=1", "logger=none", "checkpoint.every_s=1e-9")
Honest = dict[str, dict[str, Any]]
Run = Callable[..., Any]
Change = Callable[[dict[str, Any]], None]


@dataclass
class Touches:
    """A pickle of it touches a file when it is loaded."""

    file: Path

    def __reduce__(self) -> Any:
        return Path.touch, (self.file,)


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Honest:
    """What a run's checkpoints hold: the last, for `evaluate`, and one to `resume` from."""

    def stop(trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 1:
            raise StopError

    folder = tmp_path_factory.mktemp("honest")
    with pytest.raises(StopError):
        train(composed(folder, *JOB, hooked(resumable=True, on_train_batch_end=stop)))
    resume_checkpoint = torch.load(resume_checkpoints(folder)[0], weights_only=True)
    train(composed(folder, *JOB, hooked(resumable=True)))
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    return {"evaluate": checkpoint, "resume": resume_checkpoint}


@pytest.fixture
def evaluated(compose: Compose, honest: Honest, tmp_path: Path) -> Run:
    """Evaluates the honest checkpoint after a change to it."""

    def run(change: Change, *overrides: str, **settings: Any) -> Any:
        checkpoint = copy.deepcopy(honest["evaluate"])
        change(checkpoint)
        torch.save(checkpoint, tmp_path / "strange.ckpt")
        words = ["callbacks=none", "logger=none", f"evaluate={tmp_path / 'strange.ckpt'}"]
        return train(compose("device=cpu", *words, *overrides, **settings))

    return run


def setting(group: str = "", /, **values: Any) -> Change:
    """Sets groups of the configuration that a checkpoint holds, or keys of one."""

    def change(checkpoint: dict[str, Any]) -> None:
        config = checkpoint["hpml_config"]
        (config[group] if group else config).update(values)

    return change


def refused(message: str, run: Run, *arguments: Any, **settings: Any) -> str:
    """What refuses a run, in one line."""
    with pytest.raises(UserError, match=message) as caught:
        run(*arguments, **settings)
    assert str(caught.value).isprintable()  # a line's end is not
    return str(caught.value)


def file_for(key: str, folder: Path, content: Any, zipped: bool = True) -> Path:
    """A file that `evaluate` or `resume` takes, as far as its name says."""
    written = folder / "strange.ckpt"
    torch.save(content, written) if zipped else written.write_bytes(pickle.dumps(content, 2))
    return written.rename(folder / file_name(2, written)) if key == "resume" else written


def target(file: Path) -> dict[str, Any]:
    """What touches a file if Hydra instantiates it, whose policy lets it pass."""
    path = {"_target_": "pathlib.Path", "_args_": [str(file)]}
    return {"_target_": "pathlib.Path.touch", "_args_": [path]}


@pytest.mark.parametrize("key", ["evaluate", "resume"])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_malicious_pickle(compose: Compose, tmp_path: Path, key: str, zipped: bool) -> None:
    """It is not loaded, as one line says with the reason; otherwise it would touch a file."""
    marker = tmp_path / "touched"
    content = {"state_dict": {}, "hpml_config": Touches(marker), "hpml_resume": Touches(marker)}
    file = file_for(key, tmp_path, content, zipped)
    message = rf"^{key}=.*: cannot be loaded: it holds getattr, which does not load safely$"
    refused(message, train, compose(*JOB, f"{key}={file}"))
    assert not marker.exists()
    torch.load(file, weights_only=False) if zipped else pickle.loads(file.read_bytes())
    assert marker.exists()


@pytest.mark.parametrize("key", ["evaluate", "resume", "auto"])
@pytest.mark.parametrize(
    "where", ["hyper_parameters", "datamodule_hyper_parameters", "callbacks", "deep"]
)
def test_instantiators(compose: Compose, honest: Any, tmp_path: Path, key: str, where: str) -> None:
    """By its name, in one line, wherever it stands; in a run's own directory too."""
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    payload: Any = {"_instantiator": "os.mkdir", "_class_path": str(tmp_path / "made")}
    if where == "deep":
        where, payload = "hparams", [{"in": [{"in": [{"in": payload}]}]}]
    kind = "evaluate" if key == "evaluate" else "resume"
    file = file_for(kind, folder, honest[kind] | {where: payload})
    given = "resume=auto" if key == "auto" else f"{key}={file}"
    message = rf"^{kind}=.*: refused: it holds _instantiator"
    refused(message, train, compose(*JOB, hooked(resumable=True), given))
    assert not (tmp_path / "made").exists()


def test_what_contains_itself_is_read(tmp_path: Path) -> None:
    """A list inside itself ends no search, and what is beside it is found."""
    endless: list[Any] = []
    endless.append(endless)
    torch.save({"a": endless}, tmp_path / "file")
    assert set(safe_load.read(tmp_path / "file", "evaluate")) == {"a"}
    pairs = {"hpml_type": "dict", "of": {"arguments": [], "pairs": [["_instantiator", 1]]}}
    for beside in ([{"_instantiator": 1}], pairs):
        torch.save({"a": endless, "b": beside}, tmp_path / "file")
        refused(r"evaluate=.*file: refused", safe_load.read, tmp_path / "file", "evaluate")


def test_no_file_to_delete_is_named(compose: Compose, honest: Honest, tmp_path: Path) -> None:
    """Lightning would delete what the state of a checkpoint's callback calls the one before."""
    victim = tmp_path / "victim"
    victim.touch()
    folder = tmp_path / "run" / "checkpoints"
    there = f"{folder}/../../victim"
    strange = copy.deepcopy(honest["resume"])
    paths = dict.fromkeys(("best_model_path", "kth_best_model_path", "last_model_path"), there)
    nothing = dict.fromkeys(("monitor", "best_model_score", "current_score"))
    kept = {"best_k_models": {there: torch.tensor(0.0)}, "kth_value": torch.tensor(0.0)}
    state = {"dirpath": str(folder), **paths, **nothing, **kept}
    strange["callbacks"]["Checkpoint:last"] = state
    file = file_for("resume", tmp_path, strange)
    record = train(compose(*JOB, hooked(resumable=True), f"resume={file}"))
    assert record.status == "completed"
    assert record.resumed[0]["batches"] > 0
    assert (folder / "last.ckpt").exists()
    assert victim.exists()


STRANGE: dict[str, Callable[[Any], Change]] = {
    "model._target_": lambda node: setting(model=node),
    "data._target_": lambda node: setting(data=node),
    "model.width._target_": lambda node: setting("model", width=node),
    "data.mean.0._target_": lambda node: setting("data", mean=[node]),
    "data.std.0.0.in._target_": lambda node: setting("data", std=[({"in": node},)]),
    "data.root._target_": lambda node: setting("data", root=node),
}


@pytest.mark.parametrize("key", STRANGE)
def test_a_target_of_a_strangers_is_not_called(evaluated: Run, tmp_path: Path, key: str) -> None:
    """However deep, in lists too; Hydra itself would have called this one."""
    marker = tmp_path / "touched"
    message = rf"refused: it sets {key}=pathlib.Path.*give {key.partition('.')[0]}=… yourself"
    node = target(marker)
    refused(message, evaluated, STRANGE[key](node))
    assert not marker.exists()
    instantiate(node)
    assert marker.exists()


NOT_OURS = [
    *("hpml.data.storage.Path.touch", "hpml.data.DataError", "hpml.data.Synthetic"),
    *("hpml.models.torch.hub.load", "hpml.models.counts.describe", "hpml.models.small.__call__"),
    *(" hpml.models.small", "torchvision.models.squeezenet1_1", ["hpml.models.small"], None),
]
INNER = {"_target_": "hpml.models.small", "num_classes": 2}


@pytest.mark.parametrize(
    ("group", "key", "value"),
    [
        # no module's own imports, no other function of hpml's, no other group's or package's
        *[("model", "_target_", target) for target in NOT_OURS],
        # what else Hydra reads in a node would go around the rules for our keys
        ("data", "_target_", "hpml.data.ImageDataModule"),
        ("data", "_args_", [1]),
        ("data", "_partial_", True),
        ("data", "_recursive_", False),
        ("data", "_convert_", "none"),
        # inside a model, ours is no part of any configuration of ours
        pytest.param("model", "width", INNER, id="inside"),
    ],
)
def test_what_belongs_there_is_ours(evaluated: Run, group: str, key: str, value: Any) -> None:
    """What is called, and how, is not the checkpoint's to say."""
    set_key = f"{group}.{key}._target_" if key == "width" else f"{group}.{key}"
    message = rf"refused: it sets {set_key}="
    refused(message, evaluated, setting(group, **{key: value}))


@pytest.mark.parametrize(
    "text",
    [
        *("${oc.env:HPML_SECRET}", "a${oc.env:HPML_SECRET}b", "${hydra:runtime.cwd}"),
        *("${oc.decode:'[1]'}", "${seed}", "\x1b]0;title\x07", "a\nb"),
    ],
)
@pytest.mark.parametrize("place", ["value", "in a list", "key"])
def test_text_of_a_strangers_is_only_read(
    evaluated: Run, tmp_path: Path, monkeypatch: Any, text: str, place: str
) -> None:
    """No interpolation is resolved, and nothing reaches the terminal that would control it."""
    monkeypatch.setenv("HPML_SECRET", "secret words")
    more = {"value": {"root": text}, "in a list": {"mean": [[text]]}, "key": {text: 1}}[place]
    expected = r"refused: its data.* holds an interpolation or a"
    message = refused(expected, evaluated, setting("data", **more))
    assert "secret words" not in message
    left = (file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert not any(b"secret words" in content for content in left)


NO_CONFIGURATIONS: list[Any] = [[], "model", None, {"data": 1, "model": 2}]
NO_CONFIGURATIONS += [{"data": {}}, {"model": {"_target_": 1}}]
WRONG = [{"hpml_config": config} for config in NO_CONFIGURATIONS]


@pytest.mark.parametrize("wrong", [*WRONG, {"hpml_names": {"model": "\x1b[2J"}}])
def test_what_is_no_configuration(evaluated: Run, wrong: dict[str, Any]) -> None:
    """In one line, without a traceback, nor with a name that would control the terminal."""
    refused("no checkpoint of hpml", evaluated, lambda checkpoint: checkpoint.update(wrong))


def test_an_honest_checkpoint_is_evaluated(evaluated: Run, tmp_path: Path) -> None:
    """Callbacks and such are not taken from it; a target of one's own is, if that was chosen."""
    assert evaluated(setting()).evaluation
    marker = tmp_path / "touched"
    more = {"callbacks": {"x": target(marker)}, "logger": {"x": target(marker)}}
    more |= {"trainer": target(marker), "optimizer": target(marker)}
    assert evaluated(setting(**more)).evaluation
    assert not marker.exists()
    own = {"_target_": "helpers.own.network", "num_classes": None}
    change = setting(model=own | {"num_classes": 10})
    for chosen in ({}, {"data": own}):
        refused(r"model._target_=helpers.own.network", evaluated, change, **chosen)
    record = evaluated(change, model=own)
    assert record.evaluation
    assert record.config["model"] == own | {"num_classes": 10}


def test_what_is_typed_goes_first(evaluated: Run, tmp_path: Path) -> None:
    """`model=…` leaves the checkpoint's unread, and a key of it takes a strange one's place."""
    marker = tmp_path / "touched"
    strange = setting(model=target(marker))
    assert evaluated(strange, "model=small", "model.width=4", typed=True).evaluation
    strange = setting("model", _target_="os.mkdir")
    record = evaluated(strange, "model._target_=hpml.models.small", typed=True)
    assert record.config["model"]["_target_"] == "hpml.models.small"
    strange = setting("data", **{"root.x": target(marker)})
    refused(r"data.root.x._target_", evaluated, strange, "data.root=mine", typed=True)
    assert not marker.exists()


@pytest.mark.parametrize("leaves_out", [True, False])
def test_an_empty_folder(
    evaluated: Run, tmp_path: Path, monkeypatch: Any, leaves_out: bool
) -> None:
    """It is read where it is there; the folder of the command line is another matter."""
    monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/cifar-10-python.tar.gz")
    folder = tmp_path / "theirs"
    data = {"_target_": "hpml.data.Cifar10", "root": str(folder)}
    data |= {"mean": [0.5] * 3, "std": [0.25] * 3} | ({} if leaves_out else {"download": True})
    change = setting(data=data)
    refused(r"data.root=.*theirs: there is no such folder", evaluated, change)
    assert not folder.exists()
    refused("could not be fetched", evaluated, change, f"data.root={folder}")
    assert [file.name for file in folder.iterdir()] == [".cifar10.lock"]
