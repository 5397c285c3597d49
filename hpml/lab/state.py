"""What the lab knows of its work on one machine: a file, from which the same command resumes."""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import Any

from hpml.config.fingerprint import difference
from hpml.errors import UserError
from hpml.lab.pilot import Pilot
from hpml.lab.pilot_cache import pilots_of
from hpml.lab.plan import REPORT, Planned
from hpml.lab.tasks import LAB_FILE, Task, Tasks
from hpml.records.run_record import FILE_NAME, now
from hpml.system import files
from hpml.system.files import read_json, write_json

# In a plan's tasks: what all of them took, with the lab's own start.
ALL = "all"


class State:
    """The file of a lab's folder, and its lock.

    Raises UserError where the lab was begun with other settings here, and where the file cannot be
    read. `settings` are those of all trainings, as dotted keys; `host` is this machine's name.
    """

    def __init__(self, name: str, tasks: Tasks, settings: Mapping[str, Any], host: str) -> None:
        self.folder = tasks.folder
        self._file = tasks.folder / LAB_FILE
        self._name, self._host = name, host
        self._facts: dict[str, Any] = {
            "started_at": now(),
            "settings": json.loads(json.dumps(settings, default=str)),  # as they come back
            "typed": tasks.typed,
            "has_norm": tasks.has_norm,
            "pilots": {},
            "commands": {},
        }
        # which files of earlier versions have not
        later: dict[str, Any] = {"plans": [], "hosts": []}
        if self._file.exists():
            kept = read_json(self._file, *self._facts)
            if kept is None:
                raise UserError(f"{self._file}: cannot be read; give another lab.name")
            if differ := difference(kept["settings"], self._facts["settings"]):
                raise UserError(f"lab.name={name}: was begun here with {differ}; give another name")
            self._facts = kept | {"typed": tasks.typed}
            before = (kept.get("environment") or {}).get("host")
            later["hosts"] = [before] if before else []
        self._facts = later | self._facts

    @property
    def has_begun(self) -> bool:
        """Whether there is a training: all others have to be as long."""
        return next(self.folder.glob(f"*/*/{FILE_NAME}"), None) is not None

    def of_trainings(self, fact: str) -> int | None:
        """`limit` (batches an epoch) or `num_workers` of the trainings, once one has begun."""
        return self._facts.get(fact) if self.has_begun else None

    @property
    def other_hosts(self) -> str:
        """A warning where another machine of this kind has results here; else nothing."""
        others = [host for host in self._facts["hosts"] if host != self._host]
        return (
            f"lab.name={self._name}: was run on {', '.join(others)} too, of the same kind as "
            f"{self._host}: a table that has times of several hosts says so; another lab.name "
            "keeps them apart"
        ) * bool(others)

    @property
    def pilots(self) -> dict[str, Pilot]:
        return pilots_of(self._facts["pilots"])

    def plan_of(self, asked: Mapping[str, Any], done: Iterable[str]) -> dict[str, Any] | None:
        """The last plan, where it was made for what is asked now and is not carried out yet.

        `asked` are the parts, the seeds and the budget; `done` are tasks.
        """
        plan: dict[str, Any] | None = next(reversed(self._facts["plans"]), None)
        if plan is None or plan["asked"] != asked or plan["tasks"].keys() <= {*done, REPORT, ALL}:
            return None
        return plan

    @contextmanager
    def locked(self) -> Iterator[None]:
        """The folder for this process alone. Raises UserError where another lab is in it."""
        if (lock := files.lock(self.folder)) is None:
            raise UserError(f"lab.name={self._name}: another lab is at work in {self.folder}")
        try:
            yield
        finally:
            lock.release()
            if not self._file.exists():  # of a lab that did not begin nothing stays behind
                with suppress(OSError):
                    (self.folder / files.LOCK).unlink()
                    self.folder.rmdir()

    def keep(self, **facts: Any) -> None:
        """Writes facts down. Raises OSError."""
        self._facts |= facts
        write_json(self._file, self._facts)

    def keep_pilots(self, pilots: Mapping[str, Pilot], machine: dict[str, Any]) -> None:
        """With the first one's environment; the machine's where nothing was measured."""
        of_all = {device: asdict(pilot) for device, pilot in pilots.items()}
        known = [*(pilot.environment for pilot in pilots.values()), self._facts.get("environment")]
        first = next((environment for environment in known if environment), machine)
        self.keep(environment=first, pilots=self._facts["pilots"] | of_all)

    def keep_plan(self, tasks: Iterable[Planned], **facts: Any) -> None:
        """Adds a plan, with its tasks as they are announced."""
        announced = {
            each.task: {"what": each.what, "seconds": each.seconds, "jobs": each.jobs}
            for each in tasks
        }
        self.keep(plans=[*self._facts["plans"], {"at": now(), **facts, "tasks": announced}])

    def announced(self, name: str) -> int:
        """The trainings of a sweep in the last plan."""
        return int(self._of_plan(name).get("jobs", 0))

    def change_plan(self, change: str, **facts: Any) -> None:
        """What of the last plan is no longer so, and in a sentence why."""
        plan = self._facts["plans"][-1]
        plan |= facts | {"changes": [*plan.get("changes", []), change]}
        self.keep()

    def begins(self, task: Task) -> None:
        """Writes a task's command and the host down, for the report; a sweep may have several."""
        commands = self._facts["commands"]
        before = commands.get(task.key, []) if task.result is None else []
        if task.command not in before:
            commands = commands | {task.key: [*before, task.command]}
        of_plan = self._of_plan(task.name)
        of_plan["starts"] = of_plan.get("starts", 0) + 1
        hosts = dict.fromkeys([*self._facts["hosts"], self._host])
        self.keep(commands=commands, hosts=list(hosts))

    def took(self, name: str, seconds: float, ran: str = "") -> None:
        """What a task of the last plan took, and what was run; a killed one tells nothing."""
        of_plan = self._of_plan(name)
        of_plan["took_s"] = of_plan.get("took_s", 0.0) + seconds
        of_plan["ends"] = of_plan.get("ends", 0) + 1
        of_plan["ran"] = ran
        self.keep()

    def _of_plan(self, name: str) -> dict[str, Any]:
        tasks: dict[str, dict[str, Any]] = self._facts["plans"][-1]["tasks"]
        return tasks.setdefault(name, {})
