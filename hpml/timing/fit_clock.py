"""The clock of one fit: its epochs, their steps, and the phases that no action brackets."""

import copy
import time
from collections.abc import Callable

from hpml.timing.device_clock import DeviceClock
from hpml.timing.epoch_times import EpochTimes
from hpml.timing.phase_clock import PhaseClock
from hpml.timing.profiler_actions import DATA_START, LOGGING, LOOP, VALIDATION, VALIDATION_END
from hpml.timing.trace import Trace


class FitClock(PhaseClock):
    """A PhaseClock that follows a training loop.

    What comes before it is `armed` is start-up, whatever it is: a sanity check, or a search for a
    learning rate that trains on its own.

    `current_epoch` gives the number of an epoch that begins, `device` is the accelerator's own
    clock.
    """

    def __init__(self, current_epoch: Callable[[], int], device: DeviceClock | None) -> None:
        super().__init__("startup", time.perf_counter_ns)
        self.begun_ns = self._since
        self.startup_ns: int | None = None  # from then to the first epoch
        self.epochs: list[EpochTimes] = []  # that have ended
        self.device = device
        self.logging = LOGGING  # takes the loop's time after a batch; without loggers it is LOOP
        self.manual = False  # whether the module optimizes by itself
        self.trace: Trace | None = None  # that is told of each stretch of time
        self.armed = False  # whether the training that was asked for has begun
        self._current_epoch = current_epoch
        self._epoch: EpochTimes | None = None
        self._carried: EpochTimes | None = None
        self._loop_depth = 0  # the depth inside an epoch's loop; 0 outside of it
        self.validating = False  # whether a validation inside an epoch is going on
        self._validation_depth = 0  # the depth around it; 0 outside of it
        self._validations = 0  # that have set themselves up: inside one a hook may begin another
        self._backward_depth = 0  # the same around a backward of manual optimization
        self._timed_backwards = False  # whether the epoch's backward passes were timed apart
        self._loop_ended = False
        self._fetched = False  # whether the open epoch has asked for a batch
        self._started = False  # and has got it
        self._trained = False  # whether the open step has trained its batch
        self._step_begun_ns = 0
        self._validated_ns = 0  # the epoch's validation before the open step

    @property
    def in_epoch(self) -> bool:
        return self._epoch is not None

    @property
    def in_loop(self) -> bool:
        """Whether it is directly in an epoch's loop, in no phase inside."""
        return len(self._stack) == self._loop_depth

    def open_epoch(self) -> EpochTimes | None:
        if self._epoch is None:
            return None
        open_now = copy.copy(self._epoch)
        open_now.ns = self.times()
        if self._carried is not None:
            open_now.later_steps = copy.deepcopy(open_now.later_steps)
            open_now.add(self._carried)
        return open_now

    def carry_over(self, earlier: EpochTimes) -> None:
        """The first epoch was begun by another process, in these times."""
        self._carried = earlier

    def trace_into(self, trace: Trace) -> None:
        """From now on tells a trace of each stretch of time; costs nothing where nobody asks."""
        self.trace = trace
        self.claim = self._claim_and_tell  # type: ignore[method-assign]

    def _claim_and_tell(self, phase: str) -> None:
        begun_ns = self._since
        super().claim(phase)
        assert self.trace is not None
        self.trace.add(phase, begun_ns, self._since)

    def mark(self, kind: str) -> None:
        """Marks the device's clock too, if an epoch's loop runs and does not validate."""
        if self.device is not None and self._loop_depth and not self._validation_depth:
            self.device.mark(kind)

    def mark_phase(self, kind: str) -> None:
        """The same for a phase that ends directly in the loop."""
        if len(self._stack) == self._loop_depth + 1:
            self.mark(kind)

    def close_partial(self) -> None:
        """Ends the open epoch before its time, if it has begun to load: the fit was cut short."""
        self._end_step()
        if self._epoch is not None and self._fetched:
            self._epoch.partial = True
            self._close_epoch("finish")

    # The loop. What begins is called before its phase is entered, what ends after it was left.

    def begin_loop(self) -> None:
        """The first epoch begins here; a later one did at its first hook."""
        if not self.armed:
            return
        if self._epoch is None:
            taken = sum(self.take(LOOP).values())
            self.startup_ns = (self.startup_ns or 0) + taken
            if self.device is not None:
                self.device.mark(None)
                self.device.take()
            self._begin_epoch()
        assert self._epoch is not None
        self._epoch.epoch = self._current_epoch()  # a hook may have trained others meanwhile
        self._loop_ended = False
        self._loop_depth = self.depth + 1
        self.mark("idle")
        self._begin_step(self._time_ns())

    def end_loop(self) -> None:
        """What follows is the epoch's end: metrics for the loggers, hooks, checkpoints."""
        if self._loop_depth:
            self._end_step()
            self._loop_depth = self._validation_depth = self._backward_depth = 0
            self._validations, self.validating = 0, False
            self._loop_ended = True
            self.relabel(self.logging)
            if self.trace is not None:
                self.trace.end_loop()

    def begin_fetch(self) -> None:
        """A batch is asked for; that ends the step before it."""
        if self.in_loop:
            self._end_step()
            # Until an epoch's first batch is asked for, the loader makes its iterator.
            self.mark("idle" if self._fetched else "wait_data")
        self._fetched = self._epoch is not None

    def end_fetch(self) -> None:
        if self.in_loop:
            self.relabel(LOOP)
            if not self._started:
                self._started = True
                self._times[DATA_START] += self._times.pop("data", 0)

    def begin_transfer(self) -> None:
        """Since the fetch the precision plugin has converted the batch."""
        if self.in_loop:
            self.claim("transfer")

    def begin_batch(self) -> None:
        """Where no fetch has ended the last step, because the module fetches, this does."""
        self._end_step()
        self.mark("idle")

    def end_batch(self) -> None:
        self._trained = self._loop_depth > 0

    def end_batch_hooks(self) -> None:
        """What follows is mostly the batch's metrics on their way to the loggers."""
        if self.in_loop:
            self.relabel(self.logging)

    def loader_made(self) -> None:
        """What follows is the new loader's iterator."""
        if self._epoch is not None and self.depth == 1:
            self.relabel("data")

    def begin_backward(self) -> None:
        """Manual optimization sends no action for it, only the hooks around it."""
        if self.phase == "train/forward":
            self._backward_depth = self.enter("train/backward")
            self._timed_backwards = True
        elif self._epoch is not None:  # in a closure, which makes all of it the optimizer's
            self._epoch.split_known = False

    def end_backward(self) -> None:
        if self._backward_depth:
            self.leave(self._backward_depth)
            self._backward_depth = 0

    def begin_validation(self) -> None:
        """It announces itself, where gradients are not being accumulated."""
        if self._loop_depth and not self._validation_depth:
            self.mark("idle")
            self._validation_depth = self.enter(VALIDATION)
            self.validating = True

    def claim_validation(self) -> None:
        """It has set itself up already, where nothing announced it."""
        if self._loop_depth and not self._validation_depth:
            self.claim(VALIDATION)
            self.begin_validation()
        self._validations += self.validating

    def end_validation(self) -> None:
        """The innermost one ends."""
        self._validations = max(0, self._validations - 1)
        if self._validation_depth and not self._validations:
            self.leave(self._validation_depth)
            self._validation_depth, self.validating = 0, False
            self.mark(VALIDATION)

    def end_validation_batches(self) -> None:
        """What follows is no more its batches: metrics, which several ranks may compare."""
        if self.validating and self._validations <= 1 and self.depth == self._validation_depth + 1:
            self.relabel(VALIDATION_END)

    def end_empty_validation(self) -> None:
        """One of no batches announces itself and does no more: then a batch is asked for."""
        if not self._validations:
            self.end_validation()

    # Epochs.

    def next_epoch(self) -> None:
        """At each hook of an epoch's start: the first one after a loop is the border."""
        if self._loop_ended:
            self._close_epoch(LOOP)
            self._begin_epoch()

    def last_epoch_ends(self) -> None:
        """At each hook of the training's end."""
        if self._epoch is not None and self.armed:
            self._close_epoch("finish")

    def _begin_epoch(self) -> None:
        self._epoch = EpochTimes(self._current_epoch())
        self._loop_ended = self._fetched = self._started = self._timed_backwards = False
        if self.trace is not None:
            self.trace.begin_epoch(self._epoch.epoch, self._since)

    def _close_epoch(self, what_follows: str) -> None:
        epoch = self._epoch
        assert epoch is not None
        if self.device is not None and not epoch.partial:
            self.device.mark("idle")
            epoch.device_ns = self.device.take()  # waits for the device: its work is the epoch's
        epoch.split_known &= not self.manual or self._timed_backwards
        epoch.ns = self.take(what_follows)
        if self._carried is not None:
            epoch.add(self._carried)
            self._carried = None
        self._epoch, self._loop_ended = None, False
        counts = bool(self._fetched or epoch.steps or self.epochs)
        if self.trace is not None:
            self.trace.end_epoch(self._since, counts)
        if counts:
            self.epochs.append(epoch)
        else:  # a resumed fit goes through the end of an epoch that another fit has trained
            self.startup_ns = (self.startup_ns or 0) + sum(epoch.ns.values())

    @property
    def _all_validation_ns(self) -> int:
        return self._times.get(VALIDATION, 0) + self._times.get(VALIDATION_END, 0)

    # Steps: from a batch's fetch to the next one's, without the validation between them.

    def _begin_step(self, now_ns: int) -> None:
        self._trained = False
        self._step_begun_ns = now_ns
        self._validated_ns = self._all_validation_ns

    def _end_step(self) -> None:
        if self._trained and self._epoch is not None:
            now_ns = self._time_ns()
            validated_ns = self._all_validation_ns - self._validated_ns
            self._epoch.add_step(now_ns - self._step_begun_ns - validated_ns)
            if self.trace is not None:
                self.trace.add_step(self._step_begun_ns, now_ns)
            self._begin_step(now_ns)
