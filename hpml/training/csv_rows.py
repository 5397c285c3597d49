"""The rows that earlier processes of a run have left in Lightning's `metrics.csv`."""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.utilities import rank_zero_only


class _AddingWriter(ExperimentWriter):
    """Lightning's writer, which adds to the rows that it finds."""

    def _check_log_dir_exists(self) -> None:
        """In Lightning's it deletes them, with a warning."""


@rank_zero_only
def keep_rows(loggers: Iterable[Logger], before_step: int) -> None:
    """Has each CSVLogger go on behind the rows of earlier steps; later ones will come again.

    Raises OSError.
    """
    for logger in loggers:
        if isinstance(logger, CSVLogger):
            file = Path(logger.log_dir, ExperimentWriter.NAME_METRICS_FILE)
            if file.is_file():
                logger._experiment = _writer_behind(file, before_step)


def _writer_behind(file: Path, before_step: int) -> ExperimentWriter:
    """Writes the rows that stay to a file beside, which then takes the place of the first."""
    writer = _AddingWriter(str(file.parent))
    writer.metrics = [row for row in _whole_rows(file) if int(row["step"]) < before_step]
    if not writer.metrics:
        file.unlink()
        return writer
    part = file.with_name(f".{file.name}.part")
    part.unlink(missing_ok=True)
    writer.metrics_file_path = str(part)
    writer.save()
    writer.metrics_file_path = str(part.replace(file))
    return writer


def _whole_rows(file: Path) -> list[dict[str, Any]]:
    """Without one that was being written when its process was killed."""
    with file.open(encoding="utf-8", newline="") as text:
        rows = csv.DictReader(line for line in text if line.endswith("\n"))
        return [
            row
            for row in rows
            if None not in row and None not in row.values() and row.get("step", "").isdecimal()
        ]
