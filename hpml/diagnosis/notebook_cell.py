"""What a notebook's cell shows of a diagnosis."""

from collections.abc import Mapping
from typing import Any

from hpml.diagnosis.page import (
    draw_savings,
    loader_sentences,
    loader_table,
    notes,
    rank_table,
    trial_table,
    verdict_lines,
)
from hpml.report.page import cell


def html(content: Mapping[str, Any], note: str) -> str:
    """What the page shows of one: the verdict and what qualifies it, the table, a picture."""
    values = {
        "sentences": [*verdict_lines(content), *notes(content), *loader_sentences(content)],
        "tables": [trial_table(content), rank_table(content), loader_table(content)],
        "note": note,
    }
    return cell(values, [draw_savings(content)])
