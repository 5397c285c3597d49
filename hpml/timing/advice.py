"""What to change about the cause that limits the speed: a key of ours, or an argument of theirs."""

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
    facts: JobFacts,
    largest_other: tuple[str, float] | None,
    start_share: float,
    of: str = "`other`",
) -> str:
    """One sentence.

    Args:
        cause: input, transfer, compute or overhead.
        facts: what is so already.
        largest_other: what took most of `other`, and its share of it.
        of: what that is a share of, in words.
        start_share: the part of the waiting for data that is for an epoch's first batch.
    """
    if cause == "overhead":
        return _about_overhead(facts, largest_other, of)
    if cause == "input":
        options = _for_input(facts, start_share)
        none_left = "What is left is to make the loading itself cheaper"
    elif cause == "transfer":
        options = _for_transfer(facts)
        none_left = "What is left is less work in the hooks of the batch's transfer"
    else:
        options = _for_compute(facts)
        none_left = "What is left is a smaller network or a faster device"
    if not options:
        return none_left
    *first, last = options
    return f"Try {', '.join(first)}, or {last}" if first else f"Try {last}"


def _for_input(facts: JobFacts, start_share: float) -> list[str]:
    ours = "data." if facts.data_keys else ""
    workers = facts.num_workers
    if workers and not facts.persistent_workers and start_share > 0.5:
        return [
            f"{ours}persistent_workers={'true' if ours else 'True'}: "
            "most of the waiting is for workers that start anew in each epoch"
        ]
    options = []
    if facts.pipeline == "per_sample":
        options.append("data.pipeline=batched")
    if facts.in_memory is False:
        options.append("data.in_memory=true")
    if facts.on_gpu and facts.pipeline == "batched":
        options.append("data.pipeline=device")
    full = workers is not None and facts.cores is not None and workers >= facts.cores
    if not full and facts.pipeline != "device":
        now = "" if workers is None else f" (now {workers})"
        options.append(f"more {ours}num_workers{'' if ours else ' for the DataLoader'}{now}")
    if not facts.data_keys:
        options.append("a cheaper dataset")
    return options


def _for_transfer(facts: JobFacts) -> list[str]:
    if not facts.on_gpu or facts.pin_memory:
        return []
    return ["data.pin_memory=true" if facts.data_keys else "pin_memory=True for the DataLoader"]


def _for_compute(facts: JobFacts) -> list[str]:
    gpu = [] if facts.on_gpu else ["a GPU"]
    if facts.keys and not (facts.reduced_precision or facts.channels_last or facts.compiled):
        experiments = ",".join([*facts.experiments, "fast"])
        return [f"experiment={f'[{experiments}]' if facts.experiments else experiments}", *gpu]
    options = []
    if facts.on_gpu and not facts.reduced_precision:
        options.append("trainer.precision=bf16-mixed" if facts.keys else "precision='bf16-mixed'")
    if facts.on_gpu and facts.keys and not facts.channels_last:
        options.append("channels_last=true")
    if not facts.compiled and (facts.keys or facts.on_gpu):
        options.append("compile=true" if facts.keys else "torch.compile")
    return options + gpu


def _about_overhead(facts: JobFacts, largest_other: tuple[str, float] | None, of: str) -> str:
    name, share = largest_other or ("loop", 1.0)
    larger = f"try larger {'data.batch_size' if facts.data_keys else 'batches'}"
    if name == "loop":
        return f"The steps are short for Lightning's own loop: {larger}"
    if name == "lightning_broadcast":
        return f"{share:.0%} of {of} is Lightning asking all ranks once a step: {larger}"
    if name == "logging":
        key = "trainer.log_every_n_steps" if facts.keys else "log_every_n_steps"
        return f"{share:.0%} of {of} is logging: raise {key}, or log fewer metrics"
    return f"{share:.0%} of {of} is {name}: call it less often, or make it cheaper"
