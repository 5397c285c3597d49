"""What a notebook's cell shows of a diagnosis."""

from collections.abc import Iterator

from hpml.diagnosis.wording import TITLES, Diagnosis
from hpml.report.drawing import bars
from hpml.report.page import cell
from hpml.report.pictures import Picture
from hpml.report.tables import Cell, Table
from hpml.trials.pace import STEPS_SHOWN


def html(diagnosis: Diagnosis) -> str:
    """The verdict, the table of `print`, and a picture of its times."""
    verdict, what = diagnosis.verdict, _what(diagnosis)
    rows = [[Cell(text) for text in row] for row in diagnosis.rows]
    values = {
        "sentences": [f"{verdict['kind']}: {verdict['evidence']}", verdict["advice"]],
        "table": Table(["", what, "saves at most"], rows),
        "note": f"± is a 95 % interval over {diagnosis.rounds} rounds",
    }
    return cell(values, _picture(diagnosis, what))


def _picture(diagnosis: Diagnosis, what: str) -> Iterator[Picture]:
    tried = {title: trial for trial, title in TITLES.items() if trial in diagnosis.paces}
    times = [diagnosis.epoch_s(trial) for trial in tried.values()]
    figure = bars([*tried], times, f"time of {what}")
    caption = f"Time of {what} with one cost taken out; error bars are 95 % intervals"
    yield Picture("diagnosis", caption, figure)


def _what(diagnosis: Diagnosis) -> str:
    return "an epoch" if diagnosis.epoch_steps else f"{STEPS_SHOWN:,} steps"
