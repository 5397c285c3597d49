"""The page of a diagnosis, and the fragment of it for a page of somebody else's."""

from pathlib import Path
from typing import Any

import pytest
from helpers.pages import EVIL, Page

from hpml.diagnosis.notebook_cell import html
from hpml.diagnosis.page import write_page
from hpml.diagnosis.wording import Diagnosis
from hpml.loading.stages import LoaderStages, Stage
from hpml.statistics import Estimate
from hpml.system.interference import Interference
from hpml.trials.pace import Pace

STEP_S = {
    **{"as_it_is": 0.1, "as_it_is_again": 0.1, "one_thread": 0.2, "loading_free": 0.03},
    **{"transfer_free": 0.101, "compute_free": 0.08, "loader_alone": 0.07},
}


def diagnosis(rounds: int = 3, lost_s: float = 0.0, **changes: float) -> dict[str, Any]:
    """What a diagnosis keeps whose rounds differ by a hundredth."""
    return made(rounds, lost_s, **changes).as_dict()


def made(rounds: int = 3, lost_s: float = 0.0, **changes: float) -> Diagnosis:
    paces = {
        trial: [Pace(step_s * (1 + number / 100), 0.0, 0.0) for number in range(rounds)]
        for trial, step_s in (STEP_S | changes).items()
    }
    seen = Interference(10.0, lost_s={"others": lost_s} if lost_s else {})
    return Diagnosis(paces, 100, trial_steps=10, interference=seen, notes=[f"noted {EVIL}"])


def page_of(folder: Path, *diagnoses: dict[str, Any]) -> Page:
    names = [""] if len(diagnoses) == 1 else [f"data.num_workers={n} {EVIL}" for n in (0, 1)]
    content = {
        "command": f"python -m hpml.diagnose {EVIL}",
        "environment": {"host": "here", "cpu": "CPU", "cpu_cores": 2, "torch": "2.14"},
        "diagnoses": dict(zip(names, diagnoses, strict=True)),
        "comparison": ["data.num_workers=1 is faster"] * (len(diagnoses) - 1),
    }
    assert write_page(content, folder) == folder / "diagnosis.html"
    page = Page()
    page.feed((folder / "diagnosis.html").read_text())
    return page


def test_it_shows_what_each_intervention_saves(tmp_path: Path) -> None:
    """The verdict, a bar for each cost with the table's words, the table, what it ran on."""
    page = page_of(tmp_path, diagnosis())
    assert "input-bound: with loading free an epoch takes" in page.text
    picture = (tmp_path / "savings.svg").read_text()
    for words in ("an epoch as it is", "without loading", "without computing", "with one thread"):
        assert words in picture
    assert "(70%)" in picture  # of loading
    assert "error bars are 95 % intervals over 3 rounds" in page.text
    for words in ("with loading free", "CPU", "here", "noted <script>"):
        assert words in page.text.replace("Noted", "noted")
    assert page.tags.count("script") == 1  # ours
    assert all(target.startswith("#") for target in page.fetched)


def test_a_loader_taken_apart_has_its_table(tmp_path: Path) -> None:
    """And its sentences, on the page and in a cell; a page of a job without one has neither."""
    cost = Estimate(0.007, 0.001, 4)
    stages = [Stage(f"Blur {EVIL}", cost, 0.01, None, f"{EVIL}.py:4")]
    plain, found = diagnosis(), made()
    found.loader = LoaderStages("DataLoader", stages=stages, counted=64)
    page = page_of(tmp_path, found.as_dict())
    assert "7.00 ± 1.00" in page.text
    assert "takes 100% of a sample" in page.text
    assert page.tags.count("script") == 1
    assert "7.00 ± 1.00" in html(found.as_dict(), found.interval)
    assert "taken apart" not in page_of(tmp_path, plain).text


def test_two_jobs_stand_side_by_side(tmp_path: Path) -> None:
    """Each with its picture and its table, under what compares them; no two ids are alike."""
    page = page_of(tmp_path, diagnosis(), diagnosis(as_it_is=0.2))
    assert page.text.index("is faster") < page.text.index("data.num_workers=0")
    assert {"savings1", "savings2"} <= set(page.ids)
    assert len(set(page.ids)) == len(page.ids)


def test_what_others_took_is_told(tmp_path: Path) -> None:
    """As the verdict, where it is one."""
    page = page_of(tmp_path, diagnosis(lost_s=5.0))
    assert page.text.count("its trials as it is waited up to 5.0 s of 10.0 s") == 1


@pytest.mark.parametrize(
    ("rounds", "changes"),
    [(1, {}), (3, {"loading_free": 0.1}), (3, {"as_it_is": 0.0}), (2, {"compute_free": 5.0})],
)
def test_odd_outcomes_are_drawn_too(rounds: int, changes: dict[str, float], tmp_path: Path) -> None:
    """One round, nothing to save, an epoch of no time, an intervention that costs."""
    page_of(tmp_path, diagnosis(rounds, **changes))
    assert "not a number" not in (tmp_path / "savings.svg").read_text()
