"""The results of each part of the lab on one machine: tables, pictures, and its answer."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from operator import attrgetter, methodcaller
from pathlib import Path
from typing import Any

from hpml.formatting import capital, in_s
from hpml.lab.parts import COUNTED, SUMMARY
from hpml.lab.report import answers, network_questions
from hpml.lab.report.answers import counting
from hpml.lab.report.batch_norm import about_norm
from hpml.lab.report.epoch_table import disturbed_epochs, epoch_table
from hpml.lab.report.explanations import (
    more_workers_help,
    rate_of,
    what_workers_can_save,
    why_workers_differ,
)
from hpml.lab.report.machine import Machine
from hpml.lab.report.optimizers import about_optimizers
from hpml.lab.report.part_result import PartResult
from hpml.lab.report.too_busy import too_busy
from hpml.lab.tasks import shown
from hpml.lab.unanswered import disturbed_by, is_none
from hpml.report.collect import Run, clean
from hpml.report.comparison import Comparison
from hpml.report.page import save
from hpml.report.pictures import draw
from hpml.report.tables import Cell, Table, setting_table
from hpml.statistics import Estimate
from hpml.worker_counts.answer import alike_in_words
from hpml.worker_counts.picture import draw_workers

_ADDS_UP = "the five phases add up to the time"
_MARKED = "; ! other programs or limits of the machine disturbed it"


def results_of(part: str, machines: Sequence[Machine]) -> list[tuple[Machine, PartResult]]:
    """A part's figures of each machine that has any; C5, about all of them, is with the first."""
    if part == "c5":
        return _devices(machines)
    result_of, make = _MAKE[part]
    return [(machine, make(machine, of)) for machine in machines if (of := result_of(machine))]


def draw_for(
    part: str, runs: Sequence[Run], folder: Path, only: Sequence[str]
) -> list[dict[str, str]]:
    """Saves pictures of some runs, those named in `only`, as files that begin with a part."""
    comparison = Comparison([run.directory for run in runs])
    for setting in comparison.settings:
        if not setting.named_by({key: key for key in setting.values}):  # but by its folder, `0`
            model = setting.runs[0].record.choices.get("model")
            setting.own_name = f"model={clean(model)}" if model else setting.name
    return [
        save(replace(picture, name=f"{part}_{picture.name}"), folder)
        for picture in draw(comparison)
        if picture.name in only
    ]


def _draw(part: str, machine: Machine, runs: Sequence[Run], *only: str) -> list[dict[str, str]]:
    return draw_for(f"{part}_{machine.folder.name}", runs, machine.lab, only)


def _epochs(runs: Sequence[Run], title: str = "", **columns: bool) -> tuple[Table, str]:
    counted_runs = counting(runs).completed
    number = len(counted_runs)
    parts = [f"means over {number} runs" if number > 1 else "one run"]
    if all(run.leaves.get("trainer.limit_val_batches") == 0 for run in counted_runs):
        parts.append("no validation")
    parts += [_ADDS_UP] if columns.get("phases", True) else []
    marked = _MARKED if disturbed_epochs(counted_runs) else ""
    return epoch_table(runs, **columns), f"{title}{capital('; '.join(parts))}{marked}"


def _learning(machine: Machine, runs: list[Run]) -> PartResult:
    return PartResult(
        tables=[_epochs(runs, phases=False)],
        pictures=_draw("c1", machine, runs, "learning"),
        answer=answers.about_learning(runs),
    )


def _times(machine: Machine, runs: list[Run]) -> PartResult:
    return PartResult(
        tables=[_epochs(runs, curves=False)],
        pictures=_draw("c2", machine, runs, "phases"),
        answer=answers.about_times(runs, machine.again("c2")),
    )


def _workers(machine: Machine, search: dict[str, Any]) -> PartResult:
    answer = [f"{capital(sentence)}." for sentence in search["sentences"]]
    answer.append(f"So use {search['override']}.")
    answer += what_workers_can_save(search["settings"], machine.cores_that_train)
    ties = search["tied_loading"], search["tied"]
    caption = "Seconds of an epoch without validation"
    if reason := disturbed_by(search):
        answer, ties = [too_busy(reason, machine.again("c3"))], ([], [])
        caption += "; disturbed"
    else:
        caption += f"; * the fastest, or {alike_in_words(search.get('answered', True))}"
    rows = [
        [
            Cell(count, int(count)),
            _timed(times["loading_s"], int(count) in ties[0]),
            _timed(times["epoch_s"], int(count) in ties[1]),
        ]
        for count, times in search["settings"].items()
    ]
    table = Table(["workers", "loading alone, s", "training end to end, s"], rows)
    if reason:  # the picture points at the fastest
        return PartResult(tables=[(table, caption)], answer=answer)
    picture = draw_workers(search, machine.lab, f"c3_{machine.folder.name}_workers")
    return PartResult(tables=[(table, caption)], pictures=[picture], answer=answer)


def _diagnosis(machine: Machine, diagnosis: dict[str, Any]) -> PartResult:
    verdicts = {name: of["verdict"] for name, of in diagnosis["diagnoses"].items()}
    by_title = {
        name: {row[0]: row[1:] for row in of["rows"]} for name, of in diagnosis["diagnoses"].items()
    }
    titles = dict.fromkeys(title for rows in by_title.values() for title in rows)
    rows = [
        [Cell(title), *(Cell(text) for of in by_title.values() for text in of.get(title, ("", "")))]
        for title in titles
    ]
    answer = [f"{capital(sentence)}." for sentence in diagnosis["comparison"]]
    if reason := disturbed_by(diagnosis):
        answer = [too_busy(reason, machine.again("c4"))]
    best = (machine.workers or {}).get("recommended")
    if best is not None and best < 2 and not disturbed_by(machine.workers or {}):
        compared = "one worker is compared with the best number above it"
        answer.insert(0, f"The best number of workers here is {best}: {compared}.")
    compared = diagnosis["diagnoses"] if len(verdicts) == 2 and not reason else {}
    if compared:
        answer += why_workers_differ(compared, machine.cores_that_train)
    for name, verdict in verdicts.items():
        if not is_none(verdict):
            answer.append(f"{name}: {verdict['kind']}; {verdict['evidence']}.")
            in_vain = "more num_workers" in verdict["advice"] and compared
            if not in_vain or more_workers_help(compared):
                answer[-1] += f" {verdict['advice']}."
    caption = "How long an epoch would take with a cost taken out, without validation; ± is a 95 % "
    caption += "interval over rounds" + (_MARKED if reason else "")
    marked = [f"{name}{'!' * is_none(verdict)}" for name, verdict in verdicts.items()]
    headings = [heading for name in marked for heading in (name, "saves at most")]
    table = Table(["an epoch of training", *headings], rows)
    return PartResult(tables=[(table, caption)], answer=answer)


def _of_several_optimizers(machine: Machine) -> list[Run]:
    names = {run.record.choices.get("optimizer") for run in machine.training}
    return machine.training if len(names) > 1 else []


def _optimizers(machine: Machine, runs: list[Run]) -> PartResult:
    comparison = Comparison([run.directory for run in runs])
    rate = rate_of(runs)
    rates = "learning rates differ" if rate is None else f"all with a learning rate of {rate:g}"
    spread = comparison.spread or "one run of each"
    caption = f"Times are means over the epochs, losses and accuracies the last one's; {rates}; "
    caption += spread + "; * the best, or tied with it" * comparison.has_ties
    caption += _MARKED * comparison.has_disturbed
    return PartResult(
        tables=[(setting_table(comparison, [answers.LOSS]), caption)],
        pictures=_draw("c6", machine, runs, "learning", "phases"),
        answer=about_optimizers(comparison, machine.again("c6")),
    )


def _norm(machine: Machine, without: list[Run]) -> PartResult:
    files = [shown(machine.folder / SUMMARY / f"{name}.json") for name in COUNTED["c7"]]
    return PartResult(
        tables=[
            _epochs(without, "Without normalisation. "),
            _epochs(machine.sgd, "With normalisation. "),
        ],
        pictures=_draw("c7", machine, [*machine.sgd, *without], "learning"),
        answer=about_norm(
            machine.sgd,
            without,
            machine.again("c7"),
            [machine.summary(name) for name in reversed(COUNTED["c7"])],
            machine.cores_that_train is not None,
            f"delete {' and '.join(files)}, then run `{machine.command_for('c7')}`",
        ),
    )


def _devices(machines: Sequence[Machine]) -> list[tuple[Machine, PartResult]]:
    there = [machine for machine in machines if machine.sgd or machine.other_devices]
    by_device: dict[str, list[Run]] = {}
    for machine in there:
        for run in [*machine.sgd, *machine.other_devices]:
            device = run.record.environment.get("device") or run.record.config.get("device")
            by_device.setdefault(machine.in_front(clean(str(device)), there), []).append(run)
    runs = [run for of_device in by_device.values() for run in of_device]
    # two machines with a device of one name would be drawn as repeats
    are_apart = 1 < len(by_device) == len({str(run.record.config.get("device")) for run in runs})
    only = ["by_device", "phases"]
    commands = [there[0].again("c5"), there[0].command_for("c5")] if there else ["", ""]
    figures = PartResult(
        tables=[
            _epochs(of_device, f"{device}. ", curves=False)
            for device, of_device in by_device.items()
        ],
        pictures=draw_for("c5", runs, there[0].lab, only) if are_apart else [],
        answer=answers.about_devices(by_device, *commands),
    )
    return [(machine, figures if machine is there[0] else PartResult()) for machine in there]


# For each part what a machine has of it, and what makes figures of that.
_MAKE: dict[str, tuple[Callable[[Machine], Any], Callable[[Machine, Any], PartResult]]] = {
    "c1": (attrgetter("sgd"), _learning),
    "c2": (attrgetter("sgd"), _times),
    "c3": (attrgetter("workers"), _workers),
    "c4": (attrgetter("diagnosis"), _diagnosis),
    "c6": (_of_several_optimizers, _optimizers),
    "c7": (attrgetter("no_norm"), _norm),
    "q1": (methodcaller("summary", "sgd"), network_questions.convolutions),
    "q2": (methodcaller("summary", "sgd"), network_questions.last_layer),
    "q3": (partial(network_questions.summaries, "sgd"), network_questions.gradients),
    "q4": (partial(network_questions.summaries, "adam"), network_questions.gradients),
}


def _timed(times: dict[str, Any], tied: bool) -> Cell:
    return Cell(in_s(Estimate(**times)).removesuffix(" s") + "*" * tied, times["mean"])
