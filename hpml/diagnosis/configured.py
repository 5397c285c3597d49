"""The subject of a configuration's own job."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from hpml.build import (
    build_data,
    build_module,
    build_trainer,
    quiet_lightning,
)
from hpml.config import without_effect
from hpml.device import on_device
from hpml.interrupt import signals_held

if TYPE_CHECKING:
    from hpml.diagnosis.subject import Subject

log = logging.getLogger("hpml")


def subject_of(cfg: DictConfig) -> Subject:
    """What `hpml.train` would train, ready for trials; imports torch and loads the data.

    Raises UserError for wrong input, and whatever classes of the user's own raise.
    """
    with signals_held():
        import lightning as L

        from hpml.diagnosis.subject import Subject

    quiet_lightning()
    cfg, _ = on_device(cfg)
    for sentence in without_effect(cfg):
        log.warning(f"warning: {sentence}")
    L.seed_everything(cfg.seed, workers=True, verbose=False)
    data = build_data(cfg)
    module = build_module(cfg, data)
    return Subject(build_trainer(cfg, []), module, data)
