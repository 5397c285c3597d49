"""The timers on Lightning's own Trainer: what it sends, how it ends, and who else is asked."""

import socket
import time
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

import lightning as L
import pytest
import torch
from helpers.configurations import TESTS, slow
from helpers.delays import (
    NOTHING,
    Delays,
    Module,
    Planted,
    VirtualClock,
    fit,
    loaders,
    silent,
    trainer,
)
from helpers.programs import Program
from helpers.ranks import on_ranks
from lightning.pytorch.callbacks import LambdaCallback
from lightning.pytorch.profilers import SimpleProfiler

from hpml.callbacks import DataLoadTimer, EpochTimer, TrainTimer, phase_timers
from hpml.records.run_record import RunRecord
from hpml.timing.profiler import PhaseProfiler
from hpml.timing.profiler_actions import NEEDED, Action


def without(monkeypatch: pytest.MonkeyPatch, silenced: str) -> None:
    """A Lightning that keeps an action to itself."""
    sent = PhaseProfiler._context

    def context(self: PhaseProfiler, name: str) -> Any:
        return None if Action.parse(name).kind == silenced else sent(self, name)

    monkeypatch.setattr(PhaseProfiler, "_context", context)


def test_lightning_sends_what_the_phases_need(tmp_path: Path) -> None:
    """The contract with Lightning: without these actions, no phase can be told."""
    listening = SimpleProfiler()
    fit(tmp_path, silent(), profiler=listening)
    sent = {Action.parse(name).kind for name in listening.recorded_durations}
    hooks = "on_train_epoch_start on_train_batch_end on_train_end on_validation_model_zero_grad"
    others = {f"[LightningModule].{hook}" for hook in hooks.split()}
    others |= {f"[LightningModule].{name}" for name in ("optimizer_step", "lr_scheduler_step")}
    others |= {"run_training_epoch", "save_checkpoint"}
    others |= {"[Strategy].backward", "[_EvaluationLoop].val_next"}
    missing = set.union(others, *NEEDED.values()) - sent
    assert not missing, f"Lightning {L.__version__} no longer sends {sorted(missing)}"


@pytest.mark.parametrize(
    ("phase", "silenced"), [(phase, kind) for phase in NEEDED for kind in sorted(NEEDED[phase])]
)
def test_a_missing_action_is_a_warning_and_no_number(
    phase: str, silenced: str, tmp_path: Path, monkeypatch: Any, timer: EpochTimer, caplog: Any
) -> None:
    """A Lightning that keeps an action to itself leaves its phase, and `other`, unknown."""
    without(monkeypatch, silenced)
    fitting = fit(tmp_path, timer)
    assert caplog.text.count(f"time/{phase}_s") == 1
    assert len(timer.epochs) == 2
    for epoch in timer.epochs:
        assert epoch.time[f"{phase}_s"] is None
        assert epoch.time["other_s"] is None
        assert epoch.time["epoch_s"] is not None
        assert (epoch.steps, epoch.samples) == (4, 8)
    assert f"time/{phase}_s" not in fitting.callback_metrics


def test_a_lightning_without_epochs_is_a_warning(
    tmp_path: Path, monkeypatch: Any, timer: EpochTimer, caplog: Any
) -> None:
    """No epoch is made up."""
    without(monkeypatch, "run_training_epoch")
    fit(tmp_path, timer)
    assert not timer.epochs
    assert "does not tell where epochs begin" in caplog.text


@pytest.mark.parametrize(
    ("make", "logged"),
    [
        (DataLoadTimer, {"time/data_s", "time/transfer_s"}),
        (TrainTimer, {"time/train_s"}),
        (silent, {"time/epoch_s", "time/validation_s", "time/other_s", "throughput/samples_per_s"}),
    ],
    ids=["DataLoadTimer", "TrainTimer", "EpochTimer"],
)
def test_each_timer_works_alone(make: Any, logged: set[str], tmp_path: Path) -> None:
    """It logs its own names, keeps the epochs' figures, and gives the profiler back."""
    timer, mine = make(), SimpleProfiler()
    fitting = fit(tmp_path, timer, profiler=mine)
    names = {name for name in fitting.callback_metrics if name.startswith(("time/", "throughput/"))}
    assert names == logged
    assert len(timer.epochs) == 2
    assert fitting.profiler is mine
    assert mine.recorded_durations["run_training_batch"]


def test_a_second_fit_begins_anew(tmp_path: Path) -> None:
    """Its epochs are those of its own; each of two fits has a record of its own."""
    fitting = fit(tmp_path, *phase_timers(record=tmp_path / "record"))
    fitting.fit_loop.max_epochs = 5
    fitting.fit(Module(NOTHING), *loaders(NOTHING))
    first, second = (RunRecord.read(tmp_path / name) for name in ("record", "record-2"))
    assert [epoch.epoch for epoch in first.epochs] == [0, 1]
    assert [epoch.epoch for epoch in second.epochs] == [2, 3, 4]
    assert first.status == second.status == "completed"


def test_several_validation_loaders(tmp_path: Path, clock: VirtualClock) -> None:
    """All of them are validation."""
    delays, timer = Delays(("val_step", "val_dataset"), clock.spend), silent()
    train, validation = loaders(delays)
    fit(tmp_path, timer, delays=delays, data=(train, [validation, validation]))
    assert delays.calls["val_step"] == 2 * 2 * 2
    validation_s = sum(epoch.time["validation_s"] for epoch in timer.epochs)
    assert validation_s == pytest.approx(delays.spent["validation"] / 1e9)


def test_windows_are_logged_and_shown(tmp_path: Path, clock: VirtualClock) -> None:
    """Every so many steps: seconds by phase, samples/s, and the share in the progress bar."""
    delays = Delays(("dataset", "forward"), clock.spend)
    logged: list[dict[str, float]] = []
    fitting = trainer(delays, tmp_path, [silent(every_n_steps=5)], max_epochs=1)
    fitting.loggers[0].log_metrics = lambda metrics, step: logged.append(dict(metrics))
    fitting.fit(Module(delays), *loaders(delays, batches=21))
    windows = [metrics for metrics in logged if "window/wall_s" in metrics]
    assert len(windows) == 4
    data_s, forward_s = 10 * delays.ns["dataset"] / 1e9, 5 * delays.ns["forward"] / 1e9
    for window in windows:
        assert window["window/data_s"] == pytest.approx(data_s)
        assert window["window/train_s"] == pytest.approx(forward_s)
        assert window["window/samples_per_s"] == pytest.approx(10 / (data_s + forward_s))
    share = data_s / (data_s + forward_s)
    assert fitting.progress_bar_metrics["data_wait"] == f"{share:.0%}"


# by what a fit is bound, and the places that make it so where they are slow
CLEAR = {
    "input": "dataset collate sampler",
    "transfer": "before_transfer transfer after_transfer",
    "compute": "training_step forward backward gradient_clipping optimizer",
    "overhead": "callback_batch_start callback_batch_end callback_before_backward "
    "callback_after_backward callback_before_step module_batch_end train_logger scheduler",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cause", "place"), [(cause, place) for cause in CLEAR for place in CLEAR[cause].split()]
)
def test_a_first_verdict_after_a_hundred_steps(
    cause: str, place: str, tmp_path: Path, clock: VirtualClock
) -> None:
    """Right, printed once, and the same at the end."""
    delays, printed = Delays((place,), clock.spend), list[str]()
    callbacks = EpochTimer(say=printed.append), Planted(delays)
    settings = {"max_epochs": 1, "gradient_clip_val": 1.0}
    fit(tmp_path, *callbacks, delays=delays, batches=320, **settings)
    verdicts = [line for line in printed if "bound" in line or "inconclusive" in line]
    expected = [f"so far likely {cause}-bound", f"likely {cause}-bound"]
    assert [line.partition(":")[0] for line in verdicts] == expected


def test_two_causes_of_one_size_are_inconclusive(tmp_path: Path, clock: VirtualClock) -> None:
    """It says so, and names neither."""
    delays, timer = Delays(("collate", "forward"), clock.spend), silent()
    delays.ns["forward"] = delays.ns["collate"]
    fit(tmp_path, timer, delays=delays, batches=120, max_epochs=1)
    assert timer.verdict["kind"] == "inconclusive"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "delay_s", "phase", "advice"),
    [
        # rank 1 alone loads slowly; rank 0 waits for its gradients, which looks like training
        ("dataset", 0.02, "data", "num_workers"),
        # rank 0 waits inside its own backward pass, so both look equally slow
        ("backward", 0.04, "backward", "computes longer"),
    ],
)
def test_the_rank_that_the_others_wait_for_is_named(
    place: str, delay_s: float, phase: str, advice: str, tmp_path: Path
) -> None:
    """With its host, what it is late in and by how much, and what to do about it there."""
    found = on_ranks(tmp_path, place=place, delays_s=[0.0, delay_s], batches=12)
    host = socket.gethostname()
    for own in found:
        assert [(of["host"], of["device"]) for of in own["places"]] == [(host, "cpu")] * 2
        verdict = own["verdict"]
        assert verdict["kind"] == "imbalance"
        assert verdict["evidence"].startswith(f"rank 1 on {host} is late by ")
        assert f" in {phase}, in 2 of 2 epochs" in verdict["evidence"]
        assert advice in verdict["advice"]
        for epoch in own["epochs"]:
            late = epoch["ranks"]["late"]
            assert (late["rank"], late["host"], late["phase"]) == (1, host, phase)
            assert epoch["ranks"]["communication"]["sampled_steps"] == 8
            assert epoch["ranks"]["communication"]["buckets"] == [20]  # of five parameters


def test_ranks_keep_their_own_times_and_log_mean_and_worst(tmp_path: Path) -> None:
    """Two processes, one slower in a callback: the mean, and the worst rank's."""
    first, second = on_ranks(tmp_path, place="callback_batch_end", delays_s=[0.02, 0.04], batches=4)
    for name in ("time/other_s", "time/epoch_s", "time/data_s", "time/train_s"):
        assert first["metrics"][name] == second["metrics"][name]
    last = [own["epochs"][-1] for own in (first, second)]
    both = [epoch["time"]["other_s"] for epoch in last]
    assert first["metrics"]["time/other_s"] == pytest.approx(sum(both) / 2, rel=1e-3)
    assert first["metrics"]["time/worst_rank/other_s"] == pytest.approx(max(both), rel=1e-3)
    own, other = (epoch["other_split"]["Planted.on_train_batch_end"] for epoch in last)
    assert other > 1.5 * own
    assert [epoch["samples"] for epoch in first["epochs"]] == [16, 16]


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


@pytest.mark.parametrize("workers", [slow(0), 2])
def test_on_the_real_clock_the_parts_are_the_whole(workers: int, tmp_path: Path) -> None:
    """Epochs agree with a witness, exposed loading with what is computed, the sum with the fit."""
    delays = Delays(("dataset", "forward"), lambda ns: time.sleep(ns / 1e9))
    delays.ns = {"dataset": 120_000_000, "forward": 60_000_000}
    timers = phase_timers(record=tmp_path / "record")
    # shares no code with ours: when hooks fire, on another clock
    seen: defaultdict[str, list[float]] = defaultdict(list)
    hooks = {
        hook: lambda *_, hook=hook, **__: seen[hook].append(time.monotonic())
        for hook in ("setup", "on_train_epoch_start", "on_train_end", "teardown")
    }
    data = loaders(delays, batches=6, workers=workers)
    settings = {"max_epochs": 4, "limit_val_batches": 0}
    fit(tmp_path, LambdaCallback(**hooks), *timers, delays=delays, data=data, **settings)
    record = RunRecord.read(tmp_path / "record")
    borders = seen["on_train_epoch_start"] + seen["on_train_end"]
    parts = [epoch.time["epoch_s"] for epoch in record.epochs]
    for index in (1, 2, 3):  # the first begins with its loop, a little after its hook
        assert parts[index] == pytest.approx(borders[index + 1] - borders[index], rel=0.005)
    whole = record.startup_s + sum(parts) + record.finish_s
    assert whole == pytest.approx(seen["teardown"][0] - seen["setup"][0], rel=0.01)
    found = []
    for time_s in (epoch.time for epoch in record.epochs[1:]):
        rest_s = time_s["train_s"] / 6  # more than planted on a busy machine
        assert rest_s >= 0.06
        found.append(time_s["data_s"] / exposed_s(6, workers, 2 * 0.12, rest_s))
    assert median(found) == pytest.approx(1, rel=0.15)  # all that is loaded is half as much again


def test_torch_profilers_own_ranges_agree(tmp_path: Path, timer: EpochTimer) -> None:
    """`next` of the loader and the optimizer's step, as torch itself marks them."""
    delays = Delays(("dataset", "optimizer"), lambda ns: time.sleep(0.003))
    settings = {"max_epochs": 1, "limit_val_batches": 0}
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as traced:
        fit(tmp_path, timer, delays=delays, batches=30, **settings)
    ranges = {event.key: event.cpu_time_total / 1e6 for event in traced.key_averages()}
    loading = sum(s for key, s in ranges.items() if key.startswith("enumerate(DataLoader)"))
    stepping = sum(s for key, s in ranges.items() if key.startswith("Optimizer.step#"))
    (epoch,) = timer.epochs
    assert epoch.time["data_s"] == pytest.approx(loading, rel=0.05)
    # torch's range holds the closure too: forward, zeroing and backward
    ours = sum(epoch.train_split[name] for name in ("forward_s", "backward_s", "optimizer_s"))
    assert ours == pytest.approx(stepping, rel=0.05)


def test_the_advice_names_the_callback_whose_hooks_cost_most(
    tmp_path: Path, clock: VirtualClock
) -> None:
    """Two hooks of 3 ms each are more than one of 5 ms."""

    timer, two = (
        silent(),
        LambdaCallback(
            on_train_batch_start=lambda *_: clock.spend(3_000_000),
            on_train_batch_end=lambda *_: clock.spend(3_000_001),
        ),
    )
    delays = Delays(("callback_batch_end",), clock.spend)
    delays.ns["callback_batch_end"] = 5_000_000
    settings = {"batches": 40, "max_epochs": 1, "limit_val_batches": 0}
    fit(tmp_path, timer, Planted(delays), two, delays=delays, **settings)
    assert timer.verdict["kind"] == "overhead-bound"
    advice = "54% of `other` is LambdaCallback (on_train_batch_end, on_train_batch_start): call it"
    assert timer.verdict["advice"].startswith(advice)


@pytest.mark.stress
def test_spawned_processes_leave_their_epochs_in_the_record(tmp_path: Path) -> None:
    """Lightning brings no callback back; one line says so."""
    (tmp_path / "spawned.py").write_text(SPAWNED)
    program = Program([str(tmp_path / "spawned.py")], tmp_path, {"PYTHONPATH": str(TESTS)})
    stdout, stderr = program.communicate(timeout=120)
    assert program.returncode == 0, stderr
    assert stdout.count("Spawned processes trained: the record has their epochs") == 1
    assert [epoch.samples for epoch in RunRecord.read(tmp_path / "record").epochs] == [4, 4]
    assert stdout.endswith("0 epochs here\n")


SPAWNED = """
import lightning as L
from lightning.pytorch.demos.boring_classes import BoringModel
from hpml.callbacks import phase_timers
if __name__ == "__main__":
    timers = phase_timers(record="record")
    off = "logger enable_checkpointing enable_progress_bar enable_model_summary"
    trainer = L.Trainer(accelerator="cpu", strategy="ddp_spawn", devices=1, max_epochs=2,
                        limit_train_batches=4, callbacks=timers,
                        **dict.fromkeys(off.split(), False))
    trainer.fit(BoringModel())
    print(len(timers[2].epochs), "epochs here")
"""
