"""What a stranger's checkpoint, or point to go on from, cannot do."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from helpers.configurations import TINY, Compose
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.utils import instantiate
from torchvision.datasets import CIFAR10

from hpml.checkpointing import safe_load
from hpml.checkpointing.resume import file_name, resume_checkpoints
from hpml.config.conf import find_conf
from hpml.errors import UserError
from hpml.models.networks import small
from hpml.train import train

JOB = (*TINY, "model.width=4", "trainer.max_epochs=1", "logger=none", "checkpoint.every_s=1e-9")
OWN = f"+callbacks.stops._target_={__name__}.Stops"
Change = Callable[[dict[str, Any]], None]


class StopError(Exception):
    """Stands for whatever ends a process."""


class Stops(L.Callback):
    """Ends a run after its second batch, if it is to."""

    stops = False

    def state_dict(self) -> dict[str, Any]:
        return {}

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if Stops.stops and batch_idx == 1:
            raise StopError


class Touches:
    """A pickle of it touches a file when it is loaded."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return Path.touch, (self.file,)


def network(num_classes: int) -> torch.nn.Module:
    """A target of the user's own."""
    return small(num_classes, width=4)


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What a run's checkpoint holds, for `evaluate`, and one of its points, for `resume`."""
    folder = tmp_path_factory.mktemp("honest")
    with initialize_config_dir(str(find_conf()), version_base="1.3"):
        cfg = hydra_compose("train", overrides=[f"run_dir={folder}", "resume=never", *JOB, OWN])
    Stops.stops = True
    with pytest.raises(StopError):
        train(cfg)
    Stops.stops = False
    resume_checkpoint = torch.load(resume_checkpoints(folder)[0], weights_only=True)
    train(cfg)
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    return {"evaluate": checkpoint, "resume": resume_checkpoint}


@pytest.fixture
def evaluated(
    compose: Compose, honest: dict[str, dict[str, Any]], tmp_path: Path
) -> Callable[..., Any]:
    """Evaluates the honest checkpoint after a change to it."""

    def run(change: Change, *overrides: str, **groups: Any) -> Any:
        checkpoint = copy.deepcopy(honest["evaluate"])
        change(checkpoint)
        torch.save(checkpoint, tmp_path / "strange.ckpt")
        file = f"evaluate={tmp_path / 'strange.ckpt'}"
        cfg = compose("device=cpu", "callbacks=none", "logger=none", file, *overrides)
        for group, node in groups.items():
            cfg[group] = node
        return train(cfg)

    return run


def file_for(key: str, folder: Path, write: Callable[[Path], object]) -> Path:
    """A file that `evaluate` or `resume` takes, as far as its name says."""
    written = folder / "strange.ckpt"
    write(written)
    return written.rename(folder / file_name(2, written)) if key == "resume" else written


def nest(node: Any, depth: int = 0) -> Any:
    return node if depth == 3 else [{"in": nest(node, depth + 1)}]


def target(file: Path) -> dict[str, Any]:
    """What touches a file if Hydra instantiates it, whose policy lets it pass."""
    path = {"_target_": "pathlib.Path", "_args_": [str(file)]}
    return {"_target_": "pathlib.Path.touch", "_args_": [path]}


def one_line(caught: pytest.ExceptionInfo[UserError]) -> str:
    assert "\n" not in str(caught.value)
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.mark.parametrize("key", ["evaluate", "resume"])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_malicious_pickle_calls_nothing(
    compose: Compose, tmp_path: Path, key: str, zipped: bool
) -> None:
    """It is no checkpoint of ours, in one line; loaded otherwise, it would have touched a file."""
    marker = tmp_path / "touched"
    content = {"state_dict": {}, "hpml_config": Touches(marker), "hpml_resume": Touches(marker)}

    def write(path: Path) -> None:
        if zipped:
            torch.save(content, path)
        else:
            path.write_bytes(pickle.dumps(content, protocol=2))

    file = file_for(key, tmp_path, write)
    with pytest.raises(
        UserError, match=rf"^{key}=.*: (no checkpoint|is no resume checkpoint) of hpml"
    ) as told:
        train(compose(*JOB, f"{key}={file}"))
    one_line(told)
    assert not marker.exists()
    if zipped:
        torch.load(file, weights_only=False)
    else:
        pickle.loads(file.read_bytes())
    assert marker.exists()


@pytest.mark.parametrize("key", ["evaluate", "resume"])
@pytest.mark.parametrize(
    "where", ["hyper_parameters", "datamodule_hyper_parameters", "callbacks", "deep"]
)
def test_an_instantiator_is_refused(
    compose: Compose, honest: dict[str, dict[str, Any]], tmp_path: Path, key: str, where: str
) -> None:
    """By its name, in one line, wherever in a checkpoint or point it stands."""
    payload = {"_instantiator": "os.mkdir", "_class_path": str(tmp_path / "made")}
    more = {"hparams": nest(payload)} if where == "deep" else {where: payload}
    strange = honest[key] | more
    file = file_for(key, tmp_path, lambda path: torch.save(strange, path))
    with pytest.raises(UserError, match=rf"^{key}=.*: refused: it holds _instantiator") as told:
        train(compose(*JOB, OWN, f"{key}={file}"))
    one_line(told)
    assert not (tmp_path / "made").exists()


def test_an_own_point_is_no_exception(
    compose: Compose, honest: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    """`resume=auto` refuses an `_instantiator` too: no run of ours has put it there."""
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    strange = honest["resume"] | {"hyper_parameters": {"_instantiator": "os.mkdir"}}
    file_for("resume", folder, lambda path: torch.save(strange, path))
    with pytest.raises(UserError, match="refused: it holds _instantiator"):
        train(compose(*JOB, OWN, "resume=auto"))


def test_what_contains_itself_is_read(tmp_path: Path) -> None:
    """A list inside itself ends no search, and what is beside it is found."""
    endless: list[Any] = []
    endless.append(endless)
    torch.save({"a": endless}, tmp_path / "file")
    assert set(safe_load.read(tmp_path / "file", "evaluate")) == {"a"}
    torch.save({"a": endless, "b": [{"_instantiator": 1}]}, tmp_path / "file")
    with pytest.raises(UserError, match=r"evaluate=.*file: refused"):
        safe_load.read(tmp_path / "file", "evaluate")


def test_a_point_names_no_file_to_delete(
    compose: Compose, honest: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    """Lightning would delete what the state of a checkpoint's callback calls the one before."""
    victim = tmp_path / "victim"
    victim.touch()
    folder = tmp_path / "run" / "checkpoints"
    there = f"{folder}/../../victim"
    resume_checkpoint = copy.deepcopy(honest["resume"])
    resume_checkpoint["callbacks"]["Checkpoint:last"] = {
        "monitor": None,
        "best_model_score": None,
        "best_model_path": there,
        "current_score": None,
        "dirpath": str(folder),
        "best_k_models": {there: torch.tensor(0.0)},
        "kth_best_model_path": there,
        "kth_value": torch.tensor(0.0),
        "last_model_path": there,
    }
    file = file_for("resume", tmp_path, lambda path: torch.save(resume_checkpoint, path))
    record = train(compose(*JOB, OWN, f"resume={file}"))
    assert record.status == "completed"
    assert record.resumed[0]["batches"] > 0
    assert (folder / "last.ckpt").exists()
    assert victim.exists()


def test_an_honest_checkpoint_is_evaluated(evaluated: Callable[..., Any]) -> None:
    """What the other tests change is what makes them fail."""
    assert evaluated(lambda checkpoint: None).evaluation is not None


STRANGE: dict[str, Callable[[dict[str, Any], Path], Any]] = {
    "model._target_": lambda config, file: config.update(model=target(file)),
    "data._target_": lambda config, file: config.update(data=target(file)),
    "model.width._target_": lambda config, file: config["model"].update(width=target(file)),
    "data.mean.0._target_": lambda config, file: config["data"].update(mean=[target(file)]),
    "data.std.0.0.in._target_": lambda config, file: config["data"].update(
        std=[({"in": target(file)},)]
    ),
    "data.root._target_": lambda config, file: config["data"].update(root=target(file)),
}


@pytest.mark.parametrize("key", STRANGE)
def test_a_target_of_a_strangers_is_not_called(
    evaluated: Callable[..., Any], tmp_path: Path, key: str
) -> None:
    """However deep, in lists too; Hydra itself would have called this one."""
    marker = tmp_path / "touched"
    message = rf"refused: it sets {key}=pathlib.Path.*give {key.partition('.')[0]}=… yourself"
    with pytest.raises(UserError, match=message) as told:
        evaluated(lambda checkpoint: STRANGE[key](checkpoint["hpml_config"], marker))
    one_line(told)
    assert not marker.exists()
    instantiate(target(marker))
    assert marker.exists()


@pytest.mark.parametrize(
    "name",
    [
        "hpml.data.sources.Path.touch",
        "hpml.data.DataError",
        "hpml.data.Synthetic",
        "hpml.models.torch.hub.load",
        "hpml.models.counts.describe",
        "hpml.models.small.__call__",
        " hpml.models.small",
        "torchvision.models.squeezenet1_1",
        ["hpml.models.small"],
        None,
    ],
)
def test_only_what_belongs_there_is_ours(evaluated: Callable[..., Any], name: Any) -> None:
    """No module's own imports, no other function of hpml's, no other group's, no other package."""
    with pytest.raises(UserError, match=r"refused: it sets model._target_=") as told:
        evaluated(lambda checkpoint: checkpoint["hpml_config"]["model"].update(_target_=name))
    one_line(told)


def test_ours_belongs_at_the_top(evaluated: Callable[..., Any]) -> None:
    """A data set inside a model is no part of any configuration of ours."""
    inner = {"_target_": "hpml.models.small", "num_classes": 2}
    with pytest.raises(UserError, match=r"refused: it sets model.width._target_="):
        evaluated(lambda checkpoint: checkpoint["hpml_config"]["model"].update(width=inner))


@pytest.mark.parametrize(
    ("key", "value"),
    [("_args_", [1]), ("_partial_", True), ("_recursive_", False), ("_convert_", "none")],
)
def test_how_hydra_calls_is_not_the_checkpoints(
    evaluated: Callable[..., Any], key: str, value: Any
) -> None:
    """What else Hydra reads in a node would go around the rules for our keys."""
    with pytest.raises(UserError, match=rf"refused: it sets data.{key}=") as told:
        evaluated(lambda checkpoint: checkpoint["hpml_config"]["data"].update({key: value}))
    one_line(told)


@pytest.mark.parametrize(
    "text",
    [
        "${oc.env:HPML_SECRET}",
        "a${oc.env:HPML_SECRET}b",
        "${hydra:runtime.cwd}",
        "${oc.decode:'[1]'}",
        "${seed}",
        "\x1b]0;title\x07",
        "a\nb",
    ],
)
@pytest.mark.parametrize("place", ["value", "in a list", "key"])
def test_text_of_a_strangers_is_only_read(
    evaluated: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    place: str,
) -> None:
    """No interpolation is resolved, and nothing reaches the terminal that would control it."""
    monkeypatch.setenv("HPML_SECRET", "secret words")
    more = {"value": {"root": text}, "in a list": {"mean": [[text]]}, "key": {text: 1}}[place]
    with pytest.raises(UserError, match=r"refused: its data.* holds an interpolation or a") as told:
        evaluated(lambda checkpoint: checkpoint["hpml_config"]["data"].update(more))
    assert "secret words" not in one_line(told)
    assert "secret words" not in (tmp_path / "run" / "record.json").read_text()


@pytest.mark.parametrize(
    "config", [[], "model", None, {"data": 1, "model": 2}, {"data": {}}, {"model": {"_target_": 1}}]
)
def test_what_is_no_configuration_is_no_checkpoint(
    evaluated: Callable[..., Any], config: Any
) -> None:
    """In one line, without a traceback."""
    with pytest.raises(UserError, match="no checkpoint of hpml") as told:
        evaluated(lambda checkpoint: checkpoint.update(hpml_config=config))
    one_line(told)


def test_a_name_controls_no_terminal(evaluated: Callable[..., Any]) -> None:
    """The model's name is printed."""
    with pytest.raises(UserError, match="no checkpoint of hpml") as told:
        evaluated(lambda checkpoint: checkpoint["hpml_names"].update(model="\x1b[2J"))
    one_line(told)


def test_other_groups_are_not_taken(evaluated: Callable[..., Any], tmp_path: Path) -> None:
    """Callbacks, loggers and the rest are those of the command line."""
    marker = tmp_path / "touched"
    more = {"callbacks": {"x": target(marker)}, "logger": {"x": target(marker)}}
    more |= {"trainer": target(marker), "optimizer": target(marker)}
    assert evaluated(lambda checkpoint: checkpoint["hpml_config"].update(more)).evaluation
    assert not marker.exists()


def test_a_target_of_ones_own_is_called(evaluated: Callable[..., Any]) -> None:
    """Where the configuration that was chosen names it for the same group, and not for another."""
    own = {"_target_": f"{__name__}.network", "num_classes": None}

    def change(checkpoint: dict[str, Any]) -> None:
        checkpoint["hpml_config"]["model"] = own | {"num_classes": 10}

    with pytest.raises(UserError, match=rf"model._target_={__name__}.network"):
        evaluated(change)
    with pytest.raises(UserError, match=rf"model._target_={__name__}.network"):
        evaluated(change, data=own)
    record = evaluated(change, model=own)
    assert record.evaluation is not None
    assert record.config["model"] == own | {"num_classes": 10}


def test_what_is_typed_goes_before_the_checkpoint(
    evaluated: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`model=…` leaves the checkpoint's unread, and a key of it takes a strange one's place."""
    marker = tmp_path / "touched"
    typed = ["model=small", "model.width=4"]
    monkeypatch.setattr("hpml.config.command_line.overrides", lambda: typed)
    record = evaluated(
        lambda checkpoint: checkpoint["hpml_config"].update(model=target(marker)), *typed
    )
    assert record.evaluation is not None
    typed[:] = ["model._target_=hpml.models.small"]
    record = evaluated(
        lambda checkpoint: checkpoint["hpml_config"]["model"].update(_target_="os.mkdir"), *typed
    )
    assert record.config["model"]["_target_"] == "hpml.models.small"
    typed[:] = ["data.root=mine"]
    with pytest.raises(UserError, match=r"data.root.x._target_"):
        evaluated(
            lambda checkpoint: checkpoint["hpml_config"]["data"].update({"root.x": target(marker)}),
            *typed,
        )
    assert not marker.exists()


@pytest.mark.parametrize("leaves_out", [True, False])
def test_nothing_is_fetched_into_a_strangers_folder(
    evaluated: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    leaves_out: bool,
) -> None:
    """It is read where it is there; the folder of the command line is another matter."""
    monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/cifar-10-python.tar.gz")
    folder = tmp_path / "theirs"

    def change(checkpoint: dict[str, Any]) -> None:
        data = {"_target_": "hpml.data.Cifar10", "root": str(folder), "download": True}
        data |= {"mean": [0.5] * 3, "std": [0.25] * 3}
        if leaves_out:
            del data["download"]
        checkpoint["hpml_config"]["data"] = data

    with pytest.raises(UserError, match=r"data.root=.*theirs: there is no such folder"):
        evaluated(change)
    assert not folder.exists()
    with pytest.raises(UserError, match="could not be fetched"):
        evaluated(change, f"data.root={folder}")
    assert [file.name for file in folder.iterdir()] == [".cifar10.lock"]
