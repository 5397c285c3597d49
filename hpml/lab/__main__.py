"""`python -m hpml.lab [overrides]`: the whole lab, chained, and one report."""

import logging
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from time import localtime, monotonic, strftime, time
from typing import Any

from omegaconf import DictConfig, OmegaConf

from hpml.cli.program import run_hydra
from hpml.cli.wrong_input import composed
from hpml.config import command_line
from hpml.config.checks import check
from hpml.config.conf import resolve
from hpml.config.cpu import set_waiting
from hpml.config.fingerprint import identifying, key_of
from hpml.config.lab_advice import of_the_lab
from hpml.errors import UserError
from hpml.formatting import decimals, duration_in_words
from hpml.lab.parts import OPTIMIZERS, PARTS, SUMMARY, TRAINING, WORKERS
from hpml.lab.pilot import Pilot, look_at_data, measured_start_s, pilot
from hpml.lab.pilot_cache import PilotCache
from hpml.lab.plan import SWEEPS
from hpml.lab.plan_choice import Decided, decide, shortened
from hpml.lab.progress import what_ran
from hpml.lab.run_task import run_task
from hpml.lab.state import ALL, State
from hpml.lab.tasks import HOLDS, Task, Tasks, chosen_parts, shown
from hpml.lab.unanswered import disturbed_by
from hpml.sweep.directory import check_name
from hpml.system import environment, exit_codes, fresh_process
from hpml.system.files import disk_errors_in_one_line, read_json, remove_empty, write_json
from hpml.system.other_programs import warn_of_others
from hpml.system.signals import RunInterrupted
from hpml.worker_counts.command import found_before

log = logging.getLogger("hpml")

RESUMES = (None, "auto", "never")  # which hold for any training
NO_VALIDATION = "the lab's trainings have no validation"
# What no training of the lab may have, the value that changes nothing, and why it may not.
REFUSED = {
    "trainer.max_steps": (-1, "the lab plans by trainer.max_epochs"),
    "trainer.max_time": (None, "the lab plans by trainer.max_epochs"),
    "trainer.fast_dev_run": (False, "the lab plans by trainer.max_epochs"),
    "sweep.parallel": (None, "the lab times its trainings one by one"),
    "sweep.dry_run": (False, "the lab has lab.dry_run"),
}


def main() -> None:
    run_hydra(job, config_name="lab", sweeps=False)


def job(cfg: DictConfig) -> None:
    """Plans, runs what is not done yet, and writes the report over all machines' results.

    Raises UserError for wrong input, also where a part finds it, and where nothing can be written.
    """
    begun = monotonic()
    with disk_errors_in_one_line(Path(cfg.run_dir)), ExitStack() as stack:
        stack.callback(remove_empty, Path(cfg.run_dir))
        _check(cfg)
        warn_of_others()
        set_waiting(cfg)
        machine = fresh_process.run_in_fresh_process(environment.describe)
        folder, name = Path(cfg.run_dir) / _slug(machine), str(cfg.lab.name)
        tasks = Tasks(cfg, command_line.overrides(), folder, _devices(cfg, machine))
        for sentence in _without_effect(tasks):
            log.warning(sentence)
        settings = _settings(tasks)
        state = State(name, tasks, settings, machine["host"])
        with nullcontext() if cfg.lab.dry_run else state.locked():
            _adopt_search(cfg, tasks, settings, machine)
            cache = PilotCache(Path(cfg.output_dir) / "labs", settings, machine)
            measuring = monotonic()
            pilots = _pilots(tasks, state.pilots | cache.read(), cache)
            # else a plan would be another one after a dry run, which has measured already
            spent_s = 0.0 if cfg.lab.dry_run else monotonic() - measuring
            decided = decide(cfg, tasks, state, pilots, spent_s)
            heading = f"lab {shown(Path(cfg.run_dir))}, on {_described(machine)}"
            for line in (heading, *decided.lines(name)):
                log.info(line)
            if decided.plan.left and (warning := state.other_hosts):
                log.warning(warning)
            if cfg.lab.dry_run:
                return
            state.keep_pilots(pilots, machine)
            if decided.plan.left and not decided.is_resumed:
                state.keep_plan(decided.plan.left, **decided.facts)
            failed = _run_all(cfg, decided, state, begun)
        log.info(f"took {duration_in_words(monotonic() - begun)}")
    if failed:
        log.error(f"failed: {', '.join(failed)}")
        sys.exit(exit_codes.FAILED)


def _run_all(cfg: DictConfig, decided: Decided, state: State, begun: float) -> list[str]:
    """Runs what is not done, and writes the report, however that ends; what failed."""
    plan, tasks = decided.plan, decided.tasks
    try:
        if WORKERS in plan.has - plan.done:
            state.keep(rounds=[plan.rounds, plan.all_rounds])
        failed = _run_each(tasks.before_training(), tasks, state)
        if WORKERS in failed and tasks.trainings:
            return [*failed, f"so no {TRAINING}: it waits for the number of workers"]
        if not plan.is_fixed:
            plan, change = shortened(cfg, plan, tasks, monotonic() - begun)
            if change:
                log.info(f"\n{change}")
                state.change_plan(change, limit=plan.limit)
            tasks.limit, tasks.num_workers = plan.limit, tasks.best
            state.keep(limit=plan.limit, num_workers=tasks.best, budget_min=cfg.lab.budget_min)
        return failed + _run_each(tasks.training(), tasks, state)
    except RunInterrupted:
        log.error("interrupted; the same command resumes from here")  # noqa: TRY400
        raise
    finally:
        from hpml.lab.report.page import write_report  # which imports matplotlib

        if decided.plan.left:
            state.took(ALL, monotonic() - begun)
        log.info(f"report: {write_report(Path(cfg.run_dir), cfg.lab.published)}")


def _run_each(each: Iterable[Task], tasks: Tasks, state: State) -> list[str]:
    """Runs what is not done; the names of what failed."""
    failed = []
    for task in each:
        if task.is_done:
            continue
        state.begins(task)
        log.info(f"\n{', '.join(task.parts).upper()}: {task.command}")
        begun = monotonic()
        try:
            is_complete = run_task(task, state.folder)
        finally:
            ran = what_ran(task.name, tasks, state.announced(task.name))
            state.took(task.name, monotonic() - begun, ran)
        if not is_complete:
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
    given = {key_of(word): word for word in command_line.overrides()}
    validates = "trainer.limit_val_batches" in given and cfg.trainer.limit_val_batches != 0
    split = cfg.data.get("val_split") and not validates
    absent = "monitor" in given and str(cfg.monitor).startswith("val/") and not validates
    why = {
        "optimizer": "the lab compares five optimizers" if "optimizer" in given else "",
        "evaluate": "the lab trains" if cfg.evaluate is not None else "",
        "resume": "" if cfg.resume in RESUMES else "the lab has several trainings",
        "data.val_split": NO_VALIDATION if split else "",
        "monitor": NO_VALIDATION if absent else "",
        **{
            key: reason
            for key, (plain, reason) in REFUSED.items()
            if OmegaConf.select(cfg, key) != plain  # given, or in a file of the user's own
        },
    }
    for key, reason in why.items():
        if reason:
            word = given.get(key, f"{key}={OmegaConf.select(cfg, key)}")
            raise UserError(f"{word}: {reason}; leave it out")
    epochs = cfg.trainer.max_epochs
    if (epochs or 0) < 1:
        raise UserError(f"trainer.max_epochs={epochs}: the lab plans by it; give at least 1")


def _without_effect(tasks: Tasks) -> Iterator[str]:
    """A sentence for each word of the command line, or part, that changes nothing here."""
    given = {key_of(word): word for word in command_line.overrides()}
    searched = WORKERS in tasks.has or tasks.search is not None
    why = {
        "data.num_workers": "C3 finds the number of workers" if searched else "",
        "sweep.name": "lab.name names the folders",
        "lab.seeds": "" if tasks.has & {*SWEEPS} else "none of these parts trains",
    }
    for key in why.keys() & given.keys():
        if why[key]:
            yield f"{given[key]} has no effect: {why[key]}"
    if "c7" in tasks.chosen and not tasks.has_norm:
        yield "c7 has no effect: the network has no model.norm that is true"


def _devices(cfg: DictConfig, machine: dict[str, Any]) -> list[str]:
    """The device that is asked for, or those that are here; the first one trains."""
    if cfg.device != "auto":
        return [cfg.device]
    kinds = ["mps" if name == environment.MPS else "gpu" for name in machine["accelerators"]]
    devices = list(dict.fromkeys([*kinds, "cpu"]))
    return devices if "c5" in chosen_parts(cfg) else devices[:1]


def _pilots(tasks: Tasks, known: dict[str, Pilot], cache: PilotCache) -> dict[str, Pilot]:
    """A few steps on each device, of those that are not measured yet; counting needs none."""
    if tasks.has <= {SUMMARY}:
        return {}
    pilots = dict(known)
    missing = [device for device in tasks.devices if device not in pilots]
    if missing:
        log.info(f"the data is looked at, and a few steps are measured on {' and '.join(missing)}")
        config = _composed([*tasks.common, *tasks.to_verify])
        fresh_process.run_in_fresh_process(look_at_data, config)
        start_s = measured_start_s()
    for device in missing:
        begun = monotonic()
        config = _composed([*tasks.common, f"device={device}"])
        short: Pilot = fresh_process.run_in_fresh_process(pilot, config)
        # what the other process took besides, and what it would take if it were no fork
        around_s = monotonic() - begun - short.steps_s + start_s
        at = time()
        pilots[device] = replace(short, around_s=around_s, start_s=start_s, measured_at=at)
    for device in tasks.devices:
        if device not in missing:
            step_s = pilots[device].step_s
            when = strftime("%H:%M", localtime(pilots[device].measured_at))
            step = f"{step_s:.{decimals(step_s)}f} s"
            log.info(f"a step takes {step} on {device}, as measured at {when}")
    cache.keep({device: pilots[device] for device in missing})
    return {device: pilots[device] for device in tasks.devices}


def _adopt_search(
    cfg: DictConfig, tasks: Tasks, settings: dict[str, Any], machine: dict[str, Any]
) -> None:
    """Takes over what `hpml.workers` has measured for this very job on such a machine before."""
    if WORKERS not in tasks.has - tasks.done or cfg.get("workers"):  # one of its own is asked for
        return
    file = found_before(Path(cfg.output_dir), settings, machine)
    found = read_json(file, *HOLDS[WORKERS]) if file else None
    if file and found and not disturbed_by(found):
        log.info(f"C3: {shown(file)} is the answer already")
        if not cfg.lab.dry_run:
            found["sentences"] = [of_the_lab(str(each)) for each in found["sentences"] or ()]
            (tasks.folder / WORKERS).mkdir(parents=True, exist_ok=True)
            write_json(tasks.folder / WORKERS / file.name, found)


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


def _slug(machine: dict[str, Any]) -> str:
    """A folder's name for machines of one kind: nodes of a cluster are alike."""
    words = _described(machine | {"accelerators": sorted(set(machine["accelerators"]))})
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")[:100]


def _described(machine: dict[str, Any]) -> str:
    return ", ".join([machine["cpu"], f"{machine['cpu_cores']} cores", *machine["accelerators"]])


if __name__ == "__main__":
    main()
