"""What the lab knows of its work on one machine: a file, from which the same command resumes."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import Any

from filelock import FileLock, Timeout

from hpml.errors import UserError
from hpml.lab.pilot import Pilot
from hpml.lab.tasks import LAB_FILE, Task, Tasks
from hpml.records.run_record import FILE_NAME, now
from hpml.system.files import LOCK, read_json, write_whole


class State:
    """The file of a lab's folder, and its lock.

    Args:
        name: of the lab.
        tasks: whose folder it is.
        settings: of all trainings, as dotted keys.

    Raises UserError where the lab was begun with other settings here, and where the file cannot be
    read.
    """

    def __init__(self, name: str, tasks: Tasks, settings: Mapping[str, Any]) -> None:
        self.folder = tasks.folder
        self._file = tasks.folder / LAB_FILE
        self._lock = FileLock(tasks.folder / LOCK)
        self._name = name
        settings = json.loads(json.dumps(settings, default=str))  # as they come back
        self._facts: dict[str, Any] = {
            "started_at": now(),
            "settings": settings,
            "typed": tasks.typed,
            "has_norm": tasks.has_norm,
            "pilots": {},
            "commands": {},
        }
        if self._file.exists():
            kept = read_json(self._file, *self._facts)
            if kept is None:
                raise UserError(f"{self._file}: cannot be read; give another lab.name")
            self._facts = kept | {"typed": tasks.typed}
        before = self._facts["settings"]
        differ = [
            f"{key}={json.dumps(before.get(key))} (now {json.dumps(settings.get(key))})"
            for key in before | settings
            if before.get(key) != settings.get(key)
        ]
        if differ:
            raise UserError(
                f"lab.name={name}: was begun here with {', '.join(differ[:3])}; give another name"
            )

    @property
    def has_begun(self) -> bool:
        """Whether there is a training: all others have to be as long."""
        return next(self.folder.glob(f"*/*/{FILE_NAME}"), None) is not None

    @property
    def limit(self) -> int | None:
        """Training batches an epoch, once a training has begun."""
        return self._facts.get("limit") if self.has_begun else None

    @property
    def num_workers(self) -> int | None:
        """Loading workers of the trainings, once one has begun."""
        return self._facts.get("num_workers") if self.has_begun else None

    @property
    def pilots(self) -> dict[str, Pilot]:
        pilots = {}
        for device, fields in self._facts["pilots"].items():
            with suppress(TypeError):  # another version's
                pilots[device] = Pilot(**fields)
        return pilots

    @contextmanager
    def locked(self) -> Iterator[None]:
        """The folder for this process alone. Raises UserError where another lab is in it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise UserError(
                f"lab.name={self._name}: another lab is at work in {self.folder}"
            ) from error
        try:
            yield
        finally:
            self._lock.release()
            if not self._file.exists():  # of a lab that did not begin nothing stays behind
                with suppress(OSError):
                    (self.folder / LOCK).unlink()
                    self.folder.rmdir()

    def keep(self, **facts: Any) -> None:
        """Writes facts down. Raises OSError."""
        self._facts |= facts
        write_whole(self._file, json.dumps(self._facts, indent=1) + "\n")

    def keep_pilots(self, pilots: Mapping[str, Pilot]) -> None:
        first = next(iter(pilots.values()))
        of_all = {device: asdict(pilot) for device, pilot in pilots.items()}
        self.keep(environment=first.environment, pilots=self._facts["pilots"] | of_all)

    def begins(self, task: Task) -> None:
        """Writes a task's command down, for the report; a sweep may have had several."""
        commands = self._facts["commands"]
        before = commands.get(task.key, []) if task.result is None else []
        if task.command not in before:
            self.keep(commands=commands | {task.key: [*before, task.command]})
