"""`python -m hpml.workers [overrides]`: finds the number of loading processes by measuring."""

import json
import logging
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from hpml.cli.measuring import begin_measuring
from hpml.cli.program import run_hydra
from hpml.config import command_line
from hpml.config.auto import AUTO, device_type, on_device
from hpml.config.checks import check
from hpml.config.conf import resolve
from hpml.config.fingerprint import identifying, is_left_out
from hpml.errors import UserError
from hpml.system import environment
from hpml.system.files import disk_errors_in_one_line, read_json, write_json
from hpml.system.signals import RunInterrupted, signals_held

log = logging.getLogger("hpml")

FILE_NAME = "workers.json"
KEY = "data.num_workers"
# Keys of a job that its loading and its step do not depend on.
NOT_SEARCHED = (
    *("workers", KEY, "monitor", "seed", "optimizer.lr"),
    *("trainer.max_epochs", "trainer.limit_val_batches", "trainer.enable_checkpointing"),
)
# Of a search that the lab takes over.
ENOUGH_ROUNDS = 3
# What a machine's search is good for.
OF_A_MACHINE = ("cpu", "cpu_cores", "accelerators", "torch", "hpml")
THREADS = "threads"  # in `workers.also`, for cpu.threads
# What else it may name, of `data`, and the values that are tried of it.
ALSO: Mapping[str, tuple[Any, ...]] = {
    "persistent_workers": (True, False),
    "prefetch_factor": (1, 2, 4, 8),
    "pin_memory": (True, False),
}


def main() -> None:
    run_hydra(job, config_name="workers", sweeps=False)


def job(cfg: DictConfig) -> None:
    """Searches, reports both answers, and keeps `workers.json` and a picture."""
    check(cfg)
    also = _also(cfg)
    begin_measuring(cfg, as_ranks=False)  # each process would search by itself
    with signals_held():
        from hpml.worker_counts import answer, measure, picture  # and torch

    measure.check_seconds(cfg.workers.budget_s, "workers.budget_s")
    with closing(measure.ConfiguredSearch(cfg, log.info)) as search:
        found = search.run()
        now = int(cfg.data.num_workers)
        best = answer.recommended(found, now)
        content = answer.content_of(found, now, KEY, f"{KEY}={best}")
        log.info("\n".join([*answer.lines(found, "workers"), *content["sentences"]]))
        tried = None
        if also and not found.was_interrupted:
            try:
                tried = search.also(best, also)
            except (KeyboardInterrupt, RunInterrupted):
                log.info("interrupted: workers.also has no answer")
        if tried is not None:
            log.info("\n".join([*answer.lines(tried, f"{KEY}={best}"), *answer.failures(tried)]))
    content |= {
        "also": tried.as_dict() if tried is not None else {},
        "command": command_line.typed(),
        "environment": environment.describe(device_type(cfg)),
        "job": searched(identifying(resolve(cfg))),
        "search": {"rounds": cfg.workers.rounds, "most": cfg.workers.most},
    }
    directory = Path(cfg.run_dir)
    with disk_errors_in_one_line(directory):
        write_json(directory / FILE_NAME, content)
        picture.draw_workers(content, directory)
    log.info(f"kept: {directory / FILE_NAME}, workers.png, workers.svg")
    log.info(answer.advice(content))


def searched(job: Mapping[str, Any]) -> dict[str, Any]:
    """The part of what identifies a job that a search for its workers depends on."""
    return {key: value for key, value in job.items() if not is_left_out(key, NOT_SEARCHED)}


def found_before(
    output_dir: Path, job: Mapping[str, Any], machine: Mapping[str, Any]
) -> Path | None:
    """The file of the last whole search, below `output_dir`, for a job on a machine like this.

    The job is what identifies it, as dotted keys; the machine as `environment.describe` has it.
    """
    wanted = json.loads(json.dumps(searched(job), default=str))  # as it comes back
    files = output_dir.glob(f"workers/*/*/{FILE_NAME}")
    for file in sorted(files, key=lambda file: file.stat().st_mtime, reverse=True):
        earlier = read_json(file, "job", "environment", "search")
        if (
            earlier is not None
            and not earlier.get("interrupted")
            and earlier["job"] == wanted
            and earlier["search"]["most"] is None
            and _is_whole(earlier)
            and all(earlier["environment"].get(key) == machine.get(key) for key in OF_A_MACHINE)
        ):
            return file
    return None


def _is_whole(earlier: dict[str, Any]) -> bool:
    """Whether it was asked for enough rounds, or went on until it was answered."""
    rounds = earlier["search"]["rounds"]
    return earlier.get("answered", True) if rounds is None else rounds >= ENOUGH_ROUNDS


def _also(cfg: DictConfig) -> dict[str, tuple[Any, ...]]:
    """What is tried also, by key.

    Raises UserError where that, or no number of workers could be tried.
    """
    if "num_workers" not in cfg.data:
        raise UserError(f"{KEY}: the data module of data._target_ has no such argument")
    pipeline = cfg.data.get("pipeline")
    if pipeline == AUTO:
        pipeline = on_device(cfg)[0].data.get("pipeline")
    if pipeline == "device":
        raise UserError(
            f"data.pipeline={cfg.data.pipeline}: loads nothing in workers; give per_sample or "
            "batched"
        )
    also = cfg.workers.also or []
    also = [also] if isinstance(also, str) else list(also)
    of_data = [name for name in also if name != THREADS]
    unknown = [name for name in of_data if name not in ALSO]
    unknown += [f"{name}: data has no such key" for name in of_data if name not in cfg.data]
    if unknown:
        raise UserError(f"workers.also={unknown[0]}: give some of {', '.join([*ALSO, THREADS])}")
    settings: dict[str, tuple[Any, ...]] = {f"data.{name}": ALSO[name] for name in of_data}
    if THREADS in also:
        settings[f"cpu.{THREADS}"] = tuple(sorted({1, environment.usable_cores()}))
    return settings
