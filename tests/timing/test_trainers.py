"""The timers on Lightning's own Trainer: what it sends, how it ends, and who else is asked."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from helpers.configurations import TESTS
from helpers.delays import Delays, Module, Planted, VirtualClock, loaders, trainer
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.profilers import SimpleProfiler

from hpml.callbacks import DataLoadTimer, EpochTimer, TrainTimer, phase_timers
from hpml.records.run_record import RunRecord
from hpml.timing.actions import NEEDED, Action
from hpml.timing.profiler import PhaseProfiler


def without(monkeypatch: pytest.MonkeyPatch, silenced: str) -> None:
    """A Lightning that keeps an action to itself."""
    sent: Callable[[PhaseProfiler, str], Any] = PhaseProfiler._context

    def context(self: PhaseProfiler, name: str) -> Any:
        return None if Action.parse(name).kind == silenced else sent(self, name)

    monkeypatch.setattr(PhaseProfiler, "_context", context)


def silent() -> EpochTimer:
    return EpochTimer(say=lambda line: None)


class Listening(SimpleProfiler):
    """Keeps the kinds of all actions it hears of."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds: set[str] = set()

    def start(self, action_name: str) -> None:
        self.kinds.add(Action.parse(action_name).kind)
        super().start(action_name)


def test_lightning_sends_what_the_phases_need(tmp_path: Path) -> None:
    """The contract with Lightning: without these actions, no phase can be told."""
    delays = Delays((), lambda ns: None)
    listening = Listening()
    fitting = trainer(delays, tmp_path, [silent()], profiler=listening)
    fitting.fit(Module(delays), *loaders(delays))
    others = {
        "run_training_epoch",
        "save_checkpoint",
        "[LightningModule].on_train_epoch_start",
        "[LightningModule].on_train_batch_end",
        "[LightningModule].on_train_end",
        "[LightningModule].on_validation_model_zero_grad",
        "[LightningModule].optimizer_step",
        "[LightningModule].lr_scheduler_step",
        "[Strategy].backward",
        "[_EvaluationLoop].val_next",
    }
    missing = set.union(others, *NEEDED.values()) - listening.kinds
    assert not missing, f"Lightning {L.__version__} no longer sends {sorted(missing)}"


@pytest.mark.parametrize(
    ("phase", "silenced"), [(phase, kind) for phase in NEEDED for kind in sorted(NEEDED[phase])]
)
def test_a_missing_action_is_a_warning_and_no_number(
    phase: str,
    silenced: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A Lightning that keeps an action to itself leaves its phase, and `other`, unknown."""
    without(monkeypatch, silenced)
    delays, timer = Delays((), lambda ns: None), silent()
    fitting = trainer(delays, tmp_path, [timer])
    fitting.fit(Module(delays), *loaders(delays))
    assert caplog.text.count(f"time/{phase}_s") == 1
    assert len(timer.epochs) == 2
    for epoch in timer.epochs:
        assert epoch.time[f"{phase}_s"] is None
        assert epoch.time["other_s"] is None
        assert epoch.time["epoch_s"] is not None
        assert (epoch.steps, epoch.samples) == (4, 8)
    assert f"time/{phase}_s" not in fitting.callback_metrics


def test_a_lightning_without_epochs_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No epoch is made up."""
    without(monkeypatch, "run_training_epoch")
    delays, timer = Delays((), lambda ns: None), silent()
    trainer(delays, tmp_path, [timer]).fit(Module(delays), *loaders(delays))
    assert not timer.epochs
    assert "does not tell where epochs begin" in caplog.text


@pytest.mark.parametrize(
    ("timer", "logged"),
    [
        (DataLoadTimer, {"time/data_s", "time/transfer_s"}),
        (TrainTimer, {"time/train_s"}),
        (
            lambda: silent(),
            {"time/epoch_s", "time/validation_s", "time/other_s", "throughput/samples_per_s"},
        ),
    ],
    ids=["DataLoadTimer", "TrainTimer", "EpochTimer"],
)
def test_each_timer_works_alone(timer: Any, logged: set[str], tmp_path: Path) -> None:
    """It logs its own names, keeps the epochs' figures, and gives the profiler back."""
    delays, alone = Delays((), lambda ns: None), timer()
    mine = SimpleProfiler()
    fitting = trainer(delays, tmp_path, [alone], profiler=mine)
    fitting.fit(Module(delays), *loaders(delays))
    found = {name for name in fitting.callback_metrics if name.startswith(("time/", "throughput/"))}
    assert found == logged
    assert len(alone.epochs) == 2
    assert fitting.profiler is mine  # type: ignore[attr-defined]
    assert mine.recorded_durations["run_training_batch"]


def test_a_second_fit_begins_anew(tmp_path: Path) -> None:
    """Its epochs are those of its own; each of two fits has a record of its own."""
    delays = Delays((), lambda ns: None)
    timers = phase_timers(record=tmp_path / "record")
    fitting = trainer(delays, tmp_path, timers)
    module = Module(delays)
    fitting.fit(module, *loaders(delays))
    fitting.fit_loop.max_epochs = 5
    fitting.fit(module, *loaders(delays))
    first, second = (RunRecord.read(tmp_path / name) for name in ("record", "record-2"))
    assert [epoch.epoch for epoch in first.epochs] == [0, 1]
    assert [epoch.epoch for epoch in second.epochs] == [2, 3, 4]
    assert first.status == second.status == "completed"


class Breaking(L.Callback):
    def __init__(self, at: int, error: BaseException) -> None:
        self.at, self.error = at, error

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.fit_loop.total_batch_idx == self.at:
            raise self.error


def test_an_exception_keeps_the_epoch_that_it_cut_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is marked, its times add up, the record says failed, and the profiler is given back."""
    clock = VirtualClock().install(monkeypatch)
    delays = Delays(("forward",), clock.spend)
    timers = phase_timers(record=tmp_path / "record")
    fitting = trainer(delays, tmp_path, [*timers, Breaking(6, RuntimeError("broken"))])
    with pytest.raises(RuntimeError, match="broken"):
        fitting.fit(Module(delays), *loaders(delays))
    record = RunRecord.read(tmp_path / "record")
    assert record.status == "failed"
    assert record.error == {"type": "RuntimeError", "message": "broken"}
    whole, cut = record.epochs
    assert (whole.partial, cut.partial) == (False, True)
    assert (whole.steps, cut.steps) == (4, 2)
    assert cut.time["train_s"] == pytest.approx(2 * delays.ns["forward"] / 1e9)
    assert not isinstance(fitting.profiler, PhaseProfiler)  # type: ignore[attr-defined]


def test_early_stopping_ends_the_last_epoch(tmp_path: Path) -> None:
    """The epoch that it stops is whole."""
    delays, timer = Delays((), lambda ns: None), silent()
    stopping = EarlyStopping("val/loss", patience=1)
    fitting = trainer(delays, tmp_path, [timer, stopping], max_epochs=9)
    fitting.fit(Module(delays), *loaders(delays))
    assert [epoch.partial for epoch in timer.epochs] == [False, False]


def test_several_validation_loaders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them are validation."""
    clock = VirtualClock().install(monkeypatch)
    delays, timer = Delays(("val_step", "val_dataset"), clock.spend), silent()
    train, validation = loaders(delays)
    trainer(delays, tmp_path, [timer]).fit(Module(delays), train, [validation, validation])
    assert delays.calls["val_step"] == 2 * 2 * 2
    found = sum(epoch.time["validation_s"] for epoch in timer.epochs)
    assert found == pytest.approx(delays.spent["validation"] / 1e9)


def test_windows_are_logged_and_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every so many steps: seconds by phase, samples/s, and the share in the progress bar."""
    clock = VirtualClock().install(monkeypatch)
    delays, timer = Delays(("dataset", "forward"), clock.spend), EpochTimer(every_n_steps=5)
    timer._say = lambda line: None
    logged: list[dict[str, float]] = []
    fitting = trainer(delays, tmp_path, [timer], max_epochs=1)
    monkeypatch.setattr(
        fitting.loggers[0], "log_metrics", lambda metrics, step: logged.append(dict(metrics))
    )
    fitting.fit(Module(delays), *loaders(delays, batches=21))
    windows = [metrics for metrics in logged if "window/wall_s" in metrics]
    assert len(windows) == 4
    data_s, forward_s = 10 * delays.ns["dataset"] / 1e9, 5 * delays.ns["forward"] / 1e9
    for window in windows:
        assert window["window/data_s"] == pytest.approx(data_s)
        assert window["window/train_s"] == pytest.approx(forward_s)
        assert window["window/samples_per_s"] == pytest.approx(10 / (data_s + forward_s))
    share = fitting.progress_bar_metrics["data_wait"]
    assert share == f"{data_s / (data_s + forward_s):.0%}"


# place: what a fit slowed there is bound by
CLEAR = {
    "dataset": "input-bound",
    "collate": "input-bound",
    "sampler": "input-bound",
    "before_transfer": "transfer-bound",
    "transfer": "transfer-bound",
    "after_transfer": "transfer-bound",
    "training_step": "compute-bound",
    "forward": "compute-bound",
    "backward": "compute-bound",
    "gradient_clipping": "compute-bound",
    "optimizer": "compute-bound",
    "callback_batch_start": "overhead-bound",
    "callback_batch_end": "overhead-bound",
    "callback_before_backward": "overhead-bound",
    "callback_after_backward": "overhead-bound",
    "callback_before_step": "overhead-bound",
    "module_batch_end": "overhead-bound",
    "train_logger": "overhead-bound",
    "scheduler": "overhead-bound",
}


@pytest.mark.parametrize("place", CLEAR)
def test_a_first_verdict_after_a_hundred_steps(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Right, printed once, and the same at the end."""
    clock = VirtualClock().install(monkeypatch)
    delays = Delays((place,), clock.spend)
    said: list[str] = []
    timer = EpochTimer(say=said.append)
    fitting = trainer(
        delays, tmp_path, [timer, Planted(delays)], max_epochs=1, gradient_clip_val=1.0
    )
    fitting.fit(Module(delays), *loaders(delays, batches=320))
    verdicts = [line for line in said if "bound" in line or "inconclusive" in line]
    assert [line.partition(":")[0] for line in verdicts] == [
        f"so far likely {CLEAR[place]}",
        f"likely {CLEAR[place]}",
    ]


def test_two_causes_of_one_size_are_inconclusive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so, and names neither."""
    clock = VirtualClock().install(monkeypatch)
    delays, timer = Delays(("collate", "forward"), clock.spend), silent()
    delays.ns["forward"] = delays.ns["collate"]
    fitting = trainer(delays, tmp_path, [timer], max_epochs=1)
    fitting.fit(Module(delays), *loaders(delays, batches=120))
    assert timer.verdict is not None
    assert timer.verdict["kind"] == "inconclusive"


RANKS = """
import json, sys, time
from pathlib import Path
import torch, lightning as L
sys.path.insert(0, {tests!r})
from helpers.delays import Delays, Module, Planted, loaders
from hpml.callbacks import phase_timers
folder = Path({folder!r})
rank = int(__import__("os").environ.get("LOCAL_RANK", 0))
delays = Delays(({place!r},), lambda ns: time.sleep({delay_s} * ({base} + rank)))
timers = phase_timers()
timers[-1]._say = lambda line: None
trainer = L.Trainer(accelerator="cpu", strategy="ddp", devices=2, max_epochs=2, logger=False,
                    use_distributed_sampler=False,
                    enable_progress_bar=False, enable_checkpointing=False,
                    enable_model_summary=False, callbacks=[*timers, Planted(delays)])
trainer.fit(Module(delays), *loaders(delays, batches={batches}))
metrics = {{name: float(value) for name, value in trainer.callback_metrics.items()}}
last = timers[-1].epochs[-1]
own = [last.time["other_s"], last.other_split.get("Planted.on_train_batch_end")]
samples = [epoch.samples for epoch in timers[-1].epochs]
(folder / f"{{rank}}.json").write_text(json.dumps([metrics, own, samples, timers[-1].verdict]))
torch.distributed.destroy_process_group()
"""


def on_two_ranks(folder: Path, delay_s: float = 0.02, **filled_in: Any) -> list[Any]:
    """What each of two processes found: metrics, own times, samples, verdict."""
    script = folder / "script.py"
    here = {"tests": str(TESTS), "folder": str(folder)}
    code = RANKS.format(**here, delay_s=delay_s, **filled_in)
    script.write_text(code)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]


def test_the_verdict_is_of_the_rank_that_the_others_wait_for(tmp_path: Path) -> None:
    """Rank 1 alone loads slowly; rank 0 waits for its gradients, which looks like training."""
    for found in on_two_ranks(tmp_path, place="dataset", base=0, batches=12):
        assert found[-1]["kind"] == "input-bound"
        assert found[-1]["evidence"].endswith("(on rank 1, for which the others wait)")


@pytest.mark.parametrize(
    ("place", "delay_s", "told"),
    [
        ("callback_batch_end", 0.06, "`other` is Planted.on_train_batch_end"),
        # four samples an epoch
        pytest.param("val_dataset", 0.2, "Validate less often", marks=pytest.mark.stress),
    ],
)
def test_the_advice_is_of_that_rank_too(
    place: str, delay_s: float, told: str, tmp_path: Path
) -> None:
    """Whatever it is slow at; what the timers wait for the other ranks is nobody's fault."""
    for found in on_two_ranks(tmp_path, delay_s, place=place, base=0, batches=12):
        assert told in found[-1]["advice"]


def test_ranks_keep_their_own_times_and_log_mean_and_worst(tmp_path: Path) -> None:
    """Two processes, one slower in a callback: the mean, and the worst rank's."""
    (metrics, own, samples, _), (other_metrics, other_own, *_) = on_two_ranks(
        tmp_path, place="callback_batch_end", base=1, batches=4
    )
    for name in ("other_s", "epoch_s", "data_s", "train_s"):
        assert metrics[f"time/{name}"] == other_metrics[f"time/{name}"]
    both = own[0], other_own[0]
    assert metrics["time/other_s"] == pytest.approx(sum(both) / 2, rel=1e-3)
    assert metrics["time/worst_rank/other_s"] == pytest.approx(max(both), rel=1e-3)
    assert other_own[1] > 1.5 * own[1]
    assert samples == [16, 16]


class Witness(L.Callback):
    """Shares no code with ours: when hooks fire, on another clock."""

    def __init__(self) -> None:
        self.starts: list[float] = []
        self.ended = self.begun = self.over = 0.0

    def setup(self, *_: Any, **__: Any) -> None:
        self.begun = time.monotonic()

    def teardown(self, *_: Any, **__: Any) -> None:
        self.over = time.monotonic()

    def on_train_epoch_start(self, *_: Any) -> None:
        self.starts.append(time.monotonic())

    def on_train_end(self, *_: Any) -> None:
        self.ended = time.monotonic()


def exposed_s(batches: int, workers: int, load_s: float, rest_s: float) -> float:
    """What a loop waits for: each worker makes every so-manieth batch, one after the other."""
    if not workers:
        return batches * load_s
    now = waited = 0.0
    for batch in range(batches):
        ready = (batch // workers + 1) * load_s
        waited += max(0.0, ready - now)
        now = max(now, ready) + rest_s
    return waited


@pytest.mark.parametrize("workers", [0, 2])
def test_on_the_real_clock_the_parts_are_the_whole(workers: int, tmp_path: Path) -> None:
    """Epochs agree with a witness, exposed loading with what is computed, the sum with the fit."""
    delays = Delays(("dataset", "forward"), lambda ns: time.sleep(ns / 1e9))
    delays.ns = {"dataset": 120_000_000, "forward": 60_000_000}
    timers, witness = phase_timers(record=tmp_path / "record"), Witness()
    timers[2]._say = lambda line: None  # type: ignore[attr-defined]
    train, validation = loaders(delays, batches=6, workers=workers)
    fitting = trainer(delays, tmp_path, [witness, *timers], max_epochs=4, limit_val_batches=0)
    fitting.fit(Module(delays), train, validation)
    record = RunRecord.read(tmp_path / "record")
    borders = [*witness.starts, witness.ended]
    parts = [epoch.time["epoch_s"] or 0 for epoch in record.epochs]
    for index in (1, 2, 3):  # the first begins with its loop, a little after its hook
        assert parts[index] == pytest.approx(borders[index + 1] - borders[index], rel=0.005)
    assert record.startup_s is not None
    assert record.finish_s is not None
    whole = record.startup_s + sum(parts) + record.finish_s
    assert whole == pytest.approx(witness.over - witness.begun, rel=0.01)
    expected_s = exposed_s(6, workers, 2 * 0.12, 0.06)
    found = sorted(epoch.time["data_s"] or 0 for epoch in record.epochs[1:])
    assert found[1] == pytest.approx(expected_s, rel=0.05)


def test_torch_profilers_own_ranges_agree(tmp_path: Path) -> None:
    """`next` of the loader and the optimizer's step, as torch itself marks them."""
    delays = Delays(("dataset", "optimizer"), lambda ns: time.sleep(0.003))
    timer = silent()
    train, validation = loaders(delays, batches=30)
    fitting = trainer(delays, tmp_path, [timer], max_epochs=1, limit_val_batches=0)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as traced:
        fitting.fit(Module(delays), train, validation)
    ranges = {event.key: event.cpu_time_total / 1e6 for event in traced.key_averages()}
    loading = sum(s for key, s in ranges.items() if key.startswith("enumerate(DataLoader)"))
    stepping = sum(s for key, s in ranges.items() if key.startswith("Optimizer.step#"))
    epoch = timer.epochs[0]
    assert epoch.time["data_s"] == pytest.approx(loading, rel=0.05)
    # torch's range holds the closure too: forward, zeroing and backward
    split = epoch.train_split
    ours = split["forward_s"] + split["backward_s"] + split["optimizer_s"]
    assert ours == pytest.approx(stepping, rel=0.05)
