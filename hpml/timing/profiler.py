"""The sensor: takes the place of a Trainer's profiler, to which Lightning reports each action."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from typing import Any

import lightning as L
from lightning.pytorch.profilers import PassThroughProfiler, Profiler

from hpml.system.lightning_packages import twins
from hpml.timing.device_clock import device_clock
from hpml.timing.fit_clock import FitClock
from hpml.timing.profiler_actions import LOOP, MODULE_VALIDATED, NEEDED, OF_A_HOOK, Action
from hpml.timing.synchronization_points import SynchronizationPoints

_NOTHING: AbstractContextManager[Any] = nullcontext()
_UNKNOWN: Any = object()
Hook = Callable[[], None] | None
FETCH, VALIDATED = "[_TrainingEpochLoop].train_dataloader_next", "[Strategy].on_validation_end"
SET_UP = "[LightningModule].on_validation_model_eval"
# In a validation, what is no part of it, and what tells where it begins and ends.
IN_VALIDATION = ("save_checkpoint", SET_UP, MODULE_VALIDATED, VALIDATED)


class PhaseProfiler(Profiler):
    """Moves the clock of a fit by Lightning's actions; passes all on to the user's profiler."""

    def __init__(self, trainer: Any) -> None:
        super().__init__()
        self.inner: Profiler = trainer.profiler
        if isinstance(self.inner, PhaseProfiler):  # left behind by a fit that died
            self.inner = self.inner.inner
        self.clock = FitClock(
            lambda: int(trainer.current_epoch), device_clock(trainer.strategy.root_device)
        )
        self._trainer = trainer
        self._passes_on = not isinstance(self.inner, twins(PassThroughProfiler))
        self._saving = {callback.state_key for callback in trainer.checkpoint_callbacks}
        self._contexts: dict[str, _Context | None] = {}
        self._seen: set[str] = set()
        self._open: list[tuple[_Context, int]] = []  # with the clock's depth around each
        self.before_runs: list[Callable[[], object]] = []  # called where a hook starts a run
        self._fetches_inside = False  # whether training_step fetches its own batches
        self._points = SynchronizationPoints(self.clock, lambda: self.is_aside(trainer))

    @classmethod
    def attach(cls, trainer: L.Trainer) -> PhaseProfiler:
        """The Trainer's PhaseProfiler; put in place if there is none for this fit yet."""
        any_trainer: Any = trainer
        profiler = any_trainer.profiler
        if not isinstance(profiler, PhaseProfiler) or profiler.clock.armed:
            profiler = any_trainer.profiler = cls(trainer)
        return profiler

    def detach(self) -> None:
        """Gives the Trainer back the profiler that its user chose."""
        if self._trainer.profiler is self:
            self._trainer.profiler = self.inner
        self._points.end()

    def arm(self) -> None:
        """Epochs count from now on; what has been heard so far was not of them."""
        if not self.clock.armed:
            self.clock.armed = True
            self.clock.logging = self.clock.logging if self._trainer.loggers else LOOP
            self.clock.manual = not self._trainer.lightning_module.automatic_optimization
            self._contexts.clear()
            self._seen.clear()
            self._points.begin(self._trainer)

    def unmeasured(self) -> frozenset[str]:
        """The phases that cannot be timed, since Lightning has sent no sign of them."""
        seen = self._seen
        phases = {
            phase
            for phase, needed in NEEDED.items()
            if any(kind not in seen and occasions & seen for kind, occasions in needed.items())
        }
        if self._fetches_inside:  # and moves them too
            phases.discard("transfer")
        return frozenset(phases)

    def is_aside(self, trainer: Any) -> bool:
        """Whether what a Trainer does now is of a run that a hook of this fit has started.

        A search for a learning rate, another fit: no epoch of this one, and its time is the hook's.
        """
        if trainer is not self._trainer:
            return bool(self._open) and trainer.profiler is not self
        return self.clock.validating or bool(self._open and self._open[-1][0].runs)

    # What Lightning calls.

    def profile(self, action_name: str) -> AbstractContextManager[Any]:  # type: ignore[override]
        # the way of `_context`, without the call: this happens twenty times a step
        context, opened = self._contexts.get(action_name, _UNKNOWN), self._open
        if context is _UNKNOWN or (
            context is not None and (self.clock.validating or (opened and opened[-1][0].is_hook))
        ):
            context = self._context(action_name)
        if not self._passes_on:
            return _NOTHING if context is None else context
        both = ExitStack()
        both.enter_context(self.inner.profile(action_name))
        if context is not None:
            both.enter_context(context)
        return both

    def start(self, action_name: str) -> None:
        if self._passes_on:
            self.inner.start(action_name)
        if action_name == FETCH:
            self.clock.end_empty_validation()
        if (context := self._context(action_name)) is not None:
            context.__enter__()

    def stop(self, action_name: str) -> None:
        if (context := self._context(action_name)) is not None:
            context.__exit__(None, None, None)
        if self._passes_on:
            self.inner.stop(action_name)

    # The rest is the inner profiler's.

    def summary(self) -> str:
        return self.inner.summary()

    def describe(self) -> None:
        self.inner.describe()

    def setup(self, stage: str, local_rank: int | None = None, log_dir: str | None = None) -> None:
        self.inner.setup(stage, local_rank, log_dir)

    def teardown(self, stage: str | None) -> None:
        self.inner.teardown(stage)

    def __getattr__(self, name: str) -> Any:
        if name == "inner":  # not there yet while it is being unpickled
            raise AttributeError(name)
        return getattr(self.inner, name)

    def __del__(self) -> None:
        """Leaves the inner profiler's files to itself."""

    # What an action does to the clock.

    def _context(self, name: str) -> _Context | None:
        if name not in self._contexts:
            self._contexts[name] = self._make_context(Action.parse(name))
        context = self._contexts[name]
        if context is None:
            return None
        if self.clock.validating and not context.in_validation:
            return None  # all of it is validation
        if self._open and (hook := self._open[-1][0]).is_hook:
            return self._inside(hook, context)
        return context

    def _inside(self, hook: _Context, context: _Context) -> _Context | None:
        """The context of an action that a hook may take; None for those of a run of its own."""
        if hook.runs:
            return None
        if context.in_hook:
            return context
        hook.runs = True
        for call in self.before_runs:
            call()
        return None

    def _make_context(self, action: Action) -> _Context | None:
        if action.kind != MODULE_VALIDATED:
            self._seen.add(action.kind)
        clock = self.clock
        phase = None if self._does_nothing(action) else action.phase
        kind = action.kind
        begin_backward = clock.begin_backward if clock.manual else None
        hooks: dict[str, tuple[Hook, Hook, Hook]] = {  # before, ending, after
            "run_training_epoch": (clock.begin_loop, None, clock.end_loop),
            FETCH: (self._begin_fetch, self._marks("wait_data"), clock.end_fetch),
            "[LightningModule].train_dataloader": (None, None, clock.loader_made),
            "[LightningDataModule].train_dataloader": (None, None, clock.loader_made),
            "[Strategy].batch_to_device": (clock.begin_transfer, self._marks("copy"), None),
            "run_training_batch": (clock.begin_batch, self._marks("busy"), clock.end_batch),
            "[LightningModule].on_train_batch_end": (None, None, clock.end_batch_hooks),
            "[LightningModule].on_before_backward": (None, None, begin_backward),
            "[LightningModule].on_validation_model_zero_grad": (clock.begin_validation, None, None),
            SET_UP: (clock.claim_validation, None, None),
            MODULE_VALIDATED: (None, None, lambda: self._seen.add(MODULE_VALIDATED)),
            VALIDATED: (None, None, clock.end_validation),
        }
        before, ending, after = hooks.get(kind, (None, None, None))
        before = {
            "on_before_batch_transfer": clock.begin_transfer if phase else None,
            "on_after_backward": clock.end_backward if clock.manual else None,
            "on_train_epoch_start": clock.next_epoch,
            "on_train_end": clock.last_epoch_ends,
        }.get(action.hook, before)
        if not (phase or before or ending or after):
            return None
        saves = action.owner == "[Callback]" and action.name in self._saving
        return _Context(
            clock,
            self._open,
            phase,
            is_hook=phase is not None and action.is_hook,
            in_hook=action.hook in OF_A_HOOK,
            in_validation=saves or kind in IN_VALIDATION,
            only_whole=kind != "run_training_epoch",
            before=before,
            ending=ending,
            after=after,
        )

    def _does_nothing(self, action: Action) -> bool:
        """Whether a hook is the base class's, which is empty: not worth two looks at a clock."""
        owners: list[Any] = []
        base: type = L.Callback
        if action.owner == "[Callback]":
            owners = [c for c in self._trainer.callbacks if c.state_key == action.name]
        elif action.owner == "[LightningModule]" and action.hook.startswith("on_"):
            owners, base = [self._trainer.lightning_module], L.LightningModule
        bases: tuple[type, ...] = twins(base)
        inherited = [getattr(kind, action.hook, None) for kind in bases]
        return bool(owners) and all(
            getattr(type(owner), action.hook, None) in inherited and action.hook not in vars(owner)
            for owner in owners
        )

    def _begin_fetch(self) -> None:
        self.clock.begin_fetch()
        self._fetches_inside |= self.clock.armed and not self.clock.in_loop

    def _marks(self, kind: str) -> Hook:
        return None if self.clock.device is None else lambda: self.clock.mark_phase(kind)


@dataclass(eq=False)
class _Context(AbstractContextManager[None]):
    """What one action does: moves the clock into its phase and back, and on its way in the loop.

    `before` and `ending` run when the action starts and when it stops, on the outer phase's and on
    its own time; `after` once the clock is back. An action that ends by an exception has not come
    to its end: only what has to is called then.
    """

    clock: FitClock
    opened: list[tuple[_Context, int]]
    phase: str | None
    is_hook: bool  # whether it may start a run of its own
    in_hook: bool  # whether a hook may take it without starting one
    in_validation: bool  # else there it belongs to the validation around it
    only_whole: bool  # whether `after` is left out where an exception has ended it
    before: Hook
    ending: Hook
    after: Hook
    runs: bool = False  # whether the hook that is open has started a run of its own

    def __enter__(self) -> None:
        self.runs = False
        if self.before is not None:
            self.before()
        self.opened.append((self, self.clock.enter(self.phase)))

    def __exit__(self, exc_type: type[BaseException] | None, *_: object) -> None:
        """Closes with it whatever began inside and missed its end."""
        opened = self.opened
        is_innermost = bool(opened) and opened[-1][0] is self
        if not is_innermost and all(context is not self for context, _ in opened):
            return  # it was closed with what is around it
        whole = exc_type is None
        if self.ending is not None and whole:
            self.ending()
        context, depth = opened.pop()
        while context is not self:
            context, depth = opened.pop()
        self.clock.leave(depth)
        if self.after is not None and (whole or not self.only_whole):
            self.after()
