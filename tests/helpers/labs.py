"""Results of parts of the lab that never ran."""

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpml.trials.pace import Pace, Timed
from hpml.worker_counts.answer import content_of, recommended
from hpml.worker_counts.command import KEY
from hpml.worker_counts.search_result import EPOCH, LOADING, SearchResult

FACTS: dict[str, Any] = {"name": "resnet18", "trainable_parameters": 11_173_962}
FACTS |= {"conv_layers": 20, "conv_layers_main_path": 17, "conv_layers_shortcuts": 3}
FACTS |= {"linear_in_features": 512, "first_steps_by_seed": {}}


def search_result(epoch_s: Mapping[int, float]) -> dict[str, Any]:
    """Of a search for workers: an epoch's seconds, end to end, by their number; loading is half."""
    found, generator = SearchResult(), random.Random(0)
    for count, seconds in epoch_s.items():
        for number in range(5):
            measured_s = seconds * generator.gauss(1, 0.01)
            found.add((LOADING, count), number, timed(measured_s / 2))
            found.add((EPOCH, count), number, timed(measured_s))
    content = content_of(found, 0, KEY, f"{KEY}={recommended(found, 0)}")
    return content | {"also": {}, "command": "c"}


def timed(seconds: float) -> Timed:
    return Timed(seconds, Pace(seconds / 100, 0.0, None))


def keep(file: Path, content: object) -> None:
    """Writes a result as JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))
