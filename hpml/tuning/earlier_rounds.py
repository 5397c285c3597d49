"""Rounds of an earlier search of the same job on the same machine, to which another one adds."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from hpml.config.conf import resolve
from hpml.config.fingerprint import identifying
from hpml.errors import UserError, reason
from hpml.system.files import read_json
from hpml.trials.pace import JointPace, Pace, Timed
from hpml.trials.subject import Subject
from hpml.trials.trainer import accumulated

PARTS = ("job", "environment", "rounds")
MACHINE = ("host", "cpu", "cpu_cores", "accelerators", "python", "torch", "lightning")
Rounds = Mapping[str, Mapping[int, Timed]]  # by the names of changes, and by round


def identity(cfg: DictConfig) -> dict[str, Any]:
    """What a job computes, and how: without the keys of this program."""
    every = identifying(resolve(cfg))
    plain: dict[str, Any] = json.loads(json.dumps(every, default=str))
    return {key: value for key, value in plain.items() if not key.startswith("tune")}


def identity_of(subject: Subject) -> dict[str, Any]:
    """The same of anybody's job, of which a fit was tried: as far as it can be seen."""
    kind, trainer = type(subject.network), subject.trainer
    return {
        "module": f"{kind.__module__}.{kind.__qualname__}",
        "parameters": sum(each.numel() for each in subject.network.parameters()),
        "optimizers": [kind.__name__ for kind in subject.optimizer_kinds],
        "callbacks": list(subject.callbacks),
        "precision": str(trainer.precision),
        "accumulate_grad_batches": accumulated(trainer),
        "epoch_steps": subject.epoch_steps,
        "num_workers": subject.data.num_workers,
        "device": subject.device.type,
        **({"processes": ranks} if (ranks := subject.agreement.ranks) > 1 else {}),
    }


def read_rounds(
    file: Path, job: Mapping[str, Any], machine: Mapping[str, Any], key: str = "tune.resume"
) -> Rounds:
    """Those of a `tune.json` that count.

    Raises UserError for a file that is none, or of another `job` or `machine`.
    """
    key = f"{key}={file}"
    earlier = read_json(file, *PARTS)
    if earlier is None or not all(isinstance(earlier[part], dict) for part in PARTS):
        raise UserError(f"{key}: is no search that can be resumed; give the tune.json of one")
    seen: dict[str, Any] = json.loads(json.dumps(machine, default=str))
    pairs = [(earlier["job"], job, job.keys() | earlier["job"].keys(), "job")]
    pairs.append((earlier["environment"], seen, set(MACHINE), "machine"))
    for then, now, keys, what in pairs:
        if others := sorted(each for each in keys if then.get(each) != now.get(each)):
            differs = ", ".join(others[:3])
            raise UserError(f"{key}: is of another {what} ({differs}); leave it out")
    try:
        return _rounds(earlier["rounds"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{key}: its rounds cannot be read ({reason(error)}); give a tune.json as it was kept"
        ) from error


def _rounds(kept: Mapping[str, Any]) -> Rounds:
    search, out = kept["search"], set(kept.get("left_out", ()))
    return {
        name: {
            int(number): Timed(each["epoch_s"], _pace(each["pace"]), each.get("checks_s", 0.0))
            for number, each in rounds.items()
            if int(number) not in out
        }
        for name, rounds in search.items()
    }


def _pace(kept: Mapping[str, Any]) -> Pace:
    """As it was kept: of one process, or of several."""
    return (JointPace if "own_s" in kept else Pace)(**kept)
