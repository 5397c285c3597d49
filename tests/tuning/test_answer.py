"""What a tuning says, of searches that are made up; and its page."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.pages import EVIL, Page

from hpml.diagnosis.wording import Diagnosis
from hpml.loading.stages import LoaderStages, Stage
from hpml.statistics import AnytimeEstimate, Estimate
from hpml.trials.pace import Pace, Timed
from hpml.trials.sameness import BITS, DIFFERENT, ROUNDED, Sameness
from hpml.trials.settings import Settings
from hpml.trials.validation import Validating, Validation
from hpml.tuning.answer import Tuning
from hpml.tuning.change import LOADER, MODULE, NONE, SCRIPT, Change
from hpml.tuning.epoch_validation import EpochValidation
from hpml.tuning.page import draw_way, html, write_page
from hpml.tuning.racing import in_times
from hpml.tuning.search import Search

WORKERS = Change(
    "num_workers=2", frozenset({"num_workers"}), frozenset({"input"}), "2 processes",
    keys={"data.num_workers": 2}, lines=((LOADER, "num_workers=2"),),
)  # fmt: skip
COMPILE = Change(
    "compile", frozenset({"compile"}), frozenset({"compute"}), "the first steps compile",
    keys={"compile": True}, lines=((MODULE, "self.network.compile()"),),
)  # fmt: skip
THREADS = Change(
    "threads=1", frozenset({"threads"}), frozenset({"compute"}), EVIL,
    lines=((SCRIPT, "torch.set_num_threads(1)"),),
)  # fmt: skip
STEP_S = {"as_it_is": 0.04, "loading_free": 0.02, "compute_free": 0.03, "loader_alone": 0.02}


def searched(
    rounds: int = 8, proofs: int = 8, trials_s: Sequence[float] = (), **given: Any
) -> Search:
    """4 s an epoch: half with workers, a quarter less again if it is compiled."""
    changes = [WORKERS, COMPILE, THREADS]
    search = Search(lambda of: lambda number: None, changes, lambda: 0.0, 180.0)  # type: ignore[arg-type, return-value]
    search.rounds.trials_s += trials_s
    both = frozenset({WORKERS, COMPILE})
    seconds = {
        NONE: 4.0, frozenset({WORKERS}): 2.0, frozenset({COMPILE}): 3.0,
        frozenset({THREADS}): 5.0, both: 1.5,
    }  # fmt: skip
    for number in range(rounds):
        for of, each in seconds.items():
            noise = 1 + 0.01 * ((number + len(of)) % 3)
            search.measured.add(of, number, Timed(each * noise, Pace(each / 100, 0.0, None)))
    for number in range(proofs):
        for of in (NONE, both):
            noise = 1 + 0.01 * ((number + len(of)) % 3)
            search.proof.measured.add(of, number, Timed(seconds[of] * noise, Pace(0.04, 0.0, None)))
    search.chosen, search.is_raced = both, True
    search.steps = [(WORKERS, frozenset({WORKERS})), (COMPILE, both)]
    search.alone = {c: search.gain_of(NONE, frozenset({c})) for c in changes}  # type: ignore[misc]
    for name, value in given.items():
        setattr(search, name, value)
    return search


def tuning(search: Search, is_ours: bool = False, **given: Any) -> Tuning:
    paces = {trial: [Pace(step_s, 0.0, 0.0)] * 3 for trial, step_s in STEP_S.items()}
    same = {WORKERS: Sameness(BITS, 0.0), COMPILE: Sameness(ROUNDED, 1e-6)}
    skipped = {
        Change(name, frozenset({name}), frozenset({"transfer"})): "can save 0.1% at most"
        for name in ("pin_memory", EVIL)
    }
    values: dict[str, Any] = {
        "diagnosis": Diagnosis(paces, 100), "search": search, "skipped": skipped, "same": same,
        "together": Sameness(ROUNDED, 1e-6), "notes": [], "epoch_steps": 100, "is_ours": is_ours,
    }  # fmt: skip
    return Tuning(**values | given)


def test_the_sentence_claims_what_was_proven() -> None:
    """Before, after, how many times as fast, and the least of it."""
    found = tuning(searched())
    least = math.exp(found.gain.low) if found.gain else 0.0
    assert found.sentence == (
        f"epoch 4.03 → 1.51 s, 2.66 times as fast, proven ≥ {least:.2f}; 2 changes"
    )
    assert 2.5 < least < 2.66
    assert found.changes == [COMPILE, WORKERS]


def test_each_change_has_a_row() -> None:
    """The best first: alone, in company, what it computes, what it costs."""
    rows = tuning(searched()).rows
    assert [row[0] for row in rows] == ["* num_workers=2", "* compile", "threads=1"]
    assert rows[0][1].startswith("2.00 (1.9")
    assert [row[3] for row in rows] == ["to the bit", "within rounding (1e-06)", ""]
    assert rows[2][2] == ""
    assert rows[1][2].startswith("1.3")


def test_an_interval_that_tells_nothing_is_not_shown() -> None:
    """Of hundreds of times, after a few rounds that others disturbed."""
    assert in_times(AnytimeEstimate(math.log(2), 4.0, 5)) == "2.00 (not known)"
    assert in_times(AnytimeEstimate(math.log(2), math.log(1.25), 5)) == "2.00 (1.60 to 2.50)"
    assert in_times(AnytimeEstimate(math.log(2), None, 1)) == "2.00 (not known)"


def test_the_snippet_is_lines_by_place_or_overrides() -> None:
    """Of a Trainer of anybody's, and of a configuration of ours."""
    assert tuning(searched()).snippet == [
        *("# in the module's __init__, once the parts are there", "self.network.compile()"),
        *("# arguments of the DataLoader", "num_workers=2"),
    ]
    assert tuning(searched(), is_ours=True).snippet == ["compile=true data.num_workers=2"]


def test_changes_with_one_reason_are_told_together() -> None:
    """In a sentence, with the diagnosis and what all together compute."""
    sentences = tuning(searched()).sentences
    assert f"not taken: pin_memory, {EVIL} (can save 0.1% at most)" in sentences
    assert "with all changes the first losses are the same within rounding (1e-06)" in sentences
    other = tuning(searched(), together=Sameness(DIFFERENT, math.inf)).sentences
    assert (
        "with all changes the first losses are different (other batches, or no finite loss)"
        in other
    )


NOTHING: dict[str, tuple[dict[str, Any], str]] = {
    "no change helps": (
        {"chosen": NONE, "steps": [], "alone": {COMPILE: AnytimeEstimate(0.03, 0.1, 5)}},
        "nothing to gain: epoch 4.03 s, and no change is proven to shorten it "
        r"\(less than \d+% cannot be told here\)$",
    ),
    "what looks good is hidden": (
        {"chosen": NONE, "steps": [], "alone": {COMPILE: AnytimeEstimate(0.5, 3.0, 5)}},
        "not answered: epoch 4.03 s; compile looks 1.65 times as fast, but trials vary too much",
    ),
    "no time for a race": (
        {"chosen": NONE, "steps": [], "is_raced": False, "trials_s": [10.0, 15.0, 90.0]},
        "not answered: epoch 4.03 s, and 180 s were too short for 4 rounds of trials of 15 s; "
        r"give budget_s=420$",
    ),
    "a race cut short": (
        {"chosen": NONE, "steps": [], "is_raced": False, "rounds_had": 3, "trials_s": [1.0]},
        r"not answered: .* 180 s were too short: of \d+ rounds 3 had each change, 4 are needed",
    ),
    "no time, though it seemed enough": (
        {"chosen": NONE, "steps": [], "is_raced": False, "trials_s": [1.0]},
        r"not answered: .* give budget_s=210$",  # more than the 180 that there were
    ),
    "interrupted": (
        {"chosen": NONE, "steps": [], "was_interrupted": True},
        "not answered: epoch 4.03 s, and no change is proven yet",
    ),
    "interrupted before the proof": (
        {"was_interrupted": True, "proofs": 0},
        r"not answered: .* with compile, num_workers=2 it looked 2.6. \(.*\) times as fast in "
        "the search, its own rounds were interrupted",
    ),
    "not confirmed": (
        {"proofs": 1},
        "not proven: .* in the search, its own rounds do not prove it$",
    ),
    "not confirmed, of a race that was not finished": (
        {"proofs": 1, "is_raced": False},
        r"not answered: .* in the search, its own rounds do not prove it; give budget_s=\d+$",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NOTHING)
def test_where_nothing_is_claimed_it_says_why(name: str) -> None:
    """Nothing to gain is said only where it was looked for."""
    import re

    given, sentence = NOTHING[name]
    found = tuning(searched(**given))
    assert re.match(sentence, found.sentence), found.sentence
    assert found.changes == found.snippet == []
    assert found.after_s == found.before_s


def test_all_of_it_can_be_kept_and_read_again() -> None:
    """As JSON, whose numbers are finite."""
    kept = tuning(searched()).as_dict()
    read = json.loads(json.dumps(kept, allow_nan=False))
    assert read["changes"] == ["compile", "num_workers=2"]
    assert read["before_s"] == pytest.approx(4.04, abs=0.02)
    assert [step["change"] for step in read["way"]] == ["num_workers=2", "compile"]
    assert len(read["rounds"]["search"]["compile, num_workers=2"]) == 8


def content(search: Search) -> dict[str, Any]:
    machine = {"host": EVIL, "cpu": "CPU", "cpu_cores": 2, "torch": "2.14"}
    return {"command": f"tune {EVIL}"} | tuning(search, environment=machine).as_dict()


@pytest.mark.parametrize("chosen", [True, False])
def test_the_page_shows_the_answer(chosen: bool, tmp_path: Path) -> None:
    """With its picture, where something is recommended; what users wrote stays text."""
    search = searched() if chosen else searched(chosen=NONE, steps=[])
    assert write_page(content(search), tmp_path) == tmp_path / "tune.html"
    text = (tmp_path / "tune.html").read_text(encoding="utf-8")
    Page().feed(text)
    assert EVIL not in text
    assert ("num_workers=2</pre>" in text) == chosen
    assert bool(list(tmp_path.rglob("way*"))) == chosen
    assert "threads=1" in text


def test_the_loader_taken_apart_stands_beside_it(tmp_path: Path) -> None:
    """Its table and sentences, where the diagnosis has them: in the text and on the page."""
    found = tuning(searched())
    each = {"decoding": 0.003, "collating": 0.001}
    stages = [Stage(name, Estimate(s, None, 4), None, None, None) for name, s in each.items()]
    found.diagnosis.loader = LoaderStages("DataLoader", stages=stages, counted=4)
    assert "decoding takes 75% of a sample" in found.lines
    machine = {"command": "tune", "environment": {"cpu": "CPU"}}
    write_page(machine | found.as_dict(), tmp_path)
    text = (tmp_path / "tune.html").read_text(encoding="utf-8")
    assert "The loader taken apart" in text
    assert "Decoding takes 75% of a sample" in text


def test_a_cell_shows_the_same() -> None:
    """The sentence, the lines, the picture and the table."""
    cell = html(content(searched()))
    assert "2.66 times as fast" in cell
    assert "self.network.compile()" in cell
    assert EVIL not in cell


def test_the_way_leads_from_before_to_after() -> None:
    """Each step takes off what is left; the last bar was measured again."""
    way = tuning(searched()).way
    assert [round(step["epoch_s"], 1) for step in way] == [2.0, 1.5]
    assert draw_way(content(searched())) is not None
    at_once = searched()
    at_once.steps = [(change, at_once.chosen) for change, _ in at_once.steps]
    (step,) = tuning(at_once).way
    assert (step["change"], round(step["epoch_s"], 1)) == ("num_workers=2 + compile", 1.5)


def ended(before_s: float, after_s: float, left_out: str = "") -> Search:
    """A search whose last rounds had so much that comes once in an epoch."""
    search = searched()
    for of, rounds in search.proof.measured.by_name.items():
        once_s = after_s if of else before_s
        for number, timed in rounds.items():
            more: Any = {"epoch_s": timed.epoch_s + once_s, "once_s": once_s, "left_out": left_out}
            rounds[number] = replace(timed, **more)
    return search


def test_nothing_to_gain_is_said_of_what_was_tried_alone() -> None:
    """Not where there was no time for a change that nobody knows."""
    search = searched(chosen=NONE, steps=[], left_out=[WORKERS, COMPILE])
    search.alone = {THREADS: search.alone[THREADS]}
    sentence = tuning(search).sentence
    assert sentence.startswith("not answered: epoch")
    assert "for 2 of 3 changes there was no time: give budget_s=" in sentence
    search.left_out = [THREADS]  # had rounds, and looked worst
    assert tuning(search).sentence.startswith("nothing to gain: epoch")


def test_a_job_that_failed_as_it_is_has_an_answer() -> None:
    """No change is proven then, or what was chosen before is told with it."""
    for is_raced in (False, True):
        search = searched(chosen=NONE, steps=[], is_raced=is_raced)
        search.rounds.why_ended = "OSError: no space is left"
        sentence = tuning(search).sentence
        assert sentence.startswith("not answered: epoch")
        assert "the job as it is failed in a round (OSError: no space is left)" in sentence
    search = searched()
    search.rounds.why_ended = "OSError"
    assert tuning(search).sentence == tuning(searched()).sentence
    ended = "the race ended early: the job as it is failed in a round (OSError)"
    assert ended in tuning(search).sentences


def test_a_last_comparison_that_was_cut_is_told() -> None:
    """One that was interrupted is not, however late it is read."""
    search = searched(proofs=2)
    search.proof.was_cut = True
    assert tuning(search).sentence.endswith("no time for 4 rounds of its own; give budget_s=210")
    late = searched(proofs=2, was_interrupted=True)
    late.proof.left_s = lambda: -1.0
    assert tuning(late).sentence.endswith("its own rounds were interrupted")


def test_what_comes_once_in_an_epoch_is_in_the_claim() -> None:
    """Told where it counts; no change takes it off on the way from before to after."""
    found = tuning(ended(1.0, 0.5))
    assert found.sentence.startswith("epoch 5.03 → 2.0")
    what = "an epoch's ends, its loader's start and checkpoints are a part of both"
    assert f"{what}: 1.00 s before, 0.500 s after" in found.sentences
    assert [round(step["epoch_s"], 1) for step in found.way] == [3.0, 2.5]
    assert found.as_dict()["once_s"] == pytest.approx((1.0, 0.5))
    little = tuning(ended(0.02, 0.01)).sentences
    assert not any("are a part of both" in each for each in little)


def test_a_last_comparison_that_failed_is_told() -> None:
    """Nothing is claimed, and no rounds are named that do not count."""
    search = searched()
    search.proof.chosen = search.chosen
    search.proof.measured.failures[search.chosen] = "RuntimeError: no memory left"
    search.proof.measured.drop(search.chosen)
    found = tuning(search)
    assert found.gain is None
    assert "times as fast in the search, but it failed in rounds of its own" in found.sentence
    failed = "of the job with compile, num_workers=2 (RuntimeError: no memory left)"
    assert f"the final comparison failed, {failed}" in found.sentences
    assert not any("were measured again" in each for each in found.sentences)
    assert found.as_dict()["proven"] is None


def test_validation_that_only_the_last_rounds_had_stays_on_the_way() -> None:
    """As what comes once; a race that had it says what changes make of it."""
    search = searched()
    for rounds in search.proof.measured.by_name.values():
        for number, timed in rounds.items():
            rounds[number] = replace(timed, epoch_s=timed.epoch_s + 2.0, checks_s=2.0)
    seen, few = Validation(0.1, 20, 4), Validating(None, 4)
    found = tuning(search, checks=EpochValidation(seen, 1.0, proving=few))
    assert [round(step["epoch_s"], 1) for step in found.way] == [4.0, 3.5]
    raced = tuning(search, checks=EpochValidation(seen, 1.0, few, [], few))
    assert [round(step["epoch_s"], 1) for step in raced.way] == [3.0, 2.3]


def test_a_claim_without_ends_says_so() -> None:
    """And why; then nothing of what comes once is in it."""
    found = tuning(ended(1.0, 0.5, "its ends fail"))
    assert "before and after lack an epoch's ends and checkpoints: its ends fail" in found.sentences
    assert found.sentence.startswith("epoch 4.03 → 1.51 s, 2.66 times as fast")
    assert found.once_s == (0.0, 0.0)


def test_what_fewer_validations_would_save_is_calculated() -> None:
    """Where they add much to an epoch and no trial has them: the key, or the Trainer's argument."""
    much, little = Validation(0.1, 20, 4), Validation(0.001, 20, 4)
    line = "validation adds 2.00 s to an epoch (calculated from 4 of 20 batches)"
    saves = "check_val_every_n_epoch=10 would save 1.80 s"
    sentence = f"{line}; {saves}"

    def checks_of(seen: Validation | None, name: str, only_asked: bool = False) -> EpochValidation:
        own = frozenset({"validation"})
        more: Any = {"settings": Settings(check_every=10), "only_asked": only_asked}
        change = Change(name, own, own, **more) if name else None
        return EpochValidation(seen, 1.0, fewer=lambda rest_s: change)

    key = "check_val_every_n_epoch=10"
    assert sentence in tuning(searched(), checks=checks_of(much, key)).sentences
    ours = tuning(searched(), is_ours=True, checks=checks_of(much, f"trainer.{key}"))
    assert f"{line}; trainer.{saves}" in ours.sentences
    another = tuning(searched(), checks=checks_of(much, key, only_asked=True))
    waits = "early stopping or a schedule waits for it"
    assert f"{sentence}, and be another training, for {waits}" in another.sentences
    for checks in (checks_of(little, ""), checks_of(much, ""), checks_of(None, key)):
        told = tuning(searched(), checks=checks).sentences
        assert not any("validation" in each for each in told)


def test_validation_in_the_trials_is_told() -> None:
    """In what the columns are, and by what it adds; no calculation stands beside a trial."""
    raced = EpochValidation(Validation(0.1, 20, 4), 1.0, Validating(None, 4), [WORKERS])
    found = tuning(searched(), checks=raced)
    assert "validation adds 2.00 s to an epoch, which is a part of it above" in found.sentences
    assert any(
        "how many times as fast an epoch's steps with validation are" in each
        for each in found.lines
    )
    assert found.as_dict()["validation_is_timed"] is True
    proven = EpochValidation(Validation(0.001, 20, 4), 1.0, proving=Validating(None, 4))
    adds = "validation adds 0.020 s to an epoch, which is a part of before and after"
    assert adds in tuning(searched(), checks=proven).sentences


PROOFS: dict[str, tuple[dict[str, Any], str | None]] = {
    "a Trainer": (
        {}, "again in 8 rounds in this process, for a Trainer of your own cannot be started in "
        "another one",
    ),
    "a job of ours": ({"why_here": ""}, "again in 8 rounds of fresh processes"),
    "one that fails": (
        {"why_here": "a fresh one fails (x)"},
        "again in 8 rounds in this process, for a fresh one fails (x)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PROOFS)
def test_it_says_how_before_and_after_were_measured(name: str) -> None:
    """In a sentence, and in what is kept."""
    settings, words = PROOFS[name]
    search = searched()
    vars(search.proof).update(settings)
    found = tuning(search)
    assert f"before and after were measured {words}" in found.sentences
    assert found.as_dict()["proven"] == words
    assert tuning(searched(proofs=0)).as_dict()["proven"] is None
