"""What a notebook's cell shows of a diagnosis."""

from hpml.diagnosis.page import draw_savings
from hpml.diagnosis.wording import Diagnosis
from hpml.report.page import cell
from hpml.report.tables import Cell, Table
from hpml.trials.pace import STEPS_SHOWN


def html(diagnosis: Diagnosis) -> str:
    """The verdict, the table of `print`, and a picture of what each intervention saves."""
    verdict = diagnosis.verdict
    what = "an epoch" if diagnosis.epoch_steps else f"{STEPS_SHOWN:,} steps"
    rows = [[Cell(text) for text in row] for row in diagnosis.rows]
    values = {
        "sentences": [f"{verdict['kind']}: {verdict['evidence']}", verdict["advice"]],
        "table": Table(["", what, "saves at most"], rows),
        "note": f"± is a 95 % interval over {diagnosis.rounds} rounds",
    }
    return cell(values, [draw_savings(diagnosis.as_dict())])
