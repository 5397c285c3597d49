"""What TensorBoard and `metrics.csv` show of a run that was cut short and resumed."""

import csv
from pathlib import Path

import pytest
from helpers.configurations import stress
from helpers.cut_short import OFTEN, SELDOM, STEPS, curves, killed_at, run, stop_at
from lightning.pytorch.loggers import CSVLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from hpml.checkpointing.resume_choice import resume_checkpoints
from hpml.records.run_record import RunRecord
from hpml.report.collect import Run
from hpml.training.csv_rows import keep_rows


def rows(folder: Path) -> list[tuple[int, dict[str, str]]]:
    """Of `metrics.csv` each row's step, and what it holds besides times."""
    with (folder / "csv" / "metrics.csv").open(newline="") as file:
        every = list(csv.DictReader(file))
    apart = ("machine/", "mean/", "time/", "throughput/")
    return [
        (
            int(row["step"]),
            {name: value for name, value in row.items() if value and not name.startswith(apart)},
        )
        for row in every
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing stops."""
    return run(tmp_path_factory.mktemp("whole") / "run", OFTEN)


def test_a_whole_run_logs_each_step_once(whole: Path) -> None:
    """But for Lightning's `epoch`, which comes with each line of an epoch."""
    shown = curves(whole)
    assert [step for step, _ in shown["own/batch"]] == [*range(2 * STEPS)]
    assert [step for step, _ in shown["own/late"]] == [*range(STEPS, 2 * STEPS)]
    assert [step for step, _ in shown["time/epoch_s"]] == [STEPS - 1, 2 * STEPS - 1]
    for tag, points in shown.items():
        assert tag == "epoch" or len({step for step, _ in points}) == len(points)


def test_hparams_has_the_figures_of_the_report(whole: Path) -> None:
    """The means of times, by names that say so; no figure of the last epoch's time."""
    run = Run(whole, RunRecord.read(whole))
    assert len({epoch.time["epoch_s"] for epoch in run.epochs}) == 2
    events = EventAccumulator(str(whole)).Reload()
    for name in ("epoch_s", "steady_epoch_s", "data_s", "steady_data_s", "samples_per_s"):
        (shown,) = events.Scalars(f"mean/{name}")
        assert shown.value == pytest.approx(run.figure(name))
    content = events.SummaryMetadata("_hparams_/experiment").plugin_data.content
    infos = HParamsPluginData.FromString(content).experiment.metric_infos
    names = [info.name.tag for info in infos]
    assert names[:4] == ["val/accuracy", "mean/epoch_s", "mean/steady_epoch_s", "mean/data_s"]
    assert {name.partition("/")[0] for name in names} == {"val", "train", "lr", "mean", "own"}


@pytest.mark.parametrize("batch", [STEPS + 2, stress(3), stress(2 * STEPS)])
def test_one_that_failed_resumes_its_curves(batch: int, whole: Path, tmp_path: Path) -> None:
    """They are those of the whole run, and so are the rows: none twice, none lost."""
    folder = run(tmp_path / "run", OFTEN, at_batch=stop_at(batch))
    assert curves(run(folder, OFTEN)) == curves(whole)
    assert rows(folder) == rows(whole)


@pytest.mark.parametrize("earlier", [0, 1])
def test_one_that_was_killed_resumes_its_curves(earlier: int, whole: Path, tmp_path: Path) -> None:
    """Also where the last checkpoint is lost, and rows after the one before are there."""
    killed = killed_at(STEPS + 4, tmp_path, OFTEN)
    for lost in resume_checkpoints(killed)[:earlier]:
        lost.unlink()
    assert curves(run(killed, OFTEN)) == curves(whole)
    assert rows(killed) == rows(whole)


def test_what_was_logged_before_a_checkpoint_outlives_a_kill(tmp_path: Path) -> None:
    """An epoch's times come last of it, and nothing of the next one sends them to the disk."""
    killed = killed_at(STEPS + 2, tmp_path, OFTEN, "trainer.log_every_n_steps=50")
    assert [step for step, _ in curves(killed)["time/epoch_s"]] == [STEPS - 1]
    with (killed / "csv" / "metrics.csv").open(newline="") as file:
        assert [row["step"] for row in csv.DictReader(file) if row["time/epoch_s"]] == ["5"]


def test_one_that_has_no_checkpoint_begins_its_curves_anew(whole: Path, tmp_path: Path) -> None:
    """In its directory; nothing of the first beginning is shown."""
    folder = run(tmp_path / "run", SELDOM, at_batch=stop_at(4))
    assert curves(run(folder, SELDOM)) == curves(whole)
    assert rows(folder) == rows(whole)


def test_rows_of_a_file_that_was_being_written(tmp_path: Path) -> None:
    """The last row, cut short in its step or behind it, is not taken for one."""
    file = tmp_path / "csv" / "metrics.csv"
    file.parent.mkdir()
    for torn in ("3,0.", "3,0.5,1", "3"):
        file.write_text(f"epoch,loss,step\n1,0.5,10\n2,,20\n{torn}")
        logger = CSVLogger(tmp_path, name=None, version="csv")
        keep_rows([logger], before_step=20)
        logger.log_metrics({"loss": 0.25, "accuracy": 1.0}, step=20)
        logger.save()
        held = list(csv.reader(file.read_text().splitlines()))
        assert held[0] == ["accuracy", "epoch", "loss", "step"]
        assert held[1:] == [["", "1", "0.5", "10"], ["1.0", "", "0.25", "20"]]
        assert [path.name for path in file.parent.iterdir()] == ["metrics.csv"]


def test_a_fresh_run_empties_the_rows(tmp_path: Path) -> None:
    """`resume=never` in the directory of another run: Lightning's way."""
    folder = run(tmp_path / "run", SELDOM, at_batch=stop_at(3))
    assert rows(folder)[0][0] == 0
    run(folder, SELDOM, "resume=never", "seed=1", at_batch=stop_at(2))
    assert [step for step, _ in rows(folder)] == [0]
