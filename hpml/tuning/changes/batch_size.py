"""Changes that make it another training: larger batches, and steps after several of them."""

import math
from collections.abc import Collection, Iterator
from typing import Any

from lightning.fabric.utilities.data import sized_len
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from omegaconf import OmegaConf
from torch.utils.data import DataLoader

from hpml.records.phases import COMPUTE, INPUT, OVERHEAD, TRANSFER
from hpml.system.lightning_packages import twins
from hpml.training.prepare import Job
from hpml.trials.settings import Settings, has_batches
from hpml.trials.subject import Subject
from hpml.trials.trainer import accumulated
from hpml.tuning.change import LOADER, MODULE, TRAINER, Change

BATCH_SIZE, ACCUMULATION, LARGER = "batch_size", "accumulate_grad_batches", (2, 4)  # times
STEP = "samples_a_step"  # what each of them changes: one learning rate goes with one of them
PRICE = "another training: learning rate scaled along, to be tuned again"
CAUSES = {
    BATCH_SIZE: frozenset({INPUT, TRANSFER, COMPUTE, OVERHEAD}),
    ACCUMULATION: frozenset({COMPUTE, OVERHEAD}),
}


def larger_batches(loader: DataLoader[Any], rates: Collection[float]) -> Iterator[Change]:
    """Of a loader that makes them; `rates` are the optimizers' learning rates."""
    samples = sized_len(loader.sampler) or sized_len(loader.dataset) or math.inf  # of this rank
    for times in LARGER if has_batches(loader) else ():
        size = times * (loader.batch_size or 1)
        if size > samples:
            return
        yield _change(BATCH_SIZE, size, times, rates, LOADER, Settings(batch_times=times))


def accumulations(subject: Subject) -> Iterator[Change]:
    """Where Lightning makes the optimizer's steps, each after as many batches as any other."""
    trainer: Any = subject.trainer
    callbacks, now = trainer.callbacks, accumulated(trainer)
    varies = any(isinstance(each, twins(GradientAccumulationScheduler)) for each in callbacks)
    for times in () if varies or not subject.network.automatic_optimization else LARGER:
        settings, rates = Settings(accumulate=times * now), subject.learning_rates
        yield _change(ACCUMULATION, times * now, times, rates, TRAINER, settings)


def _change(
    argument: str, value: int, times: int, rates: Collection[float], place: str, settings: Settings
) -> Change:
    return Change(
        name=f"{argument}={value}",
        slots=frozenset({argument, STEP}),
        causes=CAUSES[argument],
        price=PRICE,
        settings=settings,
        lines=((place, f"{argument}={value}"), (MODULE, _of_rate(times, rates))),
        only_asked=True,
    )


def _of_rate(times: int, rates: Collection[float]) -> str:
    named = "".join(f": {times * rate:g} instead of {rate:g}" for rate in rates if len(rates) == 1)
    return f"# the learning rate times {times}, as the batch{named}; then tune it"


def of_configuration(job: Job, ranks: int = 1) -> Iterator[Change]:
    """The same of a configuration whose module and data are ours, trained by so many ranks."""
    cfg, rate = job.cfg, OmegaConf.select(job.cfg, "optimizer.lr")
    if not job.is_ours or not isinstance(rate, int | float):
        return
    size, window = cfg.data.get(BATCH_SIZE), cfg.trainer.accumulate_grad_batches
    now = {f"data.{BATCH_SIZE}": size}
    if cfg.compile in (False, True, "default"):  # the others' graphs overwrite what is accumulated
        now[f"trainer.{ACCUMULATION}"] = window
    samples = job.sizes.get("train", math.inf)
    for key, value in now.items():
        for times in LARGER if isinstance(value, int) else ():
            argument = key.partition(".")[2]
            if times * size * window * ranks <= samples:
                yield Change(
                    name=f"{key}={times * value}",
                    slots=frozenset({argument, STEP}),
                    causes=CAUSES[argument],
                    price=PRICE,
                    keys={key: times * value, "optimizer.lr": times * rate},
                    only_asked=True,
                )
