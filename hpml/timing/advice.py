"""What to change about the cause that limits the speed: a key of ours, or an argument of theirs."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class JobFacts:
    """What the advice has to know of a run, so that it names nothing that is so already.

    None for what is not known. `keys` tells whether the run is configured by hpml's own keys,
    `data_keys` whether its data is.
    """

    keys: bool = False
    data_keys: bool = False
    on_gpu: bool = False
    cores: int | None = None
    num_workers: int | None = None
    persistent_workers: bool | None = None
    pin_memory: bool | None = None
    pipeline: str | None = None
    in_memory: bool | None = None
    reduced_precision: bool = False
    channels_last: bool = False
    compiled: bool = False
    experiments: tuple[str, ...] = ()


UNKNOWN = JobFacts()


def advise(
    cause: str,
    setting: JobFacts,
    largest_other: tuple[str, float] | None,
    start_share: float,
    of: str = "`other`",
) -> str:
    """One sentence.

    Args:
        cause: input, transfer, compute or overhead.
        setting: what is so already.
        largest_other: what took most of `other`, and its share of it.
        of: what that is a share of, in words.
        start_share: the part of the waiting for data that is for an epoch's first batch.
    """
    if cause == "overhead":
        return _about_overhead(setting, largest_other, of)
    if cause == "input":
        options = _for_input(setting, start_share)
        none_left = "What is left is to make the loading itself cheaper"
    elif cause == "transfer":
        options = _for_transfer(setting)
        none_left = "What is left is less work in the hooks of the batch's transfer"
    else:
        options = _for_compute(setting)
        none_left = "What is left is a smaller network or a faster device"
    return f"Try {_either(options)}" if options else none_left


def _for_input(setting: JobFacts, start_share: float) -> list[str]:
    ours = "data." if setting.data_keys else ""
    workers = setting.num_workers
    options = []
    if workers and not setting.persistent_workers and start_share > 0.5:
        options.append(
            f"{ours}persistent_workers={'true' if ours else 'True'}: "
            "most of the waiting is for workers that start anew in each epoch"
        )
        return options
    if setting.pipeline == "per_sample":
        options.append("data.pipeline=batched")
    if setting.in_memory is False:
        options.append("data.in_memory=true")
    if setting.on_gpu and setting.pipeline == "batched":
        options.append("data.pipeline=device")
    full = workers is not None and setting.cores is not None and workers >= setting.cores
    if not full and setting.pipeline != "device":
        now = "" if workers is None else f" (now {workers})"
        options.append(f"more {ours}num_workers{'' if ours else ' for the DataLoader'}{now}")
    if not setting.data_keys:
        options.append("a cheaper dataset")
    return options


def _for_transfer(setting: JobFacts) -> list[str]:
    if not setting.on_gpu or setting.pin_memory:
        return []
    return ["data.pin_memory=true" if setting.data_keys else "pin_memory=True for the DataLoader"]


def _for_compute(setting: JobFacts) -> list[str]:
    options = []
    as_it_comes = not (setting.reduced_precision or setting.channels_last or setting.compiled)
    if setting.keys and as_it_comes:
        experiment = ",".join([*setting.experiments, "fast"])
        with_others = f"[{experiment}]" if setting.experiments else experiment
        return [f"experiment={with_others}", *([] if setting.on_gpu else ["a GPU"])]
    if setting.on_gpu and not setting.reduced_precision:
        options.append("trainer.precision=bf16-mixed" if setting.keys else "precision='bf16-mixed'")
    if setting.on_gpu and setting.keys and not setting.channels_last:
        options.append("channels_last=true")
    if not setting.compiled and (setting.keys or setting.on_gpu):
        options.append("compile=true" if setting.keys else "torch.compile")
    if not setting.on_gpu:
        options.append("a GPU")
    return options


def _about_overhead(setting: JobFacts, largest_other: tuple[str, float] | None, of: str) -> str:
    name, share = largest_other or ("loop", 1.0)
    larger = f"try larger {'data.batch_size' if setting.data_keys else 'batches'}"
    if name == "loop":
        return f"The steps are short for Lightning's own loop: {larger}"
    if name == "lightning_broadcast":
        return f"{share:.0%} of {of} is Lightning asking all ranks once a step: {larger}"
    if name == "logging":
        key = "trainer.log_every_n_steps" if setting.keys else "log_every_n_steps"
        return f"{share:.0%} of {of} is logging: raise {key}, or log fewer metrics"
    return f"{share:.0%} of {of} is {name}: call it less often, or make it cheaper"


def _either(options: Sequence[str]) -> str:
    *first, last = options
    return f"{', '.join(first)}, or {last}" if first else last
