"""`python -m hpml.lab [overrides]`: the whole lab, chained, and one report."""

import logging
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from hpml.cli.program import run_hydra
from hpml.cli.wrong_input import composed
from hpml.config import command_line
from hpml.config.checks import check
from hpml.config.conf import resolve
from hpml.config.cpu import set_waiting
from hpml.config.fingerprint import identifying, key_of
from hpml.errors import UserError
from hpml.formatting import duration_in_words
from hpml.lab.disturbances import disturbed_by
from hpml.lab.parts import OPTIMIZERS, PARTS, SUMMARY, TRAINING, WORKERS
from hpml.lab.pilot import Pilot, look_at_data, measured_start_s, pilot
from hpml.lab.plan import Plan, usable_s
from hpml.lab.run_task import run_task
from hpml.lab.state import State
from hpml.lab.tasks import Task, Tasks, chosen_parts, shown
from hpml.sweep.directory import check_name
from hpml.system import environment, fresh_process
from hpml.system.files import read_json, remove_empty, write_whole
from hpml.system.other_programs import warn_of_others
from hpml.system.signals import RunInterrupted
from hpml.worker_counts.command import found_before

log = logging.getLogger("hpml")


def main() -> None:
    run_hydra(job, config_name="lab", sweeps=False)


def job(cfg: DictConfig) -> None:
    """Plans, runs what is not done yet, and writes the report over all machines' results.

    Raises UserError for wrong input, also where a part finds it, and where nothing can be written.
    """
    begun = time.monotonic()
    with _disk_errors_in_one_line(Path(cfg.run_dir)):
        _check(cfg)
        warn_of_others()
        set_waiting(cfg)
        machine = fresh_process.run_in_fresh_process(environment.describe)
        folder = Path(cfg.run_dir) / _slug(machine)
        tasks = Tasks(cfg, command_line.overrides(), folder, _devices(cfg))
        settings = _settings(tasks)
        state = State(str(cfg.lab.name), tasks, settings)
        with nullcontext() if cfg.lab.dry_run else state.locked():
            _adopt_search(cfg, tasks, settings, machine)
            tasks.limit = state.of_trainings("limit")
            tasks.num_workers = state.of_trainings("num_workers")
            pilots = _pilots(tasks, state.pilots)
            plan = Plan.of_lab(cfg, tasks, pilots, state.has_begun)
            if cfg.lab.budget_min is not None:
                plan.fit(cfg.lab.budget_min)
            heading = f"lab {shown(Path(cfg.run_dir))}, on {_described(machine)}"
            for line in (heading, *plan.lines(), *_kept(cfg, tasks, plan)):
                log.info(line)
            if cfg.lab.dry_run:
                return
            state.keep_pilots(pilots, machine)
            failed = _run_all(cfg, tasks, state, plan, begun)
        log.info(f"took {duration_in_words(time.monotonic() - begun)}")
    if failed:
        log.error(f"failed: {', '.join(failed)}")
        sys.exit(1)


def _run_all(cfg: DictConfig, tasks: Tasks, state: State, plan: Plan, begun: float) -> list[str]:
    """Runs what is not done, and writes the report, however that ends; what failed."""
    try:
        tasks.worker_rounds = plan.rounds
        if WORKERS in plan.has - plan.done:
            state.keep(rounds=[plan.rounds, plan.all_rounds])
        failed = _run_each(tasks.before_training(), state)
        if WORKERS in failed and tasks.trainings:
            return [*failed, f"so no {TRAINING}: it waits for the number of workers"]
        if not plan.is_fixed:
            if cfg.lab.budget_min is not None:  # what is left of it is known better now
                plan = Plan.of_lab(cfg, tasks, plan.pilots, is_fixed=False)
                plan.fit_trainings(usable_s(cfg.lab.budget_min) - (time.monotonic() - begun))
            tasks.limit, tasks.num_workers = plan.limit, tasks.best
            state.keep(limit=plan.limit, num_workers=tasks.best, budget_min=cfg.lab.budget_min)
        return failed + _run_each(tasks.training(), state)
    except RunInterrupted:
        log.error("interrupted; the same command resumes from here")  # noqa: TRY400
        raise
    finally:
        from hpml.lab.report.page import write_report  # which imports matplotlib

        log.info(f"report: {write_report(Path(cfg.run_dir), cfg.lab.published)}")


def _run_each(tasks: Iterable[Task], state: State) -> list[str]:
    """Runs what is not done; the names of what failed."""
    failed = []
    for task in tasks:
        if task.is_done:
            continue
        state.begins(task)
        log.info(f"\n{', '.join(task.parts).upper()}: {task.command}")
        if not run_task(task, state.folder):
            failed.append(task.key)
            if task.name == WORKERS:  # whose answer all the others need
                break
    return failed


def _check(cfg: DictConfig) -> None:
    """Raises UserError for what no part could run with."""
    check(cfg)
    check_name(str(cfg.lab.name), "lab.name")
    chosen = chosen_parts(cfg)
    unknown = [part for part in chosen if part not in PARTS]
    if unknown or not chosen:
        raise UserError(f"lab.parts=[{''.join(unknown[:1])}]: give some of {', '.join(PARTS)}")
    if given := [word for word in command_line.overrides() if key_of(word) == "optimizer"]:
        raise UserError(f"{given[0]}: the lab compares five optimizers; leave it out")
    epochs = cfg.trainer.max_epochs
    if (epochs or 0) < 1:
        raise UserError(f"trainer.max_epochs={epochs}: the lab plans by it; give at least 1")


def _devices(cfg: DictConfig) -> list[str]:
    """The device that is asked for, or those that are here; the first one trains."""
    if cfg.device != "auto":
        return [cfg.device]
    there = environment.probe_devices()
    devices = [*(name for name in ("gpu", "mps") if name in there), "cpu"]
    return devices if "c5" in chosen_parts(cfg) else devices[:1]


def _pilots(tasks: Tasks, measured: dict[str, Pilot]) -> dict[str, Pilot]:
    """A few steps on each device, of those that are not measured yet; counting needs none."""
    if tasks.has <= {SUMMARY}:
        return {}
    pilots = dict(measured)
    missing = [device for device in tasks.devices if device not in pilots]
    if missing:
        log.info(f"a few steps are measured on {' and '.join(missing)}")
        config = _composed([*tasks.common, *tasks.to_verify])
        fresh_process.run_in_fresh_process(look_at_data, config)
        start_s = measured_start_s()
    for device in missing:
        begun = time.monotonic()
        config = _composed([*tasks.common, f"device={device}"])
        short: Pilot = fresh_process.run_in_fresh_process(pilot, config)
        # what the other process took besides, and what it would take if it were no fork
        around_s = time.monotonic() - begun - short.steps_s + start_s
        pilots[device] = replace(short, around_s=around_s)
    return {device: pilots[device] for device in tasks.devices}


def _adopt_search(
    cfg: DictConfig, tasks: Tasks, settings: dict[str, Any], machine: dict[str, Any]
) -> None:
    """Takes over what `hpml.workers` has measured for this very job on such a machine before."""
    if WORKERS not in tasks.has - tasks.done:
        return
    file = found_before(Path(cfg.output_dir), settings, machine)
    if file and not disturbed_by(read_json(file) or {}):
        log.info(f"C3: {shown(file)} is the answer already")
        if not cfg.lab.dry_run:
            (tasks.folder / WORKERS).mkdir(parents=True, exist_ok=True)
            write_whole(tasks.folder / WORKERS / file.name, file.read_text(encoding="utf-8"))


def _settings(tasks: Tasks) -> dict[str, Any]:
    """Settings of all trainings. Raises UserError for one that no training could have."""
    given = any(key_of(word).startswith("optimizer.") for word in command_line.overrides())
    for optimizer in OPTIMIZERS if given and "c6" in tasks.chosen else ():
        _composed([*tasks.common, f"optimizer={optimizer}"])  # which may not have that key
    return identifying(_composed(tasks.common))


def _composed(overrides: Sequence[str]) -> dict[str, Any]:
    """A training's configuration, checked and resolved."""
    cfg = composed("train", overrides, overrides[-1])
    check(cfg)
    return resolve(cfg)


def _kept(cfg: DictConfig, tasks: Tasks, plan: Plan) -> Iterator[str]:
    """What trainings take over from those before, for all of them are compared."""
    if plan.is_fixed and tasks.trainings:
        if cfg.lab.budget_min is not None:
            yield "trainings stay as long as those that are there, whatever lab.budget_min is"
        if tasks.to_train_with != tasks.best:
            yield f"trainings stay with data.num_workers={tasks.to_train_with}, as those before"


@contextmanager
def _disk_errors_in_one_line(folder: Path) -> Iterator[None]:
    """Reports what a disk refuses in one line; no empty folder stays behind."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{error.filename or folder}: {error.strerror or error}") from error
    finally:
        remove_empty(folder)


def _slug(machine: dict[str, Any]) -> str:
    """A folder's name for machines of one kind: nodes of a cluster are alike."""
    words = _described(machine | {"accelerators": sorted(set(machine["accelerators"]))})
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")[:100]


def _described(machine: dict[str, Any]) -> str:
    return ", ".join([machine["cpu"], f"{machine['cpu_cores']} cores", *machine["accelerators"]])


if __name__ == "__main__":
    main()
