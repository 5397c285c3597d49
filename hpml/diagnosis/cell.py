"""What a notebook's cell shows of a diagnosis."""

from hpml.diagnosis.page import (
    draw_savings,
    loader_sentences,
    loader_table,
    notes,
    rank_table,
    trial_table,
    verdict_lines,
)
from hpml.diagnosis.wording import Diagnosis
from hpml.report.page import cell


def html(diagnosis: Diagnosis) -> str:
    """What the page shows: the verdict and what qualifies it, the table, a picture."""
    content = diagnosis.as_dict()
    values = {
        "sentences": [*verdict_lines(content), *notes(content), *loader_sentences(content)],
        "tables": [trial_table(content), rank_table(content), loader_table(content)],
        "note": diagnosis.interval,
    }
    return cell(values, [draw_savings(content)])
