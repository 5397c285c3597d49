"""The commands from Python: `from hpml.api import train, sweep, report, workers, tune, lab`.

What stands on a command line, stands here in strings: `train("optimizer=adam", "seed=1")`. A call
prints what its command prints, and hands back what it has found; a notebook shows that as a table
and a picture. Wrong input raises UserError. `config_dir` is a folder of options of your own.

`train`, `diagnose`, `tune` and `summary` run in this process: `model` and `data` may be classes of
your own, defined in a cell too, or `functools.partial` of them. The others start the command.
"""

import os
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from hpml.cli.from_python import (
    Folder,
    called,
    composed,
    first_of_each,
    interruptible,
    refuse_several,
)
from hpml.cli.run_directory import fresh_dir, is_given
from hpml.config.command_line import as_override
from hpml.errors import RunFailedError, UserError
from hpml.report.notebook_results import Report, TrainedRun
from hpml.sweep.directory import HYDRAS_FILE
from hpml.sweep.job_process import JobProcess
from hpml.system import exit_codes
from hpml.system.files import LOCK, read_json
from hpml.train import announced, warn_of_monitor
from hpml.train import train as run_training

if TYPE_CHECKING:
    from hpml.compare.answer import Answer
    from hpml.diagnosis.wording import Diagnosis
    from hpml.lab.answers import LabAnswers
    from hpml.tuning.answer import Tuning
    from hpml.worker_counts.answer import WorkersAnswer


def train(
    *words: str, config_dir: Folder = None, model: Any = None, data: Any = None
) -> TrainedRun:
    """Trains in this process; returns the run's record.

    Each call has a fresh directory, below `output_dir`; `run_dir=…` names one. Raises UserError,
    RunFailedError, and KeyboardInterrupt when an interrupted run has ended in order.
    """
    with called("train", words, config_dir, {"model": model, "data": data}) as cfg:
        _refuse_devices("train", cfg, "sweep(…) and python -m hpml.train start")
        with announced(cfg):
            record = run_training(cfg)
        warn_of_monitor(record, cfg.monitor)
        return TrainedRun(**vars(record))


def sweep(*words: str, config_dir: Folder = None) -> Report | None:
    """Trains with each of several settings, in processes of their own; returns their comparison.

    `sweep("optimizer=sgd,adam", "seed=0,1,2")`; with `sweep.name` the same call resumes. None for
    `sweep.dry_run=true`. Raises RunFailedError where no job has completed.
    """
    with composed("train", first_of_each(words), config_dir) as cfg:
        has_name = is_given(cfg, "sweep.name") or is_given(cfg, "hydra.sweep.dir")
        directory = Path(str(cfg.hydra.sweep.dir)).expanduser()
        is_dry = bool(cfg.sweep.dry_run)
    own: list[str] = []
    if not (has_name or is_dry):
        directory = Path(fresh_dir(str(directory)))
        own = [f"sweep.name={directory.name}"]
    exit_code = _command("train", ["-m", *words, *own], config_dir, directory)
    if is_dry:
        return None
    found = Report([directory], directory)
    if exit_code and len(found.failed) == len(found.records):
        raise RunFailedError(f"no job of the sweep has completed: {directory}")
    return found


def report(*paths: str | Path, folder: Folder = None, title: str | None = None) -> Report:
    """Compares the runs found in and under some paths, or shows the one there is; writes the page.

    Without `folder` that goes into the first of the paths.

    Raises UserError where there is no run, or where the page cannot be written.
    """
    from hpml.report.make import report_on

    for path in paths:
        if not isinstance(path, str | Path):
            raise UserError(f"report({path!r}): give the path of a run, of a sweep, or of a folder")
    if not paths:
        raise UserError("report(): give the path of a run, of a sweep, or of a folder of them")
    every = [Path(path).expanduser() for path in paths]
    into = None if folder is None else Path(folder).expanduser()
    return Report(every, report_on(every, into, title, "give folder=…"))


def workers(*words: str, config_dir: Folder = None) -> "WorkersAnswer":
    """Finds the number of loading workers by measuring, as `python -m hpml.workers` does."""
    from hpml.worker_counts.answer import WorkersAnswer

    refuse_several("workers", words)
    directory, own = _run_directory("workers", words, config_dir)
    if _command("workers", [*words, *own], config_dir, directory):
        raise RunFailedError("the search for workers has failed; its output says why")
    found = read_json(directory / "workers.json", "recommended", "settings")
    if found is None:
        raise RunFailedError(f"{directory}: the search has left no workers.json")
    return WorkersAnswer(directory, found)


def lab(*words: str, config_dir: Folder = None) -> "LabAnswers | None":
    """The whole lab, with one report: `lab("data=synthetic", "lab.budget_min=30")`.

    The same call resumes. None for `lab.dry_run=true`. Raises RunFailedError where a part failed.
    """
    from hpml.lab.answers import LabAnswers  # and matplotlib

    refuse_several("lab", words)
    with composed("lab", words, config_dir) as cfg:
        directory = Path(str(cfg.hydra.run.dir)).expanduser()
        is_dry = bool(cfg.lab.dry_run)
    exit_code = _command("lab", words, config_dir, directory)
    if is_dry:
        return None
    if exit_code:
        raise RunFailedError(f"a part of the lab has failed; the report says which: {directory}")
    return LabAnswers(directory)


def diagnose(
    *words: str, config_dir: Folder = None, model: Any = None, data: Any = None
) -> "Diagnosis | dict[str, Diagnosis]":
    """Proves what limits a training, as `python -m hpml.diagnose`; of a Trainer: `hpml.diagnose`.

    Two diagnoses, by the settings in which they differ, with `diagnose.against`.
    """
    from hpml.diagnosis.command import job

    with called("diagnose", words, config_dir, {"model": model, "data": data}) as cfg:
        _refuse_devices("diagnose", cfg, "python -m hpml.diagnose starts")
        diagnoses = job(cfg)
    return diagnoses.get("", diagnoses)


def tune(*words: str, config_dir: Folder = None, model: Any = None, data: Any = None) -> "Tuning":
    """Finds what makes a training faster, as `python -m hpml.tune`; of a Trainer: `hpml.tune`.

    Keeps `tune.json` and its page. Ctrl-C prints the answer so far, and then ends the call.
    """
    from hpml.tuning.command import job

    with called("tune", words, config_dir, {"model": model, "data": data}) as cfg:
        _refuse_devices("tune", cfg, "python -m hpml.tune starts")
        return job(cfg)


def compare(
    before: str,
    after: str,
    *,
    run: str | None = None,
    of: str = "step",
    slower_than: str = "3%",
    budget_s: float = 300.0,
    install: str | None = None,
) -> "Answer":
    """Tells whether AFTER trains slower than BEFORE, as `python -m hpml.compare`; keeps no files.

    `compare("", "compile=true", run="experiment=demo")`. Its `verdict` is `slower`, `not slower` or
    `undecided`. Raises UserError, for a program that fails too.
    """
    from hpml.compare.comparison import compare as compare_sides
    from hpml.compare.question import questions_of

    questions = questions_of(of, slower_than)
    settings: dict[str, Any] = {"run": run, "install": install, "budget_s": budget_s}
    return compare_sides(before, after, questions, **settings, report=print)


def summary(
    *words: str, config_dir: Folder = None, model: Any = None, data: Any = None
) -> dict[str, Any]:
    """Prints what a model is made of; returns the same figures by their names."""
    from hpml.summary.table import print_summary

    with called("summary", words, config_dir, {"model": model, "data": data}) as cfg:
        from hpml.summary.summarize import summarize  # and torch

        facts = summarize(cfg)
        print_summary(facts)
    return facts


def _refuse_devices(name: str, cfg: Any, starts: str) -> None:
    """Raises UserError for a configuration of several processes, which something else starts."""
    if (devices := cfg.trainer.devices) not in (1, "1"):
        raise UserError(f"trainer.devices={devices}: {name}() is one process; {starts} the others")


def _run_directory(
    name: str, words: Sequence[str], config_dir: Folder
) -> tuple[Path, Sequence[str]]:
    """The directory of a command that has a fresh one each time, and the word that names it."""
    with composed(name, words, config_dir) as cfg:
        wanted = str(cfg.hydra.run.dir)
        if is_given(cfg, "hydra.run.dir"):
            return Path(wanted).expanduser(), ()
        if is_given(cfg, "run_dir"):
            raise UserError("run_dir: give output_dir or hydra.run.dir")
    directory = Path(fresh_dir(wanted))
    return directory, [as_override("hydra.run.dir", str(directory))]


def _command(name: str, words: Sequence[str], config_dir: Folder, directory: Path) -> int:
    """Runs a command to its end, and prints what it prints; its exit code.

    Raises UserError where it could not begin; `directory` goes where it is still empty then.
    """
    own = [] if config_dir is None else ["--config-dir", str(Path(config_dir).expanduser())]
    command = [sys.executable, "-m", f"hpml.{name}", *own, *words]
    path = os.pathsep.join(filter(None, sys.path))  # where modules are found here, they are there
    with TemporaryDirectory() as folder, interruptible():
        process = JobProcess(command, Path(folder), True, {"PYTHONPATH": path}, raises=True)
        try:
            exit_code = process.wait()
        finally:
            process.clear()
            with suppress(OSError):  # it holds something
                begun = {file.name for file in directory.iterdir()} - {LOCK, HYDRAS_FILE}
                if not begun:
                    shutil.rmtree(directory)
    if exit_code == exit_codes.WRONG_INPUT:
        raise UserError(process.last_line)
    return exit_code
