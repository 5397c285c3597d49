"""Actions that do not come where something failed, and one that a later Lightning sends."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
from helpers.delays import Delays, Module, VirtualClock, loaders, recorded, trainer
from lightning.pytorch.callbacks import LambdaCallback, RichProgressBar, TQDMProgressBar
from lightning.pytorch.loops import fit_loop

from hpml.callbacks import EpochTimer, ProgressBar


def failing(*_: Any, **__: Any) -> Any:
    raise RuntimeError("broken")


def in_module(method: str) -> dict[str, Any]:
    return {"module": type("Broken", (Module,), {method: failing})}


class Broken(list[Any]):
    """Data whose first batch fails."""

    def __iter__(self) -> Any:
        yield failing()


# where the first batch fails, and the phases that have their times
FAILURES: dict[str, tuple[list[L.Callback], dict[str, Any]]] = {
    "loader": ([], {"data": (Broken([1]),)}),
    "before the transfer": ([], in_module("on_before_batch_transfer")),
    "transfer": ([], in_module("transfer_batch_to_device")),
    "batch start": ([LambdaCallback(on_train_batch_start=failing)], {}),
    "step": ([], in_module("training_step")),
    "backward": ([LambdaCallback(on_after_backward=failing)], {}),
    "batch end": ([LambdaCallback(on_train_batch_end=failing)], {}),
    "module's batch end": ([], in_module("on_train_batch_end")),
    "validation's start": ([LambdaCallback(on_validation_start=failing)], {}),
    "validation's step": ([], in_module("validation_step")),
    "validation's end": ([LambdaCallback(on_validation_end=failing)], {}),
    "module's validation's end": ([], in_module("on_validation_end")),
}


@pytest.mark.parametrize("where", FAILURES)
def test_lightning_is_not_blamed_for_what_failed(where: str, tmp_path: Path, caplog: Any) -> None:
    """What had no occasion to be sent is not missing: the times up to there are known."""
    callbacks, settings = FAILURES[where]
    record = recorded(tmp_path, *callbacks, raises=RuntimeError, **settings)
    assert "does not tell" not in caplog.text
    assert (record.error or {}).get("message") == "broken"
    for epoch in record.epochs:
        assert None not in epoch.time.values()


def test_the_action_of_a_loaders_start_is_data(
    tmp_path: Path, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch, timer: EpochTimer
) -> None:
    """`setup_train_dataloader`, which Lightning's development branch sends around its iterator."""
    delays = Delays(("loader_iter",), clock.spend)
    fitting = trainer(delays, tmp_path, [timer], reload_dataloaders_every_n_epochs=1, max_epochs=3)

    def sending_iter(fetcher: Any) -> Any:
        with fitting.profiler.profile("setup_train_dataloader"):
            return iter(fetcher)

    monkeypatch.setattr(fit_loop, "iter", sending_iter, raising=False)
    fitting.fit(Module(delays), loaders(delays)[0])
    parts = {name: sum(epoch.time[name] for epoch in timer.epochs) for name in timer.epochs[0].time}
    # the first one is start-up
    data_s = pytest.approx((delays.calls["loader_iter"] - 1) * delays.ns["loader_iter"] / 1e9)
    assert delays.calls["loader_iter"] > len(timer.epochs)
    assert {name: s for name, s in parts.items() if s} == {"epoch_s": data_s, "data_s": data_s}


@pytest.mark.parametrize("print_", [failing, lambda self: None, "logs"])
def test_a_modules_own_print_is_left_alone(print_: Any, tmp_path: Path, capsys: Any) -> None:
    """It may log, raise, or take other arguments; the table and the verdict are printed."""
    if print_ == "logs":
        print_ = lambda self, *_: self.log("printed", 1.0)  # noqa: E731
    record = recorded(tmp_path, module=type("Printing", (Module,), {"print": print_}))
    printed = capsys.readouterr().out
    for text in ("epoch   time s", "   1  ", "inconclusive: ", f"record: {tmp_path}"):
        assert text in printed
    assert record.status == "completed"


@pytest.mark.parametrize("bar", [TQDMProgressBar, RichProgressBar, ProgressBar])
def test_lines_are_printed_around_any_bar(bar: Any, tmp_path: Path, capsys: Any) -> None:
    """While it is there, and after it has gone, when Lightning's tqdm bar prints nothing."""
    recorded(tmp_path, bar(), enable_progress_bar=True)
    printed = capsys.readouterr().out
    assert all(text in printed for text in ("epoch   time s", "inconclusive: ", "record: "))
