"""The submissions' figures are those of their source, and what is said of them follows."""

import json
import re
from importlib.resources import files
from statistics import fmean
from typing import Any

import pytest

from hpml.lab.report import published
from hpml.lab.report.published import OPTIMIZERS, ROWS, against_published, published_table


@pytest.fixture
def data() -> Any:
    return json.loads(files("hpml.lab.report").joinpath("published.json").read_text("utf-8"))


def rows(own: dict[str, str]) -> dict[str, list[str]]:
    table = published_table(own)
    texts = [[cell.text for cell in row] for row in table.rows]
    assert {len(row) for row in texts} == {len(table.headings)}
    return dict(zip(ROWS, texts, strict=True))


def test_the_own_figures_stand_beside_theirs() -> None:
    """What is missing on any side is a dash; of the first submission only times are known."""
    found = rows({"best_workers": "2", "adam_loss": "1.23"})
    assert found["best_workers"][:4] == ["best number of workers", "2", "0", "12"]
    assert found["adam_loss"][1:4] == ["1.23", "–", "1.9198"]
    assert found["sgd_epoch_s"][1:4] == ["–", "25.48", "7.30"]
    assert found["epoch_cpu_s"][1:4] == ["–", "320.0", "426.3"]
    assert found["adadelta_accuracy"][1:4] == ["–", "–", "82.64%"]
    assert found["no_norm_loss"][3] == "1.0310"
    assert found["gradients_sgd"][3] == "8,920,240"
    assert found["gradients_adam"][3] == "8,896,249"
    learned = [f"{name}{end}" for name in OPTIMIZERS for end in ("_loss", "_accuracy")]
    assert {found[key][2] for key in learned} == {"–"}
    with pytest.raises(AssertionError, match=r"no row of \{'adamw_loss'\}"):
        published_table({"adamw_loss": "1"})


def test_sentences_name_figures_of_the_data_alone(data: Any) -> None:
    """Each number of them stands in the data, or is computed from it here."""
    a, b = data["A"], data["B"]
    last = {key: figures[-1] for key, figures in b["rows"].items() if key.endswith("_loss")}
    losses = [b["c1"]["loss"][-1], b["c2"]["loss"][-1], last["sgd_loss"]]
    computed = {
        round(fmean(a["rows"]["sgd_epoch_s"][1:]), 2),
        round(fmean(a["rows"]["no_norm_epoch_s"][1:]), 2),
        round(fmean(b["c2"]["epoch_s"]), 2),
        round(last["nesterov_loss"] - losses[2], 4),
        round(max(losses) - min(losses), 4),
        round(last["no_norm_loss"] - max(losses), 4),
        b["rows"]["gradients_sgd"] - b["rows"]["gradients_adam"],
    }
    # of what circulates, and of the notes to the submissions
    computed |= {16.0, 20.0, 11_180_968.0, 11_173_962.0, 4.0, 30.0, 12.0, 0.1}
    given = {float(number) for number in re.findall(r"\d+\.?\d*", json.dumps([a, b]))}
    assert data["wrong"].keys() <= ROWS.keys()
    for sentence in data["wrong"].values():
        figures = re.sub(r"\b[CQ]\d", "", sentence)
        for text in re.findall(r"\d[\d,]*(?:\.\d+)?", figures):
            assert float(text.replace(",", "").rstrip(",")) in given | computed, (text, sentence)


def test_comparisons_in_the_sentences_hold(data: Any) -> None:
    """Which is longest, shortest or nearest, by the figures; machines are named, or said not to."""
    totals = data["A"]["c3_total_s_by_workers"]
    assert min(totals, key=lambda workers: totals[workers]) == "0"
    loading = data["B"]["c3_data_loading_s_by_workers"]
    assert min(loading, key=lambda workers: loading[workers]) == "12"
    first, *later = data["A"]["rows"]["epoch_cpu_s"]
    assert first < min(later)
    assert data["B"]["c4"]["1"]["data_s"] < data["B"]["c4"]["12"]["data_s"]
    caption = published.published_caption()
    assert "Quadro RTX 8000" in caption
    assert "B: one GPU, which it does not name." in caption


@pytest.mark.parametrize(
    ("by_seed", "ends"),
    [
        ({"0": 8_900_000, "1": 9_000_000}, [" by 4.5%: chance, not the optimizer."]),
        ({"0": 8_900_000, "1": 8_900_001}, [" by 0.0%: give more summary.seeds."]),
        *(({"0": 8_900_000}, []), ({"0": None, "1": None}, []), (None, [])),
    ],
)
def test_their_gradients_differ_by_chance(by_seed: dict[str, int] | None, ends: list[str]) -> None:
    """Its two counts of zeros, 2,244,122 and 2,268,113, beside what seeds alone do."""
    facts = dict.fromkeys(("trainable_parameters", "gradients"), 11_164_362)
    facts |= {"nonzero_by_seed": by_seed}
    start = "Submission B has 8,920,240 that are not zero with SGD, 8,896,249 with Adam: its zeros "
    sentences = [f"{start}differ by 1.1%, those of these seeds{end}" for end in ends]
    assert against_published(facts) == sentences
    assert against_published(facts | {"trainable_parameters": 11_173_962}) == []
