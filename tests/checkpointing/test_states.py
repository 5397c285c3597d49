"""Whatever a state holds, a run resumes with it to the bit, or says at once that it cannot."""

import dataclasses
import io
import random
import re
import shutil
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.configurations import Compose, composed, stress
from helpers.own import StopError, hooked
from helpers.states import KINDS, NOT_KEPT, Keeping, Phase, Stateful, hyper
from helpers.trained import last_weights

from hpml.checkpointing import safe_load
from hpml.checkpointing.allowed_types import rebuild
from hpml.checkpointing.plain_types import NotPlainError, plain, plain_checkpoint, rebuilt
from hpml.checkpointing.resume_choice import file_name, resume_checkpoints
from hpml.data.image_data_module import ImageDataModule
from hpml.errors import UserError
from hpml.models.image_classifier import ImageClassifier
from hpml.train import train

JOB = (
    *("data=synthetic", "model=small", "model.width=4", "device=cpu", "logger=none"),
    *("callbacks=none", "data.train_samples=48", "data.test_samples=8", "data.batch_size=8"),
    *("trainer.max_epochs=2", "resume=auto", "checkpoint.every_s=1e-9"),
)
STATEFUL = "+callbacks.stateful._target_=helpers.states.Stateful"
KEEPING = "+callbacks.keeping._target_=helpers.states.Keeping"
OWN: dict[str, Any] = {
    "optimizer": {"_target_": "helpers.states.numpy_sgd", "_partial_": True},
    "scheduler": {
        **{"_target_": "helpers.states.FromLinspace", "_partial_": True},
        "interval": "step",
    },
}


def stop_after(batches: int) -> str:
    """The override of a callback that ends a run after so many batches."""

    def stop(trainer: Any, *_: Any) -> None:
        if trainer.fit_loop.epoch_loop.batch_progress.total.processed == batches:
            raise StopError

    return hooked(resumable=True, on_train_batch_end=stop)


def through_a_file(node: Any) -> Any:
    """What is read of what is written, by the one way to read a checkpoint."""
    file = io.BytesIO()
    torch.save(plain(node, "state"), file)
    file.seek(0)
    return rebuilt(safe_load.load(file))


def shown(value: Any) -> Any:
    """A value with its types, comparable; of a generator, its state."""
    if isinstance(value, np.random.Generator):
        return shown(value.bit_generator.state)
    if isinstance(value, np.random.RandomState):
        return shown(value.get_state(legacy=False))
    if isinstance(value, random.Random):
        return value.getstate()
    if isinstance(value, torch.Generator):
        return value.get_state().tolist()
    if isinstance(value, np.ndarray):
        return value.dtype, value.shape, value.flags.fnc, value.tobytes()
    if dataclasses.is_dataclass(value):
        return type(value), shown(vars(value))
    if isinstance(value, dict):
        return type(value), [(shown(key), shown(one)) for key, one in value.items()]
    if isinstance(value, list | tuple | deque):
        return type(value), [shown(one) for one in value]
    return type(value), repr(value)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Of a run that nothing stops, and of one that is stopped twice: its weights and its states."""
    with pytest.MonkeyPatch.context() as patch:
        seen = {name: deque([np.float64(1)], 3) for name in ("module", "data")}
        own, own_load = ImageClassifier.resume_state, ImageClassifier.load_resume_state
        patch.setattr(ImageClassifier, "resume_state", lambda m: own(m) | {"seen": seen["module"]})
        patch.setattr(ImageDataModule, "state_dict", lambda _: {"seen": seen["data"]})
        loads = lambda _, state: seen.update(data=state["seen"])  # noqa: E731
        patch.setattr(ImageDataModule, "load_state_dict", loads)

        def load(module: Any, state: dict[str, Any]) -> None:
            seen["module"] = state.pop("seen")
            own_load(module, state)

        patch.setattr(ImageClassifier, "load_resume_state", load)

        def outcome(folder: Path, *stops: int) -> Any:
            for stop in (*stops, 0):
                with suppress(StopError):
                    train(composed(folder, *JOB, STATEFUL, stop_after(stop), **OWN))
            checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
            schedule = rebuilt(checkpoint["lr_schedulers"])[0]
            group = rebuilt(checkpoint["optimizer_states"])[0]["param_groups"][0]
            return {
                **{name: shown(value) for name, value in Stateful.last.items()},
                **{"weights": last_weights(folder), "schedule": shown(schedule)},
                "optimizer": shown({name: group[name] for name in ("lr", "momentum")}),
                **{"module": shown(seen["module"]), "data": shown(seen["data"])},
            }

        whole = outcome(tmp_path_factory.mktemp("whole"))
        return {"whole": whole, "resumed": outcome(tmp_path_factory.mktemp("parts"), 3, 8)}


@pytest.mark.parametrize("kind", [*KINDS, "weights", "schedule", "optimizer", "module", "data"])
def test_it_resumes_to_the_bit(outcomes: dict[str, Any], kind: str) -> None:
    """With the same value of the same type, in callbacks, schedulers, optimizers, modules, data."""
    assert outcomes["resumed"][kind] == outcomes["whole"][kind]


def test_a_loader_of_ones_own_resumes_to_the_bit(tmp_path: Path) -> None:
    """With a position and a generator of numpy's, in the middle of its second epoch."""
    model = {"_target_": "helpers.states.Resuming", "num_classes": None, "size": 8}
    own = {"model": model, "data": {"_target_": "helpers.states.LoaderData"}}
    general = [word for word in JOB if not word.startswith(("data", "model"))]
    words = [*general, "monitor=my_loss", "trainer.limit_val_batches=0"]
    for name, stop in (("whole", 0), ("parts", 8), ("parts", 0)):
        with suppress(StopError):
            record = train(composed(tmp_path / name, *words, stop_after(stop), **own))
    assert [one["batches"] for one in record.resumed] == [7]
    assert last_weights(tmp_path / "parts") == last_weights(tmp_path / "whole")


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_itself_after_a_file(kind: str) -> None:
    """As it begins, and as it is at the next batch; a copy, which draws what the first one does."""
    begin, follow = KINDS[kind]
    value = begin()
    assert shown(through_a_file(value)) == shown(value)
    value = follow(value)
    assert shown(follow(through_a_file(value))) == shown(follow(value))


def test_what_stands_in_two_places_is_one() -> None:
    """And what contains itself contains itself; tensors share what they have shared."""
    tensor, both = torch.arange(4.0), deque([1])
    endless: list[Any] = [Phase.TRAIN]
    endless.append(endless)
    state = through_a_file({"a": both, "b": [both], "c": endless, "d": tensor, "e": tensor[:2]})
    assert state["a"] is state["b"][0]
    assert state["c"][1] is state["c"]
    assert state["d"].data_ptr() == state["e"].data_ptr()
    both.append(both)  # type: ignore[arg-type]
    with pytest.raises(NotPlainError, match=r"^state contains itself"):
        plain(both, "state")


@pytest.mark.parametrize("kind", NOT_KEPT)
def test_what_cannot_be_kept_is_named(kind: str) -> None:
    """By its key and its type; where not all has to be kept, it alone is left out."""
    value, named = NOT_KEPT[kind]
    checkpoint = {"callbacks": {"Own": {"n": np.int64(3), "value": value}}}
    with pytest.raises(NotPlainError, match=rf"^callbacks\.Own\.value.* is {named}$"):
        plain_checkpoint(checkpoint)
    kept, left_out = plain_checkpoint(checkpoint, complete=False)
    assert len(left_out) == 1
    assert rebuilt(kept)["callbacks"]["Own"]["n"] == 3


def test_a_class_that_is_imported_too_late_is_named() -> None:
    """A run that resumes would not know it when it reads its states."""
    with pytest.raises(NotPlainError, match=r"^phase is .*helpers\.states\.Phase, .* not imported"):
        plain(Phase.TRAIN, "phase", imported={"enum"})


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("enum", ["os", "system", "true"]),
        ("enum", ["pathlib", "Path", "x"]),
        ("dataclass", ["helpers.states", "Acting", {"rate": 1}]),
        ("dataclass", ["helpers.states", "Settings", {"__class__": 1}]),
        ("dataclass", ["helpers.states", "Unlike", {}]),
        ("tuple", ["helpers.states", "Settings", [1]]),
        ("tuple", ["wsgiref.simple_server", "WSGIServer", [1]]),
        ("generator", ["seed", {}, None]),
        ("ndarray", ["|O", [1], "C", torch.zeros(8, dtype=torch.uint8)]),
        ("scalar", ["|O", bytes(8)]),
        ("class", "Popen"),
        ("os.system", ["true"]),
    ],
)
def test_a_stranger_has_nothing_called(kind: str, content: Any) -> None:
    """No module is imported, no class with methods filled, no number taken for an address."""
    with pytest.raises((TypeError, ValueError, KeyError)):
        rebuild(kind, content, None)


@pytest.mark.parametrize("kind", ["lambda", stress("network")])
def test_a_run_says_at_once_that_it_cannot_be_resumed(
    compose: Compose, monkeypatch: Any, caplog: Any, tmp_path: Path, kind: str
) -> None:
    """At its first batch and once, also where no resume checkpoint is due; it trains to its end."""
    value, named = NOT_KEPT[kind]
    monkeypatch.setattr(Keeping, "value", value)
    never = "checkpoint.every_s=null"
    folder = tmp_path / "run"
    with suppress(StopError):
        train(compose(*JOB, KEEPING, stop_after(2), never))
    assert caplog.text.count("this run cannot be resumed: ") == 1
    assert re.search(rf"cannot be resumed: callbacks\.Keeping\.value is {named}; ", caplog.text)
    record = train(compose(*JOB, KEEPING, stop_after(0)))
    assert (record.status, resume_checkpoints(folder)) == ("completed", [])
    assert caplog.text.count("this run cannot be resumed: ") == 2
    assert caplog.text.count("last.ckpt leaves out what is no plain type: callbacks.Keep") == 1
    run_again = f"evaluate={folder / 'checkpoints' / 'last.ckpt'}"
    assert train(composed(tmp_path / "again", "device=cpu", "logger=none", run_again)).evaluation


def test_points_that_cannot_be_loaded_are_not_trained_over(
    compose: Compose, tmp_path: Path, monkeypatch: Any, caplog: Any
) -> None:
    """One line says why, not `damaged`; run and record stay; a sweep begins the job anew."""
    with suppress(StopError):
        train(compose(*JOB, stop_after(3)))
    folder = tmp_path / "run"
    points = resume_checkpoints(folder)
    for batches, path in enumerate(points):
        content = torch.load(path, weights_only=True)
        torch.save(content | {"lr_schedulers": [{"last": np.float64(1)}]}, path)
        path.rename(path.with_name(file_name(batches + 1, path)))
    points = resume_checkpoints(folder)
    before = [file.read_bytes() for file in (*points, folder / "record.json")]
    why = "cannot be loaded: it holds numpy._core.multiarray.scalar, which does not load safely"
    with pytest.raises(UserError, match=f"{why}; .*{why}; resume=never begins at the start"):
        train(compose(*JOB, stop_after(0)))
    assert [file.read_bytes() for file in (*points, folder / "record.json")] == before
    named = Path(shutil.copytree(folder / "checkpoints", tmp_path / "kept")) / points[0].name
    with pytest.raises(UserError, match=rf"^resume={named}: {why}$"):
        train(compose(*JOB, stop_after(0), f"resume={named}"))
    monkeypatch.setenv("HPML_SWEPT", "seed")
    assert train(compose(*JOB, stop_after(0))).resumed == []
    assert f"{why}; the run begins at its start" in caplog.text


def test_hyperparameters_of_any_kind_are_evaluated(tmp_path: Path, caplog: Any) -> None:
    """A network or a partial among them is left out and told; numbers of numpy become Python's."""
    model = {"_target_": "helpers.states.hyper", "num_classes": None}
    quick = (*JOB, "monitor=val/accuracy", "trainer.max_epochs=1")
    train(composed(tmp_path / "run", *quick, model=model))
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    kept = torch.load(last, weights_only=True)["hyper_parameters"]
    assert kept == {"num_classes": 10, "rate": 0.1, "folder": "a"}
    assert "last.ckpt leaves out what is no plain type: hyper_parameters.inner is of" in caplog.text
    words = ("device=cpu", "logger=none", "callbacks=none", f"evaluate={last}")
    record = train(composed(tmp_path / "again", *words, model=model))
    assert record.evaluation is not None
    assert hyper(10).hparams.keys() - kept.keys() == {"inner", "optimizer"}


def test_what_cannot_be_kept_in_two_places_is_in_neither() -> None:
    """No half of it, and each place is named."""
    shared = [1, lambda: 0, 2]
    states = {"callbacks": {"A": {"items": shared}, "B": {"items": shared}}}
    kept, told = plain_checkpoint(states, complete=False)
    assert kept == {"callbacks": {"A": {}, "B": {}}}
    assert len(told) == 2
