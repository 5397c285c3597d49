"""The sensor: takes the place of a Trainer's profiler and hears where it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

import lightning as L
from lightning.pytorch.profilers import PassThroughProfiler, Profiler

from hpml.timing.actions import LOGGING, LOOP, NEEDED, OF_VALIDATION, VALIDATION, Action
from hpml.timing.clock import PhaseClock
from hpml.timing.cuda import DeviceClock
from hpml.timing.epoch_times import EpochTimes

_NOTHING: AbstractContextManager[Any] = nullcontext()


class PhaseProfiler(Profiler):
    """Finds a fit's epochs and each one's times by phase; passes all on to the user's profiler.

    The first epoch begins with its loop (`run_training_epoch`), a later one with the first
    `on_train_epoch_start` hook; each ends where the next begins, the last with the first
    `on_train_end` hook.

    Attributes:
        closed: the epoch that ended last; None before the first end.
        attached_ns: when it was put in place, on the clock of `time.perf_counter_ns`.
        startup_ns: from then to the first epoch; None until then.
        device: the accelerator's own clock; None on the CPU.
    """

    def __init__(self, trainer: Any, device: DeviceClock | None = None) -> None:
        super().__init__()
        self._trainer = trainer
        self.inner: Profiler = trainer.profiler
        self.device = device
        self.closed: EpochTimes | None = None
        self.startup_ns: int | None = None
        self._passes_on = not isinstance(self.inner, PassThroughProfiler)
        self._clock = PhaseClock("startup", time.perf_counter_ns)
        self.attached_ns = self._clock.now()
        self._saving = {callback.state_key for callback in trainer.checkpoint_callbacks}
        self._contexts: dict[str, _Context | None] = {}
        self._seen: set[str] = set()
        self._open: list[tuple[_Context, int]] = []  # with the clock's depth around each
        self._epoch: EpochTimes | None = None
        self._loop_depth = 0  # the clock's depth inside an epoch's loop; 0 outside of it
        self._validation_depth = 0  # the clock's depth around a validation; 0 outside of it
        self._backward_depth = 0  # the same around a backward of manual optimization
        self._loop_ended = False
        self._trained = False  # whether the open step has trained its batch
        self._fetches_inside = False  # whether training_step fetches its own batches
        self._step_begun_ns = 0
        self._validated_ns = 0  # the epoch's validation before the open step

    @classmethod
    def attach(cls, trainer: L.Trainer, device: DeviceClock | None = None) -> PhaseProfiler:
        """The Trainer's PhaseProfiler; put in place if there is none yet."""
        profiler = getattr(trainer, "profiler", None)
        if not isinstance(profiler, PhaseProfiler):
            profiler = cls(trainer, device)
            profiler._trainer.profiler = profiler
        return profiler

    def detach(self) -> None:
        """Gives the Trainer back the profiler that its user chose."""
        if self._trainer.profiler is self:
            self._trainer.profiler = self.inner

    def times(self) -> dict[str, int]:
        """Nanoseconds by phase and part: of the open epoch, or since the last one's end."""
        return self._clock.times()

    def close_partial(self) -> None:
        """Ends the open epoch, if there is one, before its time: the fit was cut short."""
        if self._epoch is not None:
            self._epoch.partial = True
            self._close_epoch("finish")

    # What Lightning calls.

    def profile(self, action_name: str) -> AbstractContextManager[Any]:  # type: ignore[override]
        """A context around an action."""
        context = self._context(action_name)
        if not self._passes_on:
            return _NOTHING if context is None else context
        both = ExitStack()
        both.enter_context(self.inner.profile(action_name))
        if context is not None:
            both.enter_context(context)
        return both

    def start(self, action_name: str) -> None:
        """An action begins."""
        if self._passes_on:
            self.inner.start(action_name)
        context = self._context(action_name)
        if context is not None:
            context.__enter__()

    def stop(self, action_name: str) -> None:
        """An action ends, and with it whatever began inside and missed its end."""
        context = self._context(action_name)
        if context is not None:
            context.__exit__()
        if self._passes_on:
            self.inner.stop(action_name)

    def summary(self) -> str:
        """The inner profiler's."""
        return self.inner.summary()

    def describe(self) -> None:
        """The inner profiler's."""
        self.inner.describe()

    def setup(self, stage: str, local_rank: int | None = None, log_dir: str | None = None) -> None:
        """The inner profiler's."""
        self.inner.setup(stage, local_rank, log_dir)

    def teardown(self, stage: str | None) -> None:
        """The inner profiler's."""
        self.inner.teardown(stage)

    def __getattr__(self, name: str) -> Any:
        """Whatever else the user's profiler has."""
        if name == "inner":  # not there yet while it is being unpickled
            raise AttributeError(name)
        return getattr(self.inner, name)

    def __del__(self) -> None:
        """Leaves the inner profiler's files to itself."""

    # What an action does to the clock.

    def _context(self, name: str) -> _Context | None:
        try:
            context = self._contexts[name]
        except KeyError:
            context = self._contexts[name] = self._make_context(Action.parse(name))
        if self._validation_depth and context is not None and not context.in_validation:
            return None  # all of it is validation
        return context

    def _make_context(self, action: Action) -> _Context | None:
        self._seen.add(action.kind)
        phase = None if self._does_nothing(action) else action.phase
        is_saving = action.owner == "[Callback]" and action.name in self._saving
        context = _Context(self, phase, is_saving or action.kind == "save_checkpoint")
        manual = not self._trainer.lightning_module.automatic_optimization
        match action.kind:
            case "run_training_epoch":
                context.before, context.after = self._begin_loop, self._end_loop
            case "[_TrainingEpochLoop].train_dataloader_next":
                context.before, context.after = self._begin_fetch, self._end_fetch
                context.ending = self._mark("wait_data")
            case "[Strategy].batch_to_device":
                context.before, context.ending = self._claim_transfer, self._mark("copy")
            case "run_training_batch":
                context.before, context.after = self._begin_batch, self._end_batch
                context.ending = self._mark("busy")
            case "[LightningModule].on_train_batch_end":
                context.after = self._log_from_here
            case "[LightningModule].on_before_backward" if manual:
                context.after = self._begin_backward
            case "[LightningModule].on_validation_model_zero_grad":
                context.before = self._begin_validation
            case "[LightningModule].on_validation_model_eval":
                context.before = self._claim_validation
            case "[Strategy].on_validation_end":
                context.after, context.in_validation = self._end_validation, True
        match action.hook:
            case "on_after_backward" if manual:
                context.before = self._end_backward
            case "on_before_batch_transfer":
                context.before = self._claim_transfer
            case "on_train_epoch_start":
                context.before = self._next_epoch
            case "on_train_end":
                context.before = self._last_epoch_ends
        if phase is None and action.hook == "on_before_batch_transfer":
            return None  # what follows claims its time
        return context if context.matters else None

    def _does_nothing(self, action: Action) -> bool:
        """Whether a hook is the base class's, which is empty: not worth two looks at a clock."""
        owners: list[Any] = []
        base: type = L.Callback
        if action.owner == "[Callback]":
            owners = [c for c in self._trainer.callbacks if c.state_key == action.name]
        elif action.owner == "[LightningModule]" and action.hook.startswith("on_"):
            owners, base = [self._trainer.lightning_module], L.LightningModule
        inherited = getattr(base, action.hook, None)
        return bool(owners) and all(
            getattr(type(owner), action.hook, None) is inherited for owner in owners
        )

    def _mark(self, kind: str | None) -> Callable[[], None] | None:
        device = self.device
        return None if device is None else lambda: device.mark(kind)

    # The loop.

    def _begin_loop(self) -> None:
        if self._epoch is None:
            self.startup_ns = sum(self._clock.take(LOOP).values())
            self._begin_epoch()
        self._loop_ended = False
        self._loop_depth = self._clock.depth + 1
        self._begin_step()
        if self.device is not None:
            self.device.mark(None)

    def _end_loop(self) -> None:
        self._end_step()
        self._loop_depth = self._validation_depth = self._backward_depth = 0
        self._loop_ended = True
        self._clock.relabel(LOGGING)  # the epoch's metrics go to the loggers
        if self.device is not None:
            self.device.mark("idle")

    def _begin_fetch(self) -> None:
        if self._clock.depth != self._loop_depth:
            self._fetches_inside = True
        else:
            self._end_step()
            if self.device is not None:
                self.device.mark("idle")

    def _end_fetch(self) -> None:
        if self._clock.depth == self._loop_depth:
            self._clock.relabel(LOOP)

    def _claim_transfer(self) -> None:
        if self._clock.depth == self._loop_depth:
            self._clock.claim("transfer")  # the precision plugin converted the batch

    def _begin_batch(self) -> None:
        self._end_step()  # where no fetch has ended it
        if self.device is not None:
            self.device.mark("idle")

    def _end_batch(self) -> None:
        self._trained = True

    def _log_from_here(self) -> None:
        if self._clock.depth == self._loop_depth:
            self._clock.relabel(LOGGING)

    def _begin_backward(self) -> None:
        # Manual optimization sends no action for it, only the hooks around it.
        if self._clock.phase == "train/forward":
            self._backward_depth = self._clock.depth
            self._clock.enter("train/backward")

    def _end_backward(self) -> None:
        if self._backward_depth:
            self._clock.leave(self._backward_depth)
            self._backward_depth = 0

    def _begin_validation(self) -> None:
        if self._loop_depth and not self._validation_depth:
            if self.device is not None:
                self.device.mark("idle")
            self._validation_depth = self._clock.depth
            self._clock.enter(VALIDATION)

    def _claim_validation(self) -> None:
        if self._loop_depth and not self._validation_depth:
            # Inside an accumulation window nothing was sent when the loop began to set itself up.
            self._clock.claim(VALIDATION)
            self._begin_validation()

    def _end_validation(self) -> None:
        if self._validation_depth:
            if self.device is not None:
                self.device.mark(VALIDATION)
            self._clock.leave(self._validation_depth)
            self._validation_depth = 0

    # Steps: from a batch's fetch to the next one's, without the validation between them.

    def _begin_step(self) -> None:
        self._trained = False
        self._step_begun_ns = self._clock.now()
        self._validated_ns = self._clock.so_far(VALIDATION)

    def _end_step(self) -> None:
        if not self._trained or self._epoch is None:
            return
        begun_ns, validated_ns = self._step_begun_ns, self._validated_ns
        self._begin_step()
        step_ns = self._step_begun_ns - begun_ns - (self._validated_ns - validated_ns)
        self._epoch.add_step(step_ns)

    # Epochs.

    def _next_epoch(self) -> None:
        if self._loop_ended:  # the first of several hooks
            self._close_epoch(LOOP)
            self._begin_epoch()

    def _last_epoch_ends(self) -> None:
        if self._epoch is not None:
            self._close_epoch("finish")

    def _begin_epoch(self) -> None:
        self._epoch = EpochTimes(self._trainer.current_epoch)
        self._loop_ended = False

    def _close_epoch(self, what_follows: str) -> None:
        epoch = self._epoch
        assert epoch is not None
        if self.device is not None:
            epoch.device_ns = self.device.take()  # waits for the device: its work is the epoch's
        epoch.ns = self._clock.take(what_follows)
        epoch.unmeasured = self._unmeasured() if epoch.steps else frozenset()
        self.closed, self._epoch = epoch, None
        self._loop_ended = False

    def _unmeasured(self) -> frozenset[str]:
        phases = {phase for phase, needed in NEEDED.items() if not needed <= self._seen}
        if not OF_VALIDATION & self._seen:
            phases.discard("validation")
        if self._fetches_inside:  # and moves them too
            phases.discard("transfer")
        return frozenset(phases)


class _Context(AbstractContextManager[None]):
    """What one action does: moves the clock into its phase and back, and tells the profiler.

    `before` and `ending` run when the action starts and when it stops, on the outer phase's and on
    its own time; `after` once the clock is back.
    """

    __slots__ = ("_clock", "_open", "_phase", "after", "before", "ending", "in_validation")

    def __init__(self, profiler: PhaseProfiler, phase: str | None, in_validation: bool) -> None:
        self._clock = profiler._clock
        self._open = profiler._open
        self._phase = phase
        self.in_validation = in_validation
        self.before: Callable[[], None] | None = None
        self.ending: Callable[[], None] | None = None
        self.after: Callable[[], None] | None = None

    @property
    def matters(self) -> bool:
        """Whether there is anything to do."""
        return (self._phase or self.before or self.ending or self.after) is not None

    def __enter__(self) -> None:
        if self.before is not None:
            self.before()
        clock = self._clock
        self._open.append((self, clock.depth))
        clock.enter(self._phase or clock.phase)

    def __exit__(self, *_: object) -> None:
        opened = self._open
        if not opened or (
            opened[-1][0] is not self and all(context is not self for context, _ in opened)
        ):
            return  # it was closed with what is around it
        if self.ending is not None:
            self.ending()
        while True:
            context, depth = opened.pop()
            if context is self:
                break
        self._clock.leave(depth)
        if self.after is not None:
            self.after()
