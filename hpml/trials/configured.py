"""The subject of a configuration's own job."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from hpml.config.auto import on_device
from hpml.config.checks import unused_keys
from hpml.data.build import build_data
from hpml.system.signals import signals_held
from hpml.training.build import build_module, build_trainer, quiet_lightning

if TYPE_CHECKING:
    from hpml.trials.subject import Subject

log = logging.getLogger("hpml")


def subject_of(cfg: DictConfig) -> Subject:
    """What `hpml.train` would train, ready for trials; imports torch and loads the data.

    Raises UserError for wrong input, and whatever classes of the user's own raise.
    """
    with signals_held():
        import lightning as L

        from hpml.trials.subject import Subject

    quiet_lightning()
    cfg, _ = on_device(cfg)
    for sentence in unused_keys(cfg):
        log.warning(sentence)
    L.seed_everything(cfg.seed, workers=True, verbose=False)
    data = build_data(cfg)
    module = build_module(cfg, data)
    return Subject(build_trainer(cfg, []), module, data)
