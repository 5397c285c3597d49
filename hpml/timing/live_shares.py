"""Figures while an epoch runs: windows of some steps, and the shares that a verdict stands on."""

import time
from collections import Counter, defaultdict
from collections.abc import Mapping

from hpml.timing.epoch_times import NS_PER_S, EpochTimes, by_phase
from hpml.timing.likely_cause import Share, ShareMeter, by_cause
from hpml.timing.profiler_actions import BROADCAST, DATA_START, LOGGING, LOOP, RANKS

STEPS_A_PIECE = 20  # a verdict's error is judged from pieces of this length …
STEPS_AT_FIRST = 5  # … shorter ones at first, so that a short run has some …
FIRST_PIECES = 20
PIECE_NS = 1_000_000_000  # … or of this time, where steps are slow
NEWS_AFTER_STEPS = 100
NEWS_AFTER_NS = 60_000_000_000
LEAST_OF_HOOKS = 0.05  # a hook that took less of its callback's time is not named
PIECES_OF_NEWS = 3  # fewer say nothing of how certain a share is


class LiveShares:
    """Cuts the time into pieces as it passes, and adds them up by window and by cause.

    The first batch of all is left out: it pays for what happens only once.
    """

    def __init__(self, every_n_steps: int | None) -> None:
        self.of_all = ShareMeter()  # since the second batch
        self._every_n_steps = every_n_steps
        self._recent = ShareMeter()  # since the last news
        self._recent_steps = 0
        self._steps: int | None = None  # since the last look; None before the first batch
        self._looked_at_ns = 0
        self._base: dict[str, int] = {}  # what the last look saw of this epoch
        self._device_base: dict[str, float] = {}
        self._first_ns = 0  # until the first batch was over
        self._ns: Counter[str] = Counter()  # since then, by phase and part
        self._begin_window()

    def _begin_window(self) -> None:
        self._window = by_phase({})
        self._window_steps = 0
        self._window_samples: int | None = 0

    def step_ended(self, samples: int | None) -> bool:
        """Counts a step; whether it is time for a look."""
        if self._steps is None:
            return True
        self._steps += 1
        if self._window_samples is not None:
            self._window_samples = None if samples is None else self._window_samples + samples
        return (
            self._steps >= (STEPS_AT_FIRST if self.of_all.pieces < FIRST_PIECES else STEPS_A_PIECE)
            or self._window_steps + self._steps == self._every_n_steps
            or time.perf_counter_ns() - self._looked_at_ns > PIECE_NS
        )

    def look(
        self, times: Mapping[str, int], device_times: Mapping[str, float] | None
    ) -> dict[str, float] | None:
        """Cuts a piece off, from the epoch's times until now; a window's figures if it is full."""
        if self._steps is None:  # the first batch is over
            self._steps = 0
            self._base, self._device_base = dict(times), dict(device_times or {})
            self._first_ns = sum(times.values())
            self._looked_at_ns = time.perf_counter_ns()
            return None
        self._cut(times, device_times)
        if self._every_n_steps is None or self._window_steps < self._every_n_steps:
            return None
        figures = {f"{phase}_s": ns / NS_PER_S for phase, ns in self._window.items()}
        figures["wall_s"] = sum(figures.values())
        if self._window_samples is not None and figures["wall_s"]:
            figures["samples_per_s"] = self._window_samples / figures["wall_s"]
        self._begin_window()
        return figures

    def epoch_ended(self, epoch: EpochTimes) -> None:
        """Takes the rest of an epoch; its last window goes on in the next one."""
        if self._steps is not None:
            # of an epoch that was cut short the device's times are not known
            self._cut(epoch.here_ns, epoch.device_ns or self._device_base or None)
        self._base, self._device_base = {}, {}

    @property
    def validation_share(self) -> float:
        """Validation's part of all the time, the first batch's included."""
        return _part(by_phase(self._ns)["validation"], self._first_ns + self._ns.total())

    @property
    def start_share(self) -> float:
        """Of the waiting for data, the part that was for an epoch's first batch."""
        return _part(self._ns[DATA_START], by_phase(self._ns)["data"])

    @property
    def largest_other(self) -> tuple[str, float] | None:
        """What took most of `other`, and its part of it; None where nothing did."""
        others = {key[6:]: ns for key, ns in self._ns.items() if key.startswith("other/")}
        return largest_owner(others)

    @property
    def most_waited_share(self) -> float:
        """The part of the time in which a rank may have waited for the others; 1 before any.

        They meet where gradients are exchanged, in the middle of training a batch, and where
        Lightning's loop asks before each batch whether to stop.
        """
        asked_ns = sum(self._ns[key] for key in (BROADCAST, LOOP, LOGGING))
        waited_ns = by_phase(self._ns)["train"] + asked_ns
        return _part(waited_ns, self._ns.total()) if self._ns else 1.0

    def news(self) -> dict[str, Share] | None:
        """The shares of the last 100 steps, or of the last minute, each once."""
        recent = self._recent
        due = self._recent_steps >= NEWS_AFTER_STEPS or recent.ns >= NEWS_AFTER_NS
        if not due or recent.pieces < PIECES_OF_NEWS:
            return None
        self._recent, self._recent_steps = ShareMeter(), 0
        return recent.shares()

    def _cut(self, times: Mapping[str, int], device_times: Mapping[str, float] | None) -> None:
        passed = {key: ns - self._base.get(key, 0) for key, ns in times.items()}
        # Where gradients are exchanged, waiting for the other ranks counts as training: here too.
        passed["train/rest"] = passed.get("train/rest", 0) + passed.pop(RANKS, 0)
        self._ns.update(passed)
        phases = by_phase(passed)
        self._window = {phase: ns + phases[phase] for phase, ns in self._window.items()}
        piece: Mapping[str, float] = phases
        if device_times is not None:
            piece = {k: ns - self._device_base.get(k, 0.0) for k, ns in device_times.items()}
            self._device_base = dict(device_times)
        for meter in (self.of_all, self._recent):
            meter.add(by_cause(piece))
        self._recent_steps += self._steps or 0
        self._window_steps += self._steps or 0
        self._steps, self._base = 0, dict(times)
        self._looked_at_ns = time.perf_counter_ns()


def largest_owner(ns: Mapping[str, int]) -> tuple[str, float] | None:
    """Who took most, in all of its hooks together, and its part of all; None where nobody did.

    Of times by `Owner.hook`, or by a name without a hook. The hooks that matter are named with it.
    """
    by_owner: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for name, part_ns in ns.items():
        owner, _, hook = name.rpartition(".")
        by_owner[owner or hook][hook] += part_ns
    if not by_owner:
        return None
    owner = max(by_owner, key=lambda name: by_owner[name].total())
    hooks, total = by_owner[owner], by_owner[owner].total()
    named = [hook for hook, part_ns in hooks.most_common() if part_ns >= LEAST_OF_HOOKS * total]
    if owner in named:  # no hook: Lightning's loop, or logging
        name = owner
    else:
        name = f"{owner}.{named[0]}" if len(named) == 1 else f"{owner} ({', '.join(named)})"
    return name, _part(total, sum(ns.values()))


def _part(ns: int, whole_ns: int) -> float:
    return ns / whole_ns if whole_ns else 0.0
