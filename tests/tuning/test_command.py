"""The command, from Python: what it keeps, resumes and refuses."""

import json
from pathlib import Path

import pytest
from helpers.configurations import QUICK

from hpml.api import tune
from hpml.diagnosis import experiment
from hpml.errors import UserError
from hpml.tuning import checks

WORDS = (*QUICK, "logger=none", "data.pipeline=per_sample", "tune.budget_s=0.01")


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(experiment, "ROUNDS", (1,))
    monkeypatch.setattr(experiment, "flops_per_step", lambda subject, notes: None)
    monkeypatch.setattr(checks, "LEAST_BUDGET_S", 0.001)


def test_an_answer_is_kept_with_its_page_and_can_be_resumed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The same job adds to its rounds; another one is refused."""
    first = tune(*WORDS)
    assert first.sentence.startswith("not answered")
    printed = capsys.readouterr().out
    assert first.sentence in printed
    (file,) = Path().rglob("tune.json")
    assert (file.parent / "tune.html").is_file()
    kept = json.loads(file.read_text())
    assert kept["sentence"] == first.sentence
    assert list(kept["rounds"]["search"][""]) == ["0"]
    second = tune(*WORDS, f"tune.resume={file}")
    assert sorted(second.search.measured.by_name[frozenset()]) == [0, 1]
    with pytest.raises(UserError, match=r"of another job \(data.batch_size"):
        tune(*WORDS, "data.batch_size=16", f"tune.resume={file}")


def test_wrong_words_are_refused_in_one_line() -> None:
    """A budget that is too short, and a change that this job has not."""
    with pytest.raises(UserError, match=r"^tune.budget_s=0.0001: is too short"):
        tune(*WORDS, "tune.budget_s=0.0001")
    with pytest.raises(UserError, match=r"^tune.also: 'batch' is no change of this job; there are"):
        tune(*WORDS, "tune.also=batch")
