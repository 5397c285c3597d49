"""The type and range of each key of the configuration."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from operator import ge, gt, le, lt
from typing import Any

from omegaconf import ListConfig

from hpml.config.conf import spelled

KINDS = {int: "an integer", float: "a number", bool: "true or false", str: "a text"}
BOUNDS = {
    **{"at_least": ("of at least", ge), "above": ("above", gt)},
    **{"at_most": ("at most", le), "below": ("below", lt)},
}


@dataclass(frozen=True)
class Rule:
    """What the value of a key may be."""

    kind: type  # int, float, bool or str, unless there are choices
    length: int | None = None  # of a list, each item of which is so
    at_least: float | None = None
    above: float | None = None
    below: float | None = None
    at_most: float | None = None
    part: bool = False  # above 1 it is a count, and whole
    choices: tuple[str | bool, ...] = ()
    or_auto: bool = False
    nullable: bool = False
    note: str = ""  # what else there is to know

    def admits(self, value: Any) -> bool:
        if value is None:
            return self.nullable
        if self.or_auto and value == "auto":
            return True
        if self.length is not None:
            each = replace(self, length=None, nullable=False)
            return (
                isinstance(value, ListConfig | list | tuple)
                and len(value) == self.length
                and all(each.admits(item) for item in value)
            )
        if self.choices:
            return any(value == choice and type(value) is type(choice) for choice in self.choices)
        if self.kind is str:
            return isinstance(value, str | int | float)  # a folder may be called 2026
        if type(value) not in ((float, int) if self.kind is float else (self.kind,)):
            return False
        return (
            abs(value) <= sys.float_info.max
            and not (self.part and value > 1 and value != int(value))
            and all(holds(value, bound) for _, holds, bound in self._bounds)
        )

    @property
    def _bounds(self) -> list[tuple[str, Callable[[Any, Any], bool], int | float]]:
        every = ((*BOUNDS[name], getattr(self, name)) for name in BOUNDS)
        return [bound for bound in every if bound[2] is not None]

    def __str__(self) -> str:
        """What is allowed, in words: `an integer of at least 1`."""
        if self.choices:
            words = f"one of {', '.join(map(spelled, self.choices))}"
        else:
            bounds = [
                f"{name} {n if isinstance(n, int) else f'{n:g}'}" for name, _, n in self._bounds
            ]
            words = f"{KINDS[self.kind]} {' and '.join(bounds)}".strip()
            words += ", above 1 a whole one" if self.part else ""
        if self.length is not None:
            words = f"a list of {self.length}, each {words}"
        words += " or auto" if self.or_auto else ""
        words += " or null" if self.nullable else ""
        return f"{words}; {self.note}" if self.note else words


COUNT = Rule(int, at_least=1)
COUNT_OR_NULL = Rule(int, at_least=1, nullable=True)
FLAG = Rule(bool)
FLAG_OR_NULL = Rule(bool, nullable=True)
TEXT = Rule(str)
FLOAT32_MAX = 3e38
PROFILERS = ("simple", "advanced", "pytorch")
PRECISIONS = (
    *("32-true", "16-mixed", "bf16-mixed", "16-true", "bf16-true", "64-true"),
    *("transformer-engine", "transformer-engine-float16", "16", "32", "64", "bf16", "auto"),
)
OF_PIXELS = "pixels are between 0 and 1: divide what is of 0 to 255 by 255"
COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
BATCHES = Rule(float, at_least=0, part=True, nullable=True)  # a part of them, or how many

RULES: dict[str, Rule] = {
    "seed": Rule(int, at_least=0, below=2**32),
    "device": Rule(str, choices=("auto", "cpu", "gpu", "mps")),
    "compile": Rule(str, choices=(True, False, "auto", *COMPILE_MODES)),
    "channels_last": FLAG,
    "label_smoothing": Rule(float, at_least=0, below=1),
    "monitor": TEXT,
    "monitor_mode": Rule(str, choices=("auto", "min", "max")),
    "evaluate": Rule(str, nullable=True),
    "tta": FLAG,
    "output_dir": TEXT,
    "resume": Rule(str, nullable=True),
    "cpu.threads": Rule(int, at_least=1, or_auto=True),
    "cpu.wait": Rule(str, choices=("auto", "brief", "passive", "spin")),
    "checkpoint.every_s": Rule(float, above=0, nullable=True),
    "sweep.name": TEXT,
    "sweep.order": Rule(str, choices=("auto", "interleaved", "given")),
    "sweep.timeout_s": Rule(float, above=0, nullable=True),
    "sweep.fail_fast": FLAG,
    "sweep.on_code_change": Rule(str, choices=("rerun", "keep", "error")),
    "sweep.on_disturbance": Rule(str, choices=("mark", "wait", "rerun")),
    "sweep.max_wait_s": Rule(float, above=0),
    "sweep.max_reruns": COUNT,
    "sweep.parallel": Rule(str, choices=("gpus",), nullable=True),
    "sweep.skip_missing_devices": FLAG,
    "sweep.dry_run": FLAG,
    "diagnose.budget_s": Rule(float, above=0),
    "tune.budget_s": Rule(float, above=0),
    "lab.name": TEXT,
    "lab.seeds": Rule(int, at_least=1, at_most=1000),
    "lab.budget_min": Rule(float, above=0, nullable=True),
    "lab.published": FLAG,
    "lab.again": FLAG,
    "lab.dry_run": FLAG,
    "workers.rounds": COUNT_OR_NULL,
    "workers.seconds": Rule(float, above=0),
    "workers.budget_s": Rule(float, above=0),
    "workers.step": COUNT,
    "workers.most": Rule(int, at_least=0, nullable=True),
    "timing.sync": FLAG,
    "timing.trace": FLAG,
    "timing.every_n_steps": COUNT_OR_NULL,
    "data.seed": Rule(int, at_least=0, below=2**32),
    "data.root": TEXT,
    "data.batch_size": COUNT,
    "data.num_workers": Rule(int, at_least=0),
    "data.workers": Rule(str, choices=("processes", "threads")),
    "data.pipeline": Rule(str, choices=("per_sample", "batched", "device", "auto")),
    "data.eval_batch_size": COUNT_OR_NULL,
    "data.augment": FLAG,
    "data.flip": Rule(str, choices=("random", "alternating")),
    "data.val_split": Rule(float, at_least=0, below=1),
    "data.train_samples": COUNT_OR_NULL,
    "data.test_samples": COUNT_OR_NULL,
    "data.drop_last": FLAG,
    "data.persistent_workers": FLAG_OR_NULL,
    "data.prefetch_factor": COUNT_OR_NULL,
    "data.timeout_s": Rule(float, above=0, nullable=True),
    "data.pin_memory": FLAG_OR_NULL,
    "data.download": FLAG,
    "data.image_size": Rule(int, at_least=8, nullable=True),
    "data.in_memory": FLAG,
    "data.verify": FLAG,
    "data.exif": Rule(str, choices=("apply", "ignore")),
    "data.decoder": Rule(str, choices=("auto", "pillow", "turbo")),
    "data.decode_size": Rule(int, at_least=8, nullable=True),
    "data.crop": Rule(str, choices=("padded", "resized")),
    "data.background": Rule(int, at_least=0, below=256, length=3, nullable=True),
    "data.mean": Rule(float, at_least=0, at_most=1, length=3, note=OF_PIXELS),
    "data.std": Rule(float, above=0, at_most=1, length=3, note=OF_PIXELS),
    "data.encoded": Rule(str, choices=("none", "jpeg")),
    "model.num_classes": Rule(int, at_least=2, nullable=True),
    "model.norm": FLAG,
    "model.width": COUNT,
    "model.init": Rule(str, choices=("torch", "torchvision")),
    "optimizer.lr": Rule(float, above=0, below=FLOAT32_MAX),
    "optimizer.momentum": Rule(float, at_least=0, below=1),
    "optimizer.weight_decay": Rule(float, at_least=0, below=FLOAT32_MAX),
    "optimizer.nesterov": FLAG,
    "optimizer.fused": FLAG_OR_NULL,
    "optimizer.betas": Rule(float, at_least=0, below=1, length=2),
    "scheduler.interval": Rule(str, choices=("epoch", "step")),
    "scheduler.T_max": COUNT,
    "scheduler.gamma": Rule(float, above=0),
    "scheduler.max_lr": Rule(float, above=0, below=FLOAT32_MAX),
    "scheduler.total_steps": COUNT_OR_NULL,
    "scheduler.pct_start": Rule(float, above=0, below=1),
    "trainer.max_epochs": Rule(int, at_least=-1, nullable=True),
    "trainer.min_epochs": COUNT_OR_NULL,
    "trainer.max_steps": Rule(int, at_least=-1),
    "trainer.min_steps": COUNT_OR_NULL,
    "trainer.num_nodes": COUNT,
    "trainer.limit_train_batches": BATCHES,
    "trainer.limit_val_batches": BATCHES,
    "trainer.limit_test_batches": BATCHES,
    "trainer.overfit_batches": Rule(float, at_least=0, part=True),
    "trainer.accumulate_grad_batches": COUNT,
    "trainer.gradient_clip_val": Rule(float, at_least=0, nullable=True),
    "trainer.gradient_clip_algorithm": Rule(str, choices=("norm", "value"), nullable=True),
    "trainer.check_val_every_n_epoch": COUNT_OR_NULL,
    "trainer.num_sanity_val_steps": Rule(int, at_least=-1, nullable=True),
    "trainer.log_every_n_steps": COUNT_OR_NULL,
    "trainer.enable_checkpointing": FLAG_OR_NULL,
    "trainer.enable_progress_bar": FLAG_OR_NULL,
    "trainer.enable_model_summary": FLAG_OR_NULL,
    "trainer.deterministic": Rule(str, choices=(True, False, "warn"), nullable=True),
    "trainer.reload_dataloaders_every_n_epochs": Rule(int, at_least=0),
    "trainer.benchmark": FLAG_OR_NULL,
    "trainer.inference_mode": FLAG,
    "trainer.use_distributed_sampler": FLAG,
    "trainer.detect_anomaly": FLAG,
    "trainer.barebones": FLAG,
    "trainer.sync_batchnorm": FLAG,
    "trainer.profiler": Rule(str, choices=PROFILERS, nullable=True),
    "trainer.model_registry": Rule(str, nullable=True),
    "summary.seeds": COUNT,
    "summary.first_steps": Rule(int, at_least=0),
    "summary.batch_size": Rule(int, at_least=4),  # its half is run too, and has to suit BatchNorm
}
