"""The trace of a fit: a valid file whose events nest, and add up to the record's phases."""

import itertools
import json
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from helpers.delays import NOTHING, PLACES, Delays, ManualModule, Planted, VirtualClock, fit
from helpers.programs import run_program
from lightning.pytorch.callbacks import LambdaCallback

from hpml.callbacks import phase_timers
from hpml.records.phases import PHASES
from hpml.records.run_record import RunRecord
from hpml.timing.trace import Trace

TITLES = {phase.title: phase.key for phase in PHASES}
Event = dict[str, Any]


def events_of(file: Path) -> list[Event]:
    """The complete events of a file, checked by the rules of the format, and that they nest.

    Perfetto leaves out what does not, to the nanosecond.
    """
    content = json.loads(file.read_text(), parse_constant=pytest.fail)
    head, events = content["traceEvents"][:2], content["traceEvents"][2:]
    assert [event["name"] for event in head] == ["process_name", "thread_name"]
    assert all(event["ph"] == "M" and event["args"]["name"] for event in head)
    assert {(event["pid"], event["tid"]) for event in head} == {(head[0]["pid"], head[0]["tid"])}
    assert min(head[0]["pid"], head[0]["tid"]) > 0  # 0 is the idle process of Linux to Perfetto
    around: list[int] = []
    for event in sorted(events, key=lambda event: event["ts"]):  # stable, as viewers sort them
        assert event["ph"] == "X"
        assert event.keys() == {"ph", "name", "cat", "pid", "tid", "ts", "dur"}
        assert event["name"]
        assert event["cat"]
        assert (event["pid"], event["tid"]) == (head[0]["pid"], head[0]["tid"])
        span = span_ns(event)
        assert 0 <= span.start < span.stop
        while around and around[-1] <= span.start:
            around.pop()
        assert not around or span.stop <= around[-1], event
        around.append(span.stop)
    return events


def span_ns(event: Event) -> range:
    """As Perfetto reads it: what is smaller than a nanosecond is cut off."""
    begun_ns = int(event["ts"] * 1000)
    return range(begun_ns, begun_ns + int(event["dur"] * 1000))


def within(event: Event, events: list[Event]) -> list[Event]:
    """Those that begin in an event."""
    return [inner for inner in events if span_ns(inner)[0] in span_ns(event)]


def sums_ns(events: list[Event]) -> Counter[str]:
    """Nanoseconds by key of the phases among some events."""
    found = Counter[str]()
    for event in events:
        if event["name"] in TITLES:
            found[TITLES[event["name"]]] += len(span_ns(event))
    return found


def named(events: list[Event], kind: str) -> list[Event]:
    return [event for event in events if event["cat"] == kind]


def traced(folder: Path, delays: Delays, steps: int | None = None, **settings: Any) -> list[Event]:
    """The events of a fit with all timers, of whose epochs so many steps are traced."""
    timers = phase_timers(record=folder / "record", trace=True)
    if steps is not None:
        timers[-1].steps_an_epoch = steps
    fit(folder, *timers, Planted(delays), delays=delays, **settings)
    return events_of(folder / "record" / "trace.json")


@pytest.mark.parametrize(
    "settings",
    [
        {"gradient_clip_val": 1.0},
        {"val_check_interval": 2},
        {"accumulate_grad_batches": 2},
        {"limit_val_batches": 0},
        {"module": ManualModule},
    ],
    ids=str,
)
def test_each_epochs_phases_add_up_to_its_record(
    settings: dict[str, Any], tmp_path: Path, clock: VirtualClock
) -> None:
    """To the nanosecond, and so do their parts; an epoch lasts as long as the record says."""
    delays = Delays(tuple(PLACES), clock.spend)
    events = traced(tmp_path, delays, **settings)
    record = RunRecord.read(tmp_path / "record")
    for epoch, event in zip(record.epochs, named(events, "epoch"), strict=True):
        assert event["name"] == f"epoch {epoch.epoch}"
        assert len(span_ns(event)) == round(epoch.time["epoch_s"] * 1e9)
        inside = within(event, events)
        found = sums_ns(inside)
        for phase in PHASES:
            assert found[phase.key] == round((epoch.time[phase.key] or 0.0) * 1e9)
        optimizer = sum(len(span_ns(part)) for part in inside if part["name"] == "optimizer")
        assert optimizer == round(epoch.train_split["optimizer_s"] * 1e9)
    steps = [event["name"] for event in named(events, "step")]
    assert steps == [f"step {number}" for number in range(4)] * 2


def test_the_first_steps_of_an_epoch_are_traced(tmp_path: Path, clock: VirtualClock) -> None:
    """All of their time, and all validation; of the others that they were, and for how long."""
    delays = Delays(("dataset", "forward", "val_step", "callback_epoch_end"), clock.spend)
    events = traced(tmp_path, delays, steps=2, batches=5)
    steps = [event["name"] for event in named(events, "step")]
    assert steps == ["step 0", "step 1", "steps 2 to 4: not traced"] * 2
    first, second, rest = named(events, "step")[:3]
    for step in (first, second):
        found = sums_ns(within(step, events))
        assert found["data_s"] == 2 * delays.ns["dataset"]
        assert found["train_s"] == delays.ns["forward"]
    assert sums_ns(within(rest, events)) == {"validation_s": 2 * delays.ns["val_step"]}
    found = sums_ns(within(named(events, "epoch")[1], events))
    assert found["other_s"] == delays.ns["callback_epoch_end"]
    assert found["train_s"] == 2 * delays.ns["forward"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_fit_that_is_cut_short_leaves_a_valid_file(
    error: type[BaseException], tmp_path: Path, clock: VirtualClock
) -> None:
    """With what came until then."""

    def fail(trainer: Any, *_: Any) -> None:
        if trainer.current_epoch == 1 and trainer.fit_loop.epoch_loop.batch_idx == 2:
            raise error

    delays = Delays(("forward",), clock.spend)
    timers = phase_timers(record=tmp_path / "record", trace=True)
    with pytest.raises((error, SystemExit)):
        fit(tmp_path, *timers, LambdaCallback(on_before_backward=fail), delays=delays)
    events = events_of(tmp_path / "record" / "trace.json")
    record = RunRecord.read(tmp_path / "record")
    assert [event["name"] for event in named(events, "epoch")] == ["epoch 0", "epoch 1"]
    train_ns = sum(round(epoch.time["train_s"] * 1e9) for epoch in record.epochs)
    assert sums_ns(events)["train_s"] == train_ns == 7 * delays.ns["forward"]


def test_each_fit_has_one_of_its_own(tmp_path: Path) -> None:
    """In the directory of its record; a sanity check before is start-up, and no epoch."""
    timers = phase_timers(record=tmp_path / "record", trace=True)
    fit(tmp_path, *timers, num_sanity_val_steps=2)
    fit(tmp_path, *timers)
    for name in ("record", "record-2"):
        assert len(named(events_of(tmp_path / name / "trace.json"), "epoch")) == 2


def test_a_file_that_cannot_be_written_ends_no_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told in one line."""
    timers = phase_timers(record=tmp_path / "record", trace=True)

    def block(*_: Any) -> None:
        (tmp_path / "record" / "trace.json").mkdir()

    with caplog.at_level(logging.WARNING, "hpml"):
        fitting = fit(tmp_path, *timers, LambdaCallback(on_train_end=block))
    assert fitting.current_epoch == 2
    assert "record/trace.json: not written (Is a directory)" in caplog.text


def test_it_needs_a_record_to_lie_beside() -> None:
    """What is missing is said."""
    with pytest.raises(ValueError, match="give record=DIRECTORY too"):
        phase_timers(trace=True)


def test_it_is_bounded() -> None:
    """By steps in an epoch, and by stretches in all; how much of the fit is there is said."""
    trace, now = Trace(steps_an_epoch=10, most_stretches=50), 0
    for number in range(8):
        trace.begin_epoch(number, now)
        for _ in range(30):
            trace.add("data", now, now + 1)
            trace.add("train/forward", now + 1, now + 2)
            trace.add_step(now, now + 2)
            now += 2
        trace.end_loop()
        trace.end_epoch(now, counts=True)
    assert [len(epoch.stretches) for epoch in trace.epochs] == [20, 20, 20]
    assert trace.in_words == "the first 10 steps of the first 3 epochs"


def test_no_nanosecond_is_lost_when_microseconds_are_cut_off() -> None:
    """1,001 ns as 1.001 µs would be 1,000 again, and what begins or ends there overlap by one."""
    trace, begun_ns = Trace(steps_an_epoch=1000), 0
    trace.begin_epoch(0, 0)
    for ended_ns in range(1, 3000, 7):
        trace.add("data", begun_ns, ended_ns)
        trace.add_step(begun_ns, ended_ns)
        begun_ns = ended_ns
    trace.end_epoch(begun_ns, counts=True)
    steps = map(span_ns, named(trace.as_dict(0)["traceEvents"][2:], "step"))
    borders = [0, *range(1, 3000, 7)]
    assert [*steps] == [range(*pair) for pair in itertools.pairwise(borders)]


def test_a_rank_is_a_process_of_the_trace() -> None:
    """So that the files of all ranks can be looked at together."""
    trace = Trace()
    trace.begin_epoch(0, 5)
    trace.add("data", 5, 9)
    trace.end_epoch(9, counts=True)
    events = trace.as_dict(0, rank=3)["traceEvents"]
    assert {event["pid"] for event in events} == {4}
    assert events[0]["args"] == {"name": "rank 3"}


RANKS = """
import sys
import lightning as L, torch
from helpers.delays import Module, NOTHING, loaders
from hpml.callbacks import phase_timers
if __name__ == "__main__":
    off = "logger use_distributed_sampler enable_checkpointing enable_progress_bar".split()
    trainer = L.Trainer(accelerator="cpu", strategy="ddp_fork", devices=2, max_epochs=2,
                        **dict.fromkeys(off, False),
                        callbacks=phase_timers(record="record", trace=True))
    trainer.fit(Module(NOTHING), *loaders(NOTHING))
"""


@pytest.mark.stress
def test_each_rank_writes_its_own(tmp_path: Path) -> None:
    """Into the directory that the first rank has chosen."""
    (tmp_path / "record").mkdir()
    (tmp_path / "ranks.py").write_text(RANKS)
    tests = str(Path(__file__).parents[1])
    run_program(["ranks.py"], tmp_path, PYTHONPATH=tests)
    for name, rank in (("trace.json", 0), ("trace-rank1.json", 1)):
        events = events_of(tmp_path / "record-2" / name)
        assert len(named(events, "epoch")) == 2
        assert {event["pid"] for event in events} == {rank + 1}


def test_without_a_trace_the_clock_is_as_it_was(tmp_path: Path) -> None:
    """A clock that nobody traces calls its own method, and keeps nothing."""
    clocks = []

    def look(trainer: Any, *_: Any) -> None:
        clocks.append(trainer.profiler.clock)

    fit(tmp_path, *phase_timers(), LambdaCallback(on_train_start=look), delays=NOTHING)
    assert "claim" not in vars(clocks[0])
