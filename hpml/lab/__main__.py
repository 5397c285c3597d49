"""`python -m hpml.lab [overrides]`: the whole lab, chained, and one report."""

from __future__ import annotations

import json
import logging
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import DictConfig

from hpml import environment, isolated
from hpml.cli import run_hydra
from hpml.config import check, resolve
from hpml.errors import UserError
from hpml.interrupt import Interrupted
from hpml.lab.parts import PARTS
from hpml.lab.plan import RESERVE, Pilot, Plan, pilot
from hpml.lab.tasks import LAB_FILE, Task, Tasks, chosen_parts
from hpml.records import now
from hpml.sweep.folder import NOT_IN_A_NAME
from hpml.sweep.process import JobProcess
from hpml.units import duration_in_words

log = logging.getLogger("hpml")

POLL_S, GRACE_S = 0.05, 90.0


def main() -> None:
    """The program `python -m hpml.lab`."""
    run_hydra(job, config_name="lab", sweeps=False)


def job(cfg: DictConfig) -> None:
    """Plans, runs what is not done yet, and writes the report over all machines' results."""
    begun = time.monotonic()
    _check(cfg)
    if busy := environment.warning_of_others():
        log.warning(f"warning: {busy}")
    overrides = _overrides()
    pilots = _pilots(cfg, Tasks(cfg, overrides, Path(), []))
    machine = next(iter(pilots.values())).environment
    folder = Path(cfg.run_dir) / _slug(machine)
    tasks = Tasks(cfg, overrides, folder, list(pilots))
    state = _State(folder, tasks, cfg)
    plan = Plan.of_lab(cfg, tasks, pilots, state.limit, state.is_planned)
    budget_s = None if cfg.lab.budget_min is None else (1 - RESERVE) * 60 * cfg.lab.budget_min
    if budget_s is not None and not state.is_planned:
        plan.fit(budget_s)
    for line in plan.lines(f"lab {cfg.run_dir}, on {_described(machine)}"):
        log.info(line)
    if cfg.lab.dry_run:
        return
    failed: list[str] = []
    with state.locked():
        state.keep(environment=machine, pilots={name: asdict(one) for name, one in pilots.items()})
        try:
            tasks.worker_rounds = plan.rounds
            failed += _run_all(tasks.before_training(), state)
            if budget_s is not None and not state.is_planned:  # what is left is known better now
                plan.fit_trainings(budget_s - (time.monotonic() - begun))
            tasks.limit = plan.limit
            state.keep(is_planned=True, limit=plan.limit, budget_min=cfg.lab.budget_min)
            failed += _run_all(tasks.training(), state)
        except Interrupted:
            _report(Path(cfg.run_dir))
            log.error("interrupted; the same command goes on from here")  # noqa: TRY400
            raise
    _report(Path(cfg.run_dir))
    log.info(f"took {duration_in_words(time.monotonic() - begun)}")
    if failed:
        log.error(f"failed: {', '.join(failed)}")
        sys.exit(1)


class _State:
    """What the lab knows of its work on this machine, in a file.

    Raises UserError where the lab of this name was begun with another command line.
    """

    def __init__(self, folder: Path, tasks: Tasks, cfg: DictConfig) -> None:
        self.folder = folder
        self._file = folder / LAB_FILE
        self._lock = FileLock(folder / ".lock")
        self._name = cfg.lab.name
        try:
            self._known: dict[str, Any] = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self._known = {
                "started_at": now(),
                "typed": tasks.typed,
                "common": tasks.common,
                "has_norm": tasks.has_norm,
                "commands": {},
            }
        before = self._known.get("common", [])
        if before != tasks.common:
            differ = sorted(set(before) ^ set(tasks.common))
            raise UserError(
                f"lab.name={self._name}: was begun with other settings here "
                f"({', '.join(differ)}); give another name"
            )

    @property
    def is_planned(self) -> bool:
        """Whether the length of the trainings is decided."""
        return bool(self._known.get("is_planned"))

    @property
    def limit(self) -> int | None:
        """Of training batches an epoch, as it was decided."""
        return self._known.get("limit")

    def locked(self) -> FileLock:
        """The folder for this process alone. Raises UserError where another lab is in it."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise UserError(
                f"lab.name={self._name}: another lab is at work in {self.folder}"
            ) from error
        except OSError as error:
            raise UserError(f"{error.filename} cannot be written: {error.strerror}") from error
        return self._lock

    def keep(self, **facts: Any) -> None:
        """Writes facts down."""
        self._known |= facts
        self._file.write_text(json.dumps(self._known, indent=1) + "\n", encoding="utf-8")

    def begins(self, task: Task) -> None:
        """Writes a task's command down, for the report."""
        commands = self._known["commands"]
        self.keep(commands=commands | {task.key: task.command})


def _run_all(tasks: Iterable[Task], state: _State) -> list[str]:
    """Runs what is not done; the names of what failed."""
    failed = []
    for task in tasks:
        state.begins(task)
        if task.result is not None and task.result.exists():
            continue
        log.info(f"\n{', '.join(task.parts).upper()}: {task.command}")
        if not _run(task, state.folder):
            failed.append(task.name)
    return failed


def _run(task: Task, folder: Path) -> bool:
    """One command, in a session of its own, which ends with this process; whether it completed.

    Raises UserError where the command found its input wrong, and Interrupted after a signal, when
    it has ended.
    """
    if task.output is not None:
        return _print_to(task.output, task)
    directory = folder / "logs" / task.key
    directory.mkdir(parents=True, exist_ok=True)
    process = JobProcess(task.to_start, directory, shown=True, environment={})
    try:
        while (exit_code := process.poll()) is None:
            time.sleep(POLL_S)
    except Interrupted as interrupted:
        process.send(interrupted.signal_number, to_all=False)
        until = time.monotonic() + GRACE_S
        while process.poll() is None and time.monotonic() < until:
            time.sleep(POLL_S)
        raise
    finally:
        process.clear()
    if exit_code == 2:
        raise UserError(f"{', '.join(task.parts)} could not begin: {process.tail}")
    if exit_code < 0 and -exit_code in (signal.SIGINT, signal.SIGTERM):
        raise Interrupted(-exit_code)
    return exit_code == 0


def _print_to(file: Path, task: Task) -> bool:
    """One short command, whose standard output a file keeps; whether it completed."""
    done = subprocess.run(task.to_start, stdout=subprocess.PIPE, check=False)
    if done.returncode == 0:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(done.stdout)
    return done.returncode == 0


def _check(cfg: DictConfig) -> None:
    """Raises UserError for what no part could run with."""
    check(cfg)
    name = str(cfg.lab.name)
    if name.strip() in ("", ".", "..") or NOT_IN_A_NAME & set(name):
        raise UserError(f"lab.name={name}: give a plain name, such as lab or 2026-01-01_a")
    for part in chosen_parts(cfg):
        if part not in PARTS:
            raise UserError(f"lab.parts=[{part}]: give some of {', '.join(PARTS)}")
    if not chosen_parts(cfg):
        raise UserError("lab.parts=[]: give some of " + ", ".join(PARTS))
    for override in _overrides():
        if override.startswith("optimizer="):
            raise UserError(f"{override}: the lab compares five optimizers; leave it out")


def _pilots(cfg: DictConfig, tasks: Tasks) -> dict[str, Pilot]:
    """A few steps on each device that trains: the one that is asked for, or all that are here."""
    if cfg.device != "auto":
        devices = [cfg.device]
    else:
        here = [name for name in ("gpu", "mps") if name in environment.probe_devices()]
        devices = [*here, "cpu"] if "c5" in tasks.chosen else [*here, "cpu"][:1]
    log.info(f"a few steps are measured on {' and '.join(devices)}")
    found = {}
    for device in devices:
        begun = time.monotonic()
        one: Pilot = isolated.call(pilot, _composed(tasks.common, device))
        # what the other process took besides: its start
        around_s = time.monotonic() - begun - (one.steps_s)
        found[device] = one.starting_in(around_s)
    return found


def _composed(common: Sequence[str], device: str) -> dict[str, Any]:
    """A training's configuration, resolved."""
    import hydra

    return resolve(hydra.compose("train", [*common, f"device={device}"]))


def _report(lab: Path) -> None:
    from hpml.lab.sections import write_report

    log.info(f"report: {write_report(lab)}")


def _slug(machine: dict[str, Any]) -> str:
    """A folder's name for machines of one kind: nodes of a cluster are alike."""
    words = [machine["cpu"], f"{machine['cpu_cores']} cores", *sorted(set(machine["accelerators"]))]
    return re.sub(r"[^a-z0-9]+", "-", " ".join(words).lower()).strip("-")[:100]


def _described(machine: dict[str, Any]) -> str:
    return ", ".join([machine["cpu"], f"{machine['cpu_cores']} cores", *machine["accelerators"]])


def _overrides() -> list[str]:
    from hydra.core.hydra_config import HydraConfig

    return list(HydraConfig.get().overrides.task)


if __name__ == "__main__":
    main()
