"""What can be changed about a job of our configuration, by keys that are typed."""

from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig

from hpml.config.auto import has_bfloat16, why_not_compiled
from hpml.data.decoder_choice import choose
from hpml.data.image_data_module import ImageDataModule
from hpml.errors import DataError
from hpml.records.phases import COMMUNICATION, COMPUTE, INPUT, OVERHEAD, TRANSFER
from hpml.system.environment import usable_cores
from hpml.training.prepare import Job
from hpml.trials.settings import PREFETCH_FACTOR, Settings
from hpml.tuning.change import Change, together
from hpml.tuning.changes.any_trainer import (
    PREFETCHED,
    price_of,
    thread_changes,
    threads_change,
    worker_counts,
)
from hpml.tuning.changes.batch_size import of_configuration
from hpml.tuning.changes.ddp import ALL_USED
from hpml.tuning.changes.less_often import LOG_EVERY


def changes_of(job: Job, threads: int, cores: int | None = None, ranks: int = 1) -> list[Change]:
    """All that may help a job on its device, which computes with so many threads.

    Each of its `ranks` has so many `cores`, by default all that there are.
    """
    cores = usable_cores() if cores is None else cores
    found = [*_of_loading(job, threads, cores), *_of_compute(job), *_of_overhead(job.cfg)]
    found += [*of_configuration(job, ranks), *_of_ranks(job.cfg)]
    return found + (thread_changes(threads, cores) if job.device == "cpu" else [])


def _of_loading(job: Job, threads: int, cores: int) -> Iterator[Change]:
    data, on_cpu = job.cfg.data, job.device == "cpu"
    pipeline, workers = data.get("pipeline"), data.get("num_workers")
    if pipeline == "per_sample":
        yield _change("data.pipeline", "batched", INPUT, redraws=True)
    is_whole = data.get("crop") != "resized"  # or each epoch needs the images as they are
    if data.get("in_memory") is False and is_whole:
        yield _change("data.in_memory", True, INPUT, "memory for all decoded images")
    yield from _of_decoding(data)
    if job.device == "cuda" and pipeline == "batched" and is_whole:
        price = "the images lie in the GPU's memory"
        yield _change("data.pipeline", "device", INPUT, price, redraws=True)
    if workers is None or pipeline == "device":
        return
    for count in worker_counts(workers, cores):
        change = workers_change(job, count)
        yield change
        if count and on_cpu and threads > 1:
            yield together(change, threads_change(1))
    if workers:
        for batches in PREFETCHED:
            if "prefetch_factor" in data and data.prefetch_factor != batches:
                yield _loader_change(job, "prefetch_factor", batches, "memory for more batches")
        if data.get("persistent_workers") is False:
            yield _loader_change(job, "persistent_workers", True, "workers stay between epochs")
    if job.device == "cuda" and data.get("pin_memory") is False:
        price = "memory that cannot be swapped"
        yield _loader_change(job, "pin_memory", True, price, TRANSFER)


def _of_decoding(data: DictConfig) -> Iterator[Change]:
    """The faster decoder, of images that are decoded whenever they are asked for."""
    decodes = data.get("encoded") != "none" and not data.get("in_memory")
    if "decoder" not in data or not decodes or data.get("pipeline") == "device":
        return
    try:
        choose("turbo")
        needs = ""
    except DataError as error:
        needs = str(error).partition(": ")[2]
    if data.decoder == "pillow" or (data.decoder == "auto" and needs):  # else it is in use
        yield _change("data.decoder", "turbo", INPUT, needs=needs)


def workers_change(job: Job, count: int) -> Change:
    """So many workers, of a job whose data has such a key."""
    data = job.cfg.data
    settings = {"num_workers": count, "persistent_workers": False}
    if count:
        settings["persistent_workers"] = data.get("persistent_workers") is not False
        settings["prefetch_factor"] = data.get("prefetch_factor") or PREFETCH_FACTOR
    return _loader_change(job, "num_workers", count, price_of(count), settings=settings)


def key_change(job: Job, key: str, value: Any) -> Change:
    """A value of one of the data's keys."""
    return _loader_change(job, key.removeprefix("data."), value, "")


def _loader_change(
    job: Job,
    argument: str,
    value: Any,
    price: str,
    cause: str = INPUT,
    settings: Mapping[str, Any] | None = None,
) -> Change:
    """Of an argument of torch's loader, which our data module hands on."""
    own = tuple((settings or {argument: value}).items())
    traits = {"settings": Settings(loader=own)} if isinstance(job.data, ImageDataModule) else {}
    return _change(f"data.{argument}", value, cause, price, **traits)


def _of_compute(job: Job) -> Iterator[Change]:
    cfg, device = job.cfg, job.device
    if not job.is_image_classifier:  # whose network the keys below do not reach
        return
    if not cfg.compile and device in ("cpu", "cuda"):
        needs = why_not_compiled(device) or ""
        yield _change("compile", True, COMPUTE, "the first steps compile", needs=needs)
    if not cfg.channels_last:
        yield _change("channels_last", True, COMPUTE)
    if str(cfg.trainer.precision) in ("None", "32", "32-true") and has_bfloat16(device):
        price = "computes with fewer bits"
        yield _change("trainer.precision", "bf16-mixed", COMPUTE, price, fewer_bits=True)
    if device == "cuda" and not cfg.trainer.benchmark:
        yield _change("trainer.benchmark", True, COMPUTE)


def _of_ranks(cfg: DictConfig) -> Iterator[Change]:
    """Of DDP what a name of its strategy sets."""
    if cfg.trainer.strategy == "ddp_find_unused_parameters_true":
        yield _change("trainer.strategy", "ddp", COMMUNICATION, ALL_USED)


def _of_overhead(cfg: DictConfig) -> Iterator[Change]:
    every = cfg.trainer.log_every_n_steps
    if every is not None and 0 < every < LOG_EVERY:
        key = "trainer.log_every_n_steps"
        acts = every, LOG_EVERY
        yield _change(key, LOG_EVERY, OVERHEAD, "fewer values in the loggers", acts=acts)


def _change(key: str, value: Any, cause: str, price: str = "", **traits: Any) -> Change:
    word = str(value).lower() if isinstance(value, bool) else value
    return Change(
        name=f"{key}={word}",
        slots=frozenset({key.rpartition(".")[2]}),
        causes=frozenset({cause}),
        price=price,
        keys={key: value},
        **traits,
    )
