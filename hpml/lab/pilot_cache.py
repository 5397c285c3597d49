"""What pilots have measured, kept for the commands to come on the same machine."""

import hashlib
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from hpml.lab.pilot import Pilot
from hpml.system.files import read_json, write_json
from hpml.worker_counts.command import OF_A_MACHINE, searched

# Below the folder of all labs, where no lab can have its own.
FOLDER = ".paces"
# What else a machine has to do changes by the hour; and so may the data.
KEPT_S = 3600.0


class PilotCache:
    """The pilots of one job on one machine, by device: a file below the folder of all labs.

    `settings` are those of the trainings, as dotted keys; `machine` as `environment.describe` has
    it. What neither loading nor a step depends on does not tell jobs apart.
    """

    def __init__(self, labs: Path, settings: Mapping[str, Any], machine: Mapping[str, Any]) -> None:
        of = {
            "job": searched(settings),
            "machine": {key: machine.get(key) for key in OF_A_MACHINE},
        }
        text = json.dumps(of, sort_keys=True, default=str)
        self._of = json.loads(text)
        self._file = labs / FOLDER / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"

    def read(self) -> dict[str, Pilot]:
        """Those that are not older than KEPT_S."""
        pilots = pilots_of((read_json(self._file, "pilots") or {"pilots": {}})["pilots"])
        now = time.time()
        return {k: of for k, of in pilots.items() if 0 <= now - of.measured_at < KEPT_S}

    def keep(self, pilots: Mapping[str, Pilot]) -> None:
        """Adds what was measured now; where nothing can be written it is measured again."""
        kept = (read_json(self._file, "pilots") or {"pilots": {}})["pilots"]
        now = {device: asdict(pilot) for device, pilot in pilots.items()}
        content = self._of | {"pilots": kept | now}
        with suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_json(self._file, content)


def pilots_of(kept: Mapping[str, Any]) -> dict[str, Pilot]:
    """Pilots as a file has them; without those of another version."""
    names = {field.name for field in fields(Pilot)}
    return {device: Pilot(**of) for device, of in kept.items() if of.keys() == names}
