"""Measures numbers of workers, each in a fresh process: the loader alone, then the training."""

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from hpml.config.conf import resolve
from hpml.errors import UserError
from hpml.system.environment import usable_cores
from hpml.system.fresh_process import run_in_fresh_process
from hpml.system.interference import between, summed
from hpml.training.prepare import prepare
from hpml.trials.intervention import Intervention
from hpml.trials.pace import FEWEST_STEPS, STEPS_SHOWN, Pilot
from hpml.trials.rounds import after_rounds, run_rounds
from hpml.trials.subject import Subject, subject_of
from hpml.workers.search import KEY, Found, Measured, Timed, counts_to_try, search, told

log = logging.getLogger("hpml")

THREADS = "cpu.threads"
WARM_UP, MOST_STEPS = 2, 2000
# Workers on few cores finish in bursts: of several of these the mean is right.
BURSTS = 3


def search_counts(cfg: DictConfig) -> Found:
    step, most, rounds = cfg.workers.step, cfg.workers.most, cfg.workers.rounds
    counts = counts_to_try(usable_cores(), step, most)
    return search(lambda count: _measured(cfg, {KEY: count}), counts, rounds, log.info)


def try_also(cfg: DictConfig, workers: int, also: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """A number of workers with other settings, each beside the others in each round.

    `also` has keys, and the values to try of each; those of `data` need workers.
    """
    if not workers:
        if len(also) > (THREADS in also):
            log.info("workers.also: keys of data have no effect without workers")
        also = {key: values for key, values in also.items() if key == THREADS}
        if not also:
            return {}
    settings = [(key, value) for key, values in also.items() for value in values]
    candidates = {
        f"{key}={json.dumps(value)}": lambda number, keys={KEY: workers, key: value}: _measured(
            cfg, keys
        )
        for key, value in settings
    }
    timed = Timed()
    rounds = cfg.workers.rounds
    run_rounds(candidates, after_rounds(rounds, again=rounds), measured=timed, watch=told)
    for line in timed.lines(f"{KEY}={workers}"):
        log.info(line)
    return timed.as_dict()


def _measured(cfg: DictConfig, keys: Mapping[str, Any]) -> Measured:
    config = DictConfig(resolve(cfg))
    for key, value in keys.items():
        OmegaConf.update(config, key, value)
    return run_in_fresh_process(measure, OmegaConf.to_container(config), cfg.workers.seconds)


def measure(config: dict[str, Any], seconds: float) -> Measured:
    """Measures a configuration's job: see `measure_subject`. Raises whatever the job raises."""
    return measure_subject(subject_of(prepare(DictConfig(config))), seconds)


def measure_subject(subject: Subject, seconds: float) -> Measured:
    """The loader alone, then the training end to end, for some seconds each.

    Raises UserError for data of which an epoch is a single batch.
    """
    with subject.stops:
        return _measured_subject(subject, seconds)


def _measured_subject(subject: Subject, seconds: float) -> Measured:
    ahead = subject.batches_ahead()
    if subject.epoch_steps == 1:
        raise UserError(
            "an epoch is a single batch: nothing is loaded ahead; "
            "give more data, or a smaller data.batch_size"
        )
    first = subject.load(ahead + WARM_UP, ahead + FEWEST_STEPS, seed=0)
    steps = max(_steps(seconds, first.step_s), BURSTS * ahead)
    begun = subject.witness.read()
    loading = subject.load(ahead + WARM_UP, steps, seed=1)
    loaded = subject.witness.read()
    fit = subject.fit(Intervention(), 1, FEWEST_STEPS, seed=0)
    if FEWEST_STEPS * fit.step_s < seconds:
        pilot = Pilot(fit, loading, ahead)
        steps = max(_steps(seconds, pilot.step_s), BURSTS * ahead if pilot.waits else 0)
        fit = subject.fit(Intervention(), pilot.warm_up(WARM_UP), steps, seed=1)
    trained = subject.witness.read()
    waited_s = (trained.at_s - loaded.at_s) * fit.waiting_share
    seen = summed([between(begun, loaded), between(loaded, trained, waited_s)])
    if subject.epoch_steps is None:
        return Measured(STEPS_SHOWN * loading.step_s, STEPS_SHOWN * fit.step_s, interference=seen)
    steps, start_s = subject.epoch_steps, loading.start_s or 0.0
    loading_s, epoch_s = (start_s + steps * pace.step_s for pace in (loading, fit))
    return Measured(loading_s, epoch_s, holds_epoch=ahead >= steps, interference=seen)


def _steps(seconds: float, step_s: float) -> int:
    return max(FEWEST_STEPS, min(MOST_STEPS, round(seconds / step_s) if step_s else MOST_STEPS))
