"""A fit's loader taken apart at its end."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from helpers import jobs
from helpers.jobs import Images, trainer
from torch.utils.data import DataLoader

from hpml.callbacks import LoaderTimer, phase_timers
from hpml.records.run_record import RunRecord


def fit(folder: Path, callbacks: Any, data: Any = None) -> None:
    loader = DataLoader(Images(16), 8) if data is None else data
    trainer(folder, callbacks=callbacks).fit(jobs.Convolutional(), loader)


def test_a_fit_records_its_loader_at_the_end(tmp_path: Path, capsys: Any) -> None:
    """When all else is written: the run's own times are without it, and the record can be read."""
    timers = phase_timers(record=tmp_path / "record", loader=True)
    fit(tmp_path, timers)
    record = RunRecord.read(tmp_path / "record")
    assert record.status == "completed"
    assert record.loader is not None
    assert {"Images.__getitem__", "collating"} <= {each["name"] for each in record.loader["stages"]}
    assert record.loader["batch_samples"] == 8
    printed = capsys.readouterr().out
    assert printed.index("record: ") < printed.index("the loader taken apart")
    plain = phase_timers(record=tmp_path / "plain")
    fit(tmp_path, plain)
    assert json.loads((tmp_path / "plain" / "record.json").read_text())["loader"] is None


class Once(Images):
    """Can be read while a fit goes on."""

    is_over = False

    def __getitem__(self, index: int) -> Any:
        if self.is_over:
            raise ValueError("closed")
        return super().__getitem__(index)


def test_what_cannot_be_taken_apart_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told in one line; several loaders are told apart."""
    samples = Once(16)
    timer = LoaderTimer(say=lambda line: None)
    closing = jobs.L.pytorch.callbacks.LambdaCallback(
        on_train_end=lambda *_: setattr(samples, "is_over", True)
    )
    with caplog.at_level(logging.WARNING, "hpml"):
        fit(tmp_path, [closing, timer], DataLoader(samples, 8))
    assert "the loader could not be taken apart (ValueError: closed)" in caplog.text
    assert timer.stages is None
