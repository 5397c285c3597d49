"""Finds out where training time goes, and which setting makes it fastest."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import lightning as L

    from hpml.diagnosis.wording import Diagnosis
    from hpml.tuning.answer import Tuning
    from hpml.worker_counts.answer import WorkersAnswer

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
        trainer: of one device, or of several that train by DDP, which all call this; fitted or not.
        module: any LightningModule.
        data: a LightningDataModule, a loader, several of them; None where the module has its own.
        budget_s: seconds that it may take, about; slow steps take longer.

    Raises:
        UserError: several devices by another strategy, no data, no batches, or nothing to train;
            arguments in another order, or of other kinds.
    """
    from hpml.diagnosis.experiment import diagnose

    return diagnose(trainer, module, data, budget_s, print)


def tune(
    trainer: L.Trainer,
    module: L.LightningModule,
    data: Any = None,
    budget_s: float = 180.0,
    also: Sequence[str] = (),
    resume: str | Path | None = None,
    val_dataloaders: Any = None,
) -> Tuning:
    """Finds what makes a training faster: which changes, and by how much, as measured.

    `print(hpml.tune(trainer, module, datamodule))` shows what was tried, what each change brings
    alone and beside the others, whether the first losses stay the same, and the lines to write. A
    change that makes the job compute something else is left out unless it is named. Fits are short
    and of copies, as in `diagnose`; Ctrl-C ends the search with the answer so far.

    Args:
        trainer: of one device, or of several that train by DDP, which all call this; fitted or not.
        module: any LightningModule.
        data: a LightningDataModule, a loader, several of them; None where the module has its own.
        budget_s: seconds that it may take, about; slow steps take longer.
        also: names of changes to try although they alter the training.
        resume: what `write(path)` of an earlier answer, or a command, has kept of this job on this
            machine: its rounds count.
        val_dataloaders: as `fit` would get them beside loaders for training; else the data module's
            or the module's.

    Raises:
        UserError: as `diagnose`; a budget that is too short to compare changes; a file that is of
            another job or machine.
    """
    from hpml.tuning.tuner import tune

    return tune(trainer, module, data, budget_s, also, print, val_dataloaders, resume)


def workers(
    trainer: L.Trainer,
    module: L.LightningModule,
    data: Any = None,
    budget_s: float = 60.0,
    most: int | None = None,
) -> WorkersAnswer:
    """Finds the number of processes that load the data, by short fits with some of each number.

    Prints how long an epoch takes with each, by loading alone and by the training end to end; the
    answer says which is enough, and what to write. Fits are of copies, as in `diagnose`; Ctrl-C
    ends the search with the answer so far.

    Args:
        trainer: of one device; fitted or not.
        module: any LightningModule.
        data: a LightningDataModule or a DataLoader; None where the module has its own.
        budget_s: seconds that it may take, about; slow steps take longer.
        most: workers to try at most; None goes on until two numbers in a row bring nothing.

    Raises:
        UserError: as `diagnose`; data of several loaders, or of none of torch's.
    """
    from hpml.worker_counts.measure import workers

    return workers(trainer, module, data, budget_s, most, print)
