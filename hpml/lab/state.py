"""What the lab knows of its work on one machine: a file, from which the same command resumes."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields
from typing import Any

from hpml.config.fingerprint import difference
from hpml.errors import UserError
from hpml.lab.pilot import Pilot
from hpml.lab.tasks import LAB_FILE, Task, Tasks
from hpml.records.run_record import FILE_NAME, now
from hpml.system import files
from hpml.system.files import read_json, write_whole


class State:
    """The file of a lab's folder, and its lock.

    Raises UserError where the lab was begun with other settings here, and where the file cannot be
    read. `settings` are those of all trainings, as dotted keys.
    """

    def __init__(self, name: str, tasks: Tasks, settings: Mapping[str, Any]) -> None:
        self.folder = tasks.folder
        self._file = tasks.folder / LAB_FILE
        self._name = name
        self._facts: dict[str, Any] = {
            "started_at": now(),
            "settings": json.loads(json.dumps(settings, default=str)),  # as they come back
            "typed": tasks.typed,
            "has_norm": tasks.has_norm,
            "pilots": {},
            "commands": {},
        }
        if self._file.exists():
            kept = read_json(self._file, *self._facts)
            if kept is None:
                raise UserError(f"{self._file}: cannot be read; give another lab.name")
            if differ := difference(kept["settings"], self._facts["settings"]):
                raise UserError(f"lab.name={name}: was begun here with {differ}; give another name")
            self._facts = kept | {"typed": tasks.typed}

    @property
    def has_begun(self) -> bool:
        """Whether there is a training: all others have to be as long."""
        return next(self.folder.glob(f"*/*/{FILE_NAME}"), None) is not None

    def of_trainings(self, fact: str) -> int | None:
        """`limit` (batches an epoch) or `num_workers` of the trainings, once one has begun."""
        return self._facts.get(fact) if self.has_begun else None

    @property
    def pilots(self) -> dict[str, Pilot]:
        names = {field.name for field in fields(Pilot)}  # of this version
        kept = self._facts["pilots"].items()
        return {device: Pilot(**of) for device, of in kept if of.keys() == names}

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
        write_whole(self._file, json.dumps(self._facts, indent=1) + "\n")

    def keep_pilots(self, pilots: Mapping[str, Pilot], machine: dict[str, Any]) -> None:
        """With the first one's environment; the machine's where nothing was measured."""
        of_all = {device: asdict(pilot) for device, pilot in pilots.items()}
        known = [*(pilot.environment for pilot in pilots.values()), self._facts.get("environment")]
        first = next((environment for environment in known if environment), machine)
        self.keep(environment=first, pilots=self._facts["pilots"] | of_all)

    def begins(self, task: Task) -> None:
        """Writes a task's command down, for the report; a sweep may have had several."""
        commands = self._facts["commands"]
        before = commands.get(task.key, []) if task.result is None else []
        if task.command not in before:
            self.keep(commands=commands | {task.key: [*before, task.command]})
