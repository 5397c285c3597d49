"""What `auto` stands for in a configuration, on the device of the run."""

from __future__ import annotations

import importlib
import logging
from typing import Any

from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf, open_dict

from hpml.errors import UserError

log = logging.getLogger("hpml")

AUTO = "auto"


def on_device(cfg: DictConfig) -> tuple[DictConfig, dict[str, Any]]:
    """`cfg` with a value for each `auto` that depends on the device, and these values by key.

    A data module of the user's own gets none of the keys that are about ours. Raises UserError
    where `device` asks for an accelerator that is not there. Imports torch.
    """
    kind, cfg = device_type(cfg), cfg.copy()
    if cfg.data.get("pipeline") == AUTO and not str(cfg.data._target_).startswith("hpml."):
        with open_dict(cfg.data):
            del cfg.data["pipeline"]
            cfg.data.pop("eval_batch_size", None)
    offers = {"compile": _mode, "trainer.precision": _precision, "data.pipeline": _pipeline}
    chosen = {
        key: offer(cfg, kind) for key, offer in offers.items() if OmegaConf.select(cfg, key) == AUTO
    }
    for key, value in chosen.items():
        OmegaConf.update(cfg, key, value)
    return cfg, chosen


def _mode(cfg: DictConfig, kind: str) -> str | bool:
    """Of torch.compile, where it finds what it needs to compile.

    CUDA graphs spare the host the launching of each kernel, and are for networks whose gradients
    and outputs nobody keeps from one step to the next.
    """
    if kind not in ("cpu", "cuda"):
        return False
    if missing := why_not_compiled(kind):
        log.warning(f"compile=auto: {missing}")
        return False
    known = str(cfg.model.get("_target_")).startswith(("hpml.", "torchvision."))
    graphs = kind == "cuda" and known and cfg.trainer.accumulate_grad_batches == 1
    return "reduce-overhead" if graphs else "default"


def why_not_compiled(kind: str) -> str | None:
    """What `torch.compile` lacks here, for a device of a kind; None where it has all it needs."""
    if kind == "cuda" and not importlib.import_module("torch.utils._triton").has_triton():
        return "Triton, which compiles for GPUs, is not here"
    if not _has_cpp_compiler():
        return "no C++ compiler is here: install g++, or give CXX"
    return None


def _precision(cfg: DictConfig, kind: str) -> str | None:
    return "bf16-mixed" if has_bfloat16(kind) else None


def has_bfloat16(kind: str) -> bool:
    """Whether a device's hardware has it: a CPU that emulates it is many times slower."""
    import torch

    has = {
        "cuda": lambda: torch.cuda.is_bf16_supported(including_emulation=False),
        "cpu": lambda: torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported(),
    }
    return kind in has and bool(has[kind]())


def _pipeline(cfg: DictConfig, kind: str) -> str:
    if kind != "cuda":
        return "batched"
    try:
        holds_pixels = getattr(get_class(cfg.data._target_), "holds_pixels", False)
    except Exception:  # to make it says what is wrong
        holds_pixels = False
    return "device" if holds_pixels or cfg.data.get("in_memory") else "batched"


def device_type(cfg: DictConfig) -> str:
    """What torch calls the device of `device`: cpu, cuda or mps. Imports torch.

    Raises UserError where it asks for one that is not there.
    """
    import torch

    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if cfg.device == "gpu" and not cuda:
        raise UserError("device=gpu: PyTorch sees no GPU here; give device=cpu or device=auto")
    if cfg.device == "mps" and not mps:
        raise UserError("device=mps: PyTorch sees no Apple GPU here; give device=cpu")
    if cfg.device == AUTO:
        return "cuda" if cuda else "mps" if mps else "cpu"
    return {"gpu": "cuda"}.get(cfg.device, str(cfg.device))


def _has_cpp_compiler() -> bool:
    builder = importlib.import_module("torch._inductor.cpp_builder")
    try:
        builder.get_cpp_compiler()
    except Exception:  # an InvalidCxxCompiler, whose place differs between versions
        return False
    return True
