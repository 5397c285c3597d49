"""What to change about the cause that limits the speed: a key of ours, or an argument of theirs."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from hpml.formatting import counted
from hpml.records.phases import COMMUNICATION, COMPUTE, INPUT, OVERHEAD, TRANSFER


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
    threads: int | None = None  # that compute
    spins: bool = True  # whether threads without work spin
    num_workers: int | None = None
    has_searched: bool = False  # for the best number of workers, which is not to be changed
    persistent_workers: bool | None = None
    pin_memory: bool | None = None
    pipeline: str | None = None
    in_memory: bool | None = None
    crops_whole_images: bool = False  # so that neither memory nor a device can hold them resized
    reduced_precision: bool = False
    channels_last: bool = False
    compiled: bool = False
    experiments: tuple[str, ...] = ()
    intervals: Mapping[str, str] = field(default_factory=dict)  # callbacks' arguments of how seldom
    dearest_stage: str | None = None  # of loading a sample, and its line: see loading/stages.py

    @property
    def is_crowded(self) -> bool:
        """Whether its workers, or the threads that compute, are more than its cores."""
        most = max(0 if self.on_gpu else self.threads or 0, self.num_workers or 0)
        return self.cores is not None and most > self.cores

    @property
    def threads_in_words(self) -> str:
        """`64 threads and 4 workers on 2 cores`, of what is known."""
        every = {"thread": self.threads, "worker": self.num_workers}
        having = " and ".join(counted(count, name) for name, count in every.items() if count)
        return f"{having} on {counted(self.cores or 1, 'core')}"


UNKNOWN = JobFacts()


def advise(
    cause: str,
    facts: JobFacts,
    largest_other: tuple[str, float] | None,
    start_share: float,
    of: str = "`other`",
) -> str:
    """One sentence on a cause: input, transfer, compute, overhead or communication.

    `largest_other` is what took most of `other`, and its share of it, which is one `of` what its
    words say. `start_share` is the part of the waiting for data that is for an epoch's first batch.
    """
    if cause == OVERHEAD:
        return _about_overhead(facts, largest_other, of)
    if cause == COMMUNICATION:
        return _for_communication(facts)
    if cause == INPUT:
        options = _for_input(facts, start_share)
        none_left = "to make the loading itself cheaper"
    elif cause == TRANSFER:
        key = "data.pin_memory=true" if facts.data_keys else "pin_memory=True for the DataLoader"
        options = {key: facts.on_gpu and not facts.pin_memory}
        none_left = "less work in the hooks of the batch's transfer"
    elif cause == COMPUTE:
        options = _for_compute(facts)
        none_left = "a smaller network or a faster device"
    else:
        options, none_left = {}, "to make that part of a step cheaper"
    *first, last = [text for text, helps in options.items() if helps] or [""]
    if not last:
        return f"What is left is {none_left}"
    return f"Try {', '.join(first)}, or {last}" if first else f"Try {last}"


def _for_input(facts: JobFacts, start_share: float) -> dict[str, bool]:
    """Options, each with whether it may help."""
    ours = "data." if facts.data_keys else ""
    workers = facts.num_workers
    if workers and not facts.persistent_workers and start_share > 0.5:
        key = f"{ours}persistent_workers={'true' if ours else 'True'}"
        return {f"{key}: most of the waiting is for workers that start anew in each epoch": True}
    held = not facts.crops_whole_images
    full = workers is not None and facts.cores is not None and workers >= facts.cores
    now = "" if workers is None else f" (now {workers})"
    cheaper = f"cheaper {facts.dearest_stage}" if facts.dearest_stage else "a cheaper dataset"
    more_workers = f"more {ours}num_workers{'' if ours else ' for the DataLoader'}{now}"
    return {
        "data.pipeline=batched": facts.pipeline == "per_sample",
        "data.in_memory=true": facts.in_memory is False and held,
        "data.pipeline=device": facts.on_gpu and facts.pipeline == "batched" and held,
        more_workers: not (full or facts.has_searched or facts.pipeline == "device"),
        cheaper: not facts.data_keys,
    }


def fewer_threads(facts: JobFacts) -> str:
    """One sentence, for a job whose own threads and workers have too few cores."""
    keys = "data.num_workers" if facts.data_keys else "num_workers"
    threads = "cpu.threads=1" if facts.keys else "torch.set_num_threads(1)"
    may_change = facts.num_workers and not facts.has_searched
    options = [f"fewer {keys} (now {facts.num_workers})"] if may_change else []
    options += [f"{threads} (now {facts.threads})"] if (facts.threads or 1) > 1 else []
    if _may_spin(facts):
        options.append(_shorter_waiting(facts))
    return f"Try {', or '.join(options)}" if options else "What is left is a machine of more cores"


def _for_compute(facts: JobFacts) -> dict[str, bool]:
    keys, on_gpu = facts.keys, facts.on_gpu
    waits = {_shorter_waiting(facts): _may_spin(facts)}
    if keys and not (facts.reduced_precision or facts.channels_last or facts.compiled):
        experiments = ",".join([*facts.experiments, "fast"])
        fast = f"experiment={f'[{experiments}]' if facts.experiments else experiments}"
        return {fast: True, **waits, "a GPU": not on_gpu}
    precision = "trainer.precision=bf16-mixed" if keys else "precision='bf16-mixed'"
    return {
        precision: on_gpu and not facts.reduced_precision,
        "channels_last=true": on_gpu and keys and not facts.channels_last,
        "compile=true" if keys else "torch.compile": (keys or on_gpu) and not facts.compiled,
        **waits,
        "a GPU": not on_gpu,
    }


def _for_communication(facts: JobFacts) -> str:
    batches = "data.batch_size" if facts.data_keys else "batches"
    seldom = "trainer.accumulate_grad_batches=2" if facts.keys else "accumulate_grad_batches=2"
    halved = ", or ddp_comm_hook=fp16_compress_hook for the DDPStrategy" if facts.on_gpu else ""
    return f"Try larger {batches}, or {seldom}: fewer exchanges of gradients{halved}"


def _shorter_waiting(facts: JobFacts) -> str:
    return "cpu.wait=brief" if facts.keys else "GOMP_SPINCOUNT=2000 in the environment"


def _may_spin(facts: JobFacts) -> bool:
    return not facts.on_gpu and facts.spins and (facts.threads or 1) > 1


def _about_overhead(facts: JobFacts, largest_other: tuple[str, float] | None, of: str) -> str:
    name, share = largest_other or ("loop", 1.0)
    larger = f"try larger {'data.batch_size' if facts.data_keys else 'batches'}"
    if name == "loop":
        return f"The steps are short for Lightning's own loop: {larger}"
    key = "trainer.log_every_n_steps" if facts.keys else "log_every_n_steps"
    about = {
        "lightning_broadcast": f"Lightning asking all ranks once a step: {larger}",
        "logging": f"logging: raise {key}, or log fewer metrics",
    }.get(name)
    if about is None:
        seldom = f"give a larger {facts.intervals[name]}" if name in facts.intervals else ""
        about = f"{name}: {seldom or 'call it less often'}, or make it cheaper"
    return f"{share:.0%} of {of} is {about}"
