"""What most likely limits the speed, from the shares of time."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

# cause: the host's phase and the device's kind of time that tell of it
CAUSES = {
    "input": ("data", "wait_data"),
    "transfer": ("transfer", "copy"),
    "compute": ("train", "busy"),
    "overhead": ("other", "idle"),
}
# Shares closer than this are not told apart, however steady they are.
LEAST_MARGIN = 0.05


@dataclass(frozen=True)
class Share:
    """A cause's part of the time, from 0 to 1, and its standard error."""

    share: float
    error: float = 0.0


class ShareMeter:
    """Shares of a time that comes in pieces, each with its uncertainty, in constant memory.

    A share is a ratio of sums, so its error is that of a ratio estimator (Cochran, Sampling
    Techniques, 1977, section 6.4): it grows where the pieces differ from one another.
    """

    def __init__(self) -> None:
        self.pieces = 0
        self.ns = 0.0
        self._squares = 0.0
        self._of_cause = dict.fromkeys(CAUSES, (0.0, 0.0, 0.0))  # sum, squares, products

    def add(self, piece: Mapping[str, float]) -> None:
        """One piece of time: nanoseconds by cause."""
        whole = sum(piece.values())
        if whole <= 0:
            return
        self.pieces += 1
        self.ns += whole
        self._squares += whole * whole
        for cause, (total, squares, products) in self._of_cause.items():
            part = piece.get(cause, 0.0)
            self._of_cause[cause] = (total + part, squares + part * part, products + part * whole)

    def shares(self) -> dict[str, Share]:
        """The share of each cause; of one piece alone nothing is certain."""
        if not self.pieces:
            return {}
        found = {}
        for cause, (total, squares, products) in self._of_cause.items():
            share = total / self.ns
            error = 1.0
            if self.pieces > 1:
                residuals = squares - 2 * share * products + share * share * self._squares
                scale = self.pieces / (self.pieces - 1)
                error = math.sqrt(max(0.0, residuals) * scale) / self.ns
            found[cause] = Share(share, error)
        return found


@dataclass(frozen=True)
class Setting:
    """What the advice has to know of a run; None for what is not known.

    `keys` tells whether the run is configured by hpml's own keys.
    """

    keys: bool = False
    num_workers: int | None = None
    pipeline: str | None = None
    on_gpu: bool = False


def by_cause(times: Mapping[str, float]) -> dict[str, float]:
    """Times by cause, from the host's by phase or the device's by kind; validation is left out."""
    return {
        cause: times.get(phase, 0.0) + times.get(kind, 0.0)
        for cause, (phase, kind) in CAUSES.items()
    }


def judge(
    shares: Mapping[str, Share],
    setting: Setting = Setting(),
    largest_other: str | None = None,
    validation_share: float = 0.0,
) -> dict[str, str]:
    """The record's `verdict`: kind, basis, evidence, advice.

    The cause with the largest share, if it leads by more than both shares' uncertainty (two
    standard errors of each) and LEAST_MARGIN; otherwise `inconclusive`.
    Where validation takes most of the time, no cause of the rest matters much. `largest_other`
    names what took most of `other`.
    """
    ranked = sorted(shares, key=lambda cause: -shares[cause].share)
    first, second = ranked[0], ranked[1]
    lead = shares[first].share - shares[second].share
    margin = max(LEAST_MARGIN, 2 * (shares[first].error + shares[second].error))
    told = ", ".join(f"{_WORDS[cause]} {shares[cause].share:.0%}" for cause in ranked)
    evidence = told if validation_share < 0.1 else f"{told}; validation apart"
    if validation_share > 0.5:
        kind, evidence = "inconclusive", f"validation takes {validation_share:.0%} of the time"
        advice = "Validate less often, or on fewer batches"
        if setting.keys:
            advice += ": trainer.check_val_every_n_epoch, trainer.limit_val_batches"
    elif lead <= margin:
        kind, advice = "inconclusive", _UNDECIDED
        evidence += f"; uncertain by {margin:.0%}" if margin < 0.5 else "; too few steps to tell"
    else:
        kind, advice = f"{first}-bound", _advice(first, setting, largest_other)
    return {"kind": kind, "basis": "shares", "evidence": evidence, "advice": advice}


def in_words(verdict: Mapping[str, str]) -> tuple[str, str]:
    """A verdict as two lines to print: what is likely and why; what to try."""
    likely = "" if verdict["kind"] == "inconclusive" else "likely "
    return f"{likely}{verdict['kind']}: {verdict['evidence']}", verdict["advice"]


_WORDS = {
    "input": "waiting for data",
    "transfer": "transfer",
    "compute": "training",
    "overhead": "other",
}
_UNDECIDED = "More than one cause may count: change one setting at a time, and compare"


def _advice(cause: str, setting: Setting, largest_other: str | None) -> str:
    if cause == "input":
        return _input_advice(setting)
    if cause == "transfer":
        key = "data.pin_memory=true" if setting.keys else "pin_memory=True for the DataLoader"
        if not setting.on_gpu:
            key = "less work in the batch transfer hooks"
        return f"Try {key}"
    if cause == "compute":
        if not setting.on_gpu:
            return "Try " + ("compile=true, or a GPU" if setting.keys else "a GPU")
        if setting.keys:
            return "Try trainer.precision=bf16-mixed, channels_last=true and compile=true"
        return "Try precision='bf16-mixed' and torch.compile"
    if largest_other in (None, "loop"):
        key = "data.batch_size" if setting.keys else "batches"
        return f"The steps are short for Lightning's own loop: try larger {key}"
    if largest_other == "logging":
        key = "trainer.log_every_n_steps" if setting.keys else "log_every_n_steps"
        return f"Most of it is logging: raise {key}, or log fewer metrics"
    return f"Most of it is {largest_other}: call it less often, or make it cheaper"


def _input_advice(setting: Setting) -> str:
    if setting.pipeline == "per_sample":
        return f"Try data.pipeline=batched, or more data.num_workers (now {setting.num_workers})"
    if setting.keys:
        return f"Try more data.num_workers (now {setting.num_workers})"
    now = "" if setting.num_workers is None else f" (now {setting.num_workers})"
    return f"Try more num_workers for the DataLoader{now}, or a cheaper dataset"
