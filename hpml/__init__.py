"""Finds out where training time goes, and which setting makes it fastest."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import lightning as L

    from hpml.diagnosis.wording import Diagnosis

__version__ = "0.1.0"


def _begin_warnings(record: logging.LogRecord) -> bool:
    """Puts `warning: ` before one, whoever prints it: our programs, or Python by default."""
    if record.levelno == logging.WARNING:
        record.msg = f"warning: {record.msg}"
    return True


logging.getLogger("hpml").addFilter(_begin_warnings)


def diagnose(
    trainer: L.Trainer, module: L.LightningModule, data: Any = None, budget_s: float = 40.0
) -> Diagnosis:
    """Proves where the time of a training goes, by short fits with one cost taken out of each.

    `print(hpml.diagnose(trainer, module, datamodule))` shows how long an epoch of training takes
    as it is, with loading free, with computing free and so on, what limits it, what to change and
    what that would gain at most. All fits are of copies: module, optimizer, Trainer, callbacks and
    random state stay as they are. There is no validation and no checkpoint of Lightning's, and
    loggers write to a folder that is deleted; what a callback writes elsewhere, it writes. It warns
    where other programs use the machine, and says what they took from the fits.

    Args:
        trainer: of one device; fitted or not.
        module: any LightningModule.
        data: a LightningDataModule, a loader, several of them; None where the module has its own.
        budget_s: seconds that it may take, about; slow steps take longer.

    Raises:
        UserError: several devices, no data, no batches, or nothing to train; arguments in another
            order, or of other kinds.
    """
    from hpml.diagnosis.experiment import diagnose

    return diagnose(trainer, module, data, budget_s, print)
