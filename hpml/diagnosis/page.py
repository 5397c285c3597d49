"""The page of a diagnosis: what each intervention saves, in a picture and in tables."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

from hpml.diagnosis.saving_in_words import at_most
from hpml.diagnosis.trial_figures import AS_IT_IS
from hpml.formatting import capital, in_s
from hpml.records.phases import COMMUNICATION, COMPUTE, INPUT, OTHER, OVERHEAD, PHASES
from hpml.report.page import render, save
from hpml.report.picture_style import BAR, STYLE, bars
from hpml.report.pictures import Picture
from hpml.report.ranking import NOTHING
from hpml.report.tables import Cell, Table, fact_table, machine_in_words, of_machine
from hpml.statistics import Estimate
from hpml.system.interference import Interference

FILE_NAME = "diagnosis.html"
TEMPLATES = Path(__file__).parent / "templates"
MOST_CALLBACKS = 8
# What is said of the causes that are not called as their phase is.
TITLES = {
    **{INPUT: "loading", COMPUTE: "computing", OVERHEAD: "callbacks, hooks and the loop"},
    COMMUNICATION: "communication",
}


def write_page(content: Mapping[str, Any], folder: Path) -> Path:
    """Writes `diagnosis.html`, whose path it returns, and its pictures.

    Args:
        content: of `diagnosis.json`, with one diagnosis or two side by side.
        folder: where they go. Raises OSError where they cannot be written.
    """
    jobs = []
    for number, (name, of) in enumerate(content["diagnoses"].items()):
        picture = draw_savings(of, f"savings{number + 1}" if name else "savings")
        parts = {"verdict": verdict_lines(of), "table": trial_table(of), "notes": notes(of)}
        parts["ranks"] = rank_table(of)
        parts |= {"loader": loader_table(of), "loading": loader_sentences(of)}
        jobs.append({"name": name, **parts, "picture": save(picture, folder)})
    machine = of_machine(content["environment"])
    values = {
        **{"title": "Diagnosis", "summary": _summary(content), "jobs": jobs},
        "comparison": [capital(sentence) for sentence in content["comparison"]],
        "facts": fact_table("this diagnosis", {"command": content["command"], **machine}),
    }
    return render("diagnosis", values, folder, TEMPLATES, files=(FILE_NAME,))[0]


def draw_savings(diagnosis: Mapping[str, Any], name: str = "savings") -> Picture:
    """The epoch as it is, and under it what is saved at most without each cost, with intervals."""
    whole = Estimate(**diagnosis["epoch_s"][AS_IT_IS])
    rows = [("an epoch as it is", whole, {"color": "none"}), *_savings(diagnosis)]
    notes = [in_s(whole), *(at_most(saved, whole.mean) for _, saved, _ in rows[1:])]
    names, times = [row[0] for row in rows], [_not_negative(row[1]) for row in rows]
    parts = [
        ([time.mean if place == own else math.nan for place in range(len(rows))], look)
        for own, (time, (_, _, look)) in enumerate(zip(times, rows, strict=True))
    ]
    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        what = "an epoch" if diagnosis["epoch_steps"] else "some steps"
        figure = bars(names, times, f"time of {what}", notes, parts)
    rounds = whole.n
    caption = "What is saved at most with each cost taken out, without validation"
    caption += f"; error bars are 95 % intervals over {rounds} rounds" if rounds > 1 else ""
    return Picture(name, caption, figure)


def _savings(diagnosis: Mapping[str, Any]) -> list[tuple[str, Estimate, dict[str, Any]]]:
    """What is taken out, what that saves, how its bar looks; callbacks one by one come last."""
    phases = {phase.cause: phase for phase in PHASES if phase.cause}
    rows = []
    for cause, saved in diagnosis["saved_s"].items():
        phase = phases.get(cause, OTHER)
        title = f"without {TITLES.get(cause, phase.title)}"
        rows.append((title, Estimate(**saved), phase.look))
    if (alone := diagnosis.get("saved_by_one_thread_s")) is not None:
        rows.append(("with one thread", Estimate(**alone), {"color": BAR}))
    costs = [*diagnosis["callbacks_s"].items()][:MOST_CALLBACKS]
    return rows + [(f"without {name}", Estimate(**cost), OTHER.look) for name, cost in costs]


def _not_negative(estimate: Estimate) -> Estimate:
    """What may be saved, for a bar with a note: a mean below 0 is none, with the interval above."""
    half_width = estimate.half_width
    if estimate.mean < 0 and half_width is not None:
        half_width = max(0.0, half_width + estimate.mean)
    return Estimate(max(0.0, estimate.mean), half_width, 0)


def verdict_lines(diagnosis: Mapping[str, Any]) -> tuple[str, str]:
    """What limits the training, and what to try."""
    verdict = diagnosis["verdict"]
    return capital(f"{verdict['kind']}: {verdict['evidence']}"), f"{verdict['advice']}"


def trial_table(diagnosis: Mapping[str, Any]) -> Table:
    """A row for each trial: how long it takes, what that saves."""
    rows = [
        [Cell(title), *(Cell(text or NOTHING) for text in of)] for title, *of in diagnosis["rows"]
    ]
    what = "an epoch" if diagnosis["epoch_steps"] else "some steps"
    return Table(["trial", what, "saves at most"], rows)


def rank_table(diagnosis: Mapping[str, Any]) -> Table | None:
    """A row for each rank by itself; None where there is one alone."""
    rows = (diagnosis.get("ranks") or {}).get("rows")
    return Table(list(rows[0]), [list(map(Cell, row)) for row in rows[1:]]) if rows else None


def loader_table(diagnosis: Mapping[str, Any]) -> Table | None:
    """A row for each stage of loading a sample; None where the loader was not taken apart."""
    loader = diagnosis.get("loader")
    if not loader or not loader["stages"]:
        return None
    rows = [list(map(Cell, row)) for row in loader["rows"]]
    return Table(["stage", f"ms a {loader['unit']}", "share"], rows)


def loader_sentences(diagnosis: Mapping[str, Any]) -> list[str]:
    """What its stages say."""
    loader = diagnosis.get("loader")
    return [capital(sentence) for sentence in loader["sentences"]] if loader else []


def notes(diagnosis: Mapping[str, Any]) -> list[str]:
    """What was found besides the verdict, and what others took meanwhile."""
    seen = diagnosis["interference"] and Interference.from_dict(diagnosis["interference"])
    is_told = diagnosis["verdict"]["kind"] == "disturbed"
    lost = seen.in_words("its trials as it is") if seen and seen.disturbed and not is_told else ""
    return [capital(sentence) for sentence in filter(None, [lost, *diagnosis["sentences"]])]


def _summary(content: Mapping[str, Any]) -> str:
    first = next(iter(content["diagnoses"].values()))
    rounds = f"{Estimate(**first['epoch_s'][AS_IT_IS]).n} rounds of {first['trial_steps']} steps"
    return f"{machine_in_words(content['environment'])}; {rounds}"
