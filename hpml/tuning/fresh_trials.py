"""The final comparison of a job of ours: fresh processes, each of which makes the job anew.

What a process draws for itself, where its memory lies, what its compiler and its threads do at
first, is the same in all of its trials: here each round has processes of its own.
"""

import gc
import logging
import os
import sys
import threading
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from functools import partial
from operator import attrgetter
from statistics import fmean
from typing import Any

import lightning as L
import torch
from omegaconf import OmegaConf

from hpml.config.conf import resolve
from hpml.errors import RunFailedError, first_line
from hpml.system.fresh_process import run_in_fresh_process
from hpml.system.interference import Interference, summed
from hpml.training.build import end_processes
from hpml.training.prepare import prepare
from hpml.trials.agreement import Agreement
from hpml.trials.interference_watch import Watch, watched
from hpml.trials.intervention import Intervention
from hpml.trials.pace import Timed
from hpml.trials.ranks_agreement import agreement_of
from hpml.trials.rounds import Candidate
from hpml.trials.subject import Subject, subject_of
from hpml.trials.validation import Validating
from hpml.tuning.change import Changes
from hpml.tuning.epoch_trials import whole_fit
from hpml.tuning.seldom_acts import seldom_of
from hpml.tuning.trials_with_changes import Ours, Trials, load_before

FITS = 2  # that are timed in each process; one before them meets what happens once
# A rank waits so long for one that has failed, say because its port is taken: less than where that
# failed the rank itself is waited for, LOST_S of an agreement.
MEETING_S = 30.0
NOT_MET = 1  # the exit code of a process that has met none
Seen = tuple[Timed, Interference | None]


class FreshTrials:
    """Trials of a configuration with some changes, each in a process of its own.

    Their fits are as long as whole epochs of `trials`; `start_s` is what a process takes to make
    the job. Where several ranks train together, one process of each does so.
    """

    def __init__(
        self,
        job: Ours,
        trials: Trials,
        start_s: float,
        agreement: Agreement | None = None,
    ) -> None:
        self._job, self._trials, self._start_s = job, trials, start_s
        self._agreement = agreement or Agreement()
        self._seen: Interference | None = None

    def __call__(self, changes: Changes) -> Candidate[Timed]:
        def measure(number: int) -> Timed:
            config = resolve(self._job.config(changes, of_process=True))
            trials = self._trials
            lengths = trials.lengths(changes, is_whole=True, with_acts=True)
            of = config, lengths, number, trials.proving, trials.ends_left_out
            more = self._agreement.variables_afresh(), bool(seldom_of(changes))
            # each rank's has found the same
            timed, self._seen = self._agreement.tried(lambda: _in_process(*of, *more))[0]
            return timed

        return measure

    def begin(self, chosen: Changes) -> str:
        if not self._trials.times_acts(chosen):
            return "steps are too slow to time all that acts seldom"
        if torch.cuda.is_available():  # what trials have left would be missing there
            gc.collect()
            torch.cuda.empty_cache()
        return next(filter(None, self._agreement.tried(self._why_none)), "")

    def _why_none(self) -> str:
        if runs_a_script():
            return "another one would run your script again"
        try:
            run_in_fresh_process(os.getpid)
        except (RunFailedError, OSError) as error:
            return f"none can be begun ({first_line(error)})"
        return ""

    @property
    def watch(self) -> Watch[Timed]:
        """Tells what the process itself has seen: others are not those that this one sees."""
        return lambda measure: (measure(), self._seen)

    def round_s(self, trial_s: float) -> float:
        """Seconds that a round of two takes, about."""
        return 2 * (self._start_s + (FITS + 1) * trial_s)


def runs_a_script() -> bool:
    """Whether this process's program is a file of the user's own, which a fresh one imports."""
    main = sys.modules["__main__"]
    name = getattr(getattr(main, "__spec__", None), "name", "")
    return hasattr(main, "__file__") and not name.startswith("hpml")


def _in_process(*arguments: Any) -> Seen:
    try:
        seen: Seen = run_in_fresh_process(timed_job, *arguments)
    except RunFailedError as error:  # whose first lines are a traceback's
        line = str(error).splitlines()[-1]  # of ranks that have ended together: what they say
        raise RuntimeError(line.removeprefix("SystemExit: failed: ")) from error
    return seen


def timed_job(
    config: dict[str, Any],
    lengths: tuple[int, int],
    seed: int,
    validating: Validating | None,
    left_out: str,
    variables: Mapping[str, str],
    in_part: bool = False,
) -> Seen:
    """A whole epoch of a job, as means over FITS, and what others took meanwhile.

    `variables` are the environment of one of several processes, which train together; `in_part` is
    as in `whole_fit`.
    """
    logging.disable(logging.WARNING)  # which this process's caller has had
    os.environ.update(variables)
    job = prepare(OmegaConf.create(config))
    with closing(subject_of(job, met_soon)) as subject, subject.agreement:
        seen = _timed(subject, lengths, seed, validating, left_out, in_part)
    end_processes()
    return seen


def met_soon(trainer: L.Trainer) -> Agreement:
    """The agreement of ranks that meet within MEETING_S: else this process ends.

    torch's own timeout does not hold where another program answers at the port, or says nothing.
    """
    end = threading.Timer(MEETING_S, os._exit, (NOT_MET,))
    end.daemon = True
    end.start()
    try:
        return agreement_of(trainer)
    finally:
        end.cancel()


def _timed(
    subject: Subject,
    lengths: tuple[int, int],
    seed: int,
    validating: Validating | None,
    left_out: str,
    in_part: bool,
) -> Seen:
    with subject.stops:
        of = subject, Intervention(), subject.loading(), lengths
        load_before(subject, seed)
        given: Any = {"validating": validating, "left_out": left_out, "in_part": in_part}
        fit = partial(whole_fit, *of, **given)
        fit(seed=seed)  # its ends meet what happens once, too
        share = attrgetter("pace.waiting_share")
        watch = watched(subject.witness, share, subject.agreement.every)
        seen = [watch(partial(fit, seed=seed + number)) for number in range(FITS)]
    every = [timed for timed, _ in seen]
    keys = ("epoch_s", "checks_s", "once_s", "saved_s")
    means = {key: fmean(getattr(timed, key) for timed in every) for key in keys}
    mean = replace(every[-1], **means)
    return mean, summed(each for _, each in seen if each is not None)
