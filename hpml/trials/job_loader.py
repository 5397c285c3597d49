"""The loader of a job by itself: what its processes are like, its pace, its stages."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import lightning as L

from hpml.callbacks.trainer_facts import surplus_in_words
from hpml.loading.global_state import seeded_folder
from hpml.loading.stages import LoaderStages
from hpml.loading.take_apart import dearest_of
from hpml.system.kernel_readings import Witness
from hpml.system.threads import crowded_in_words, workers_affinity
from hpml.trials.agreement import Agreement
from hpml.trials.job_data import JobData, batches_ahead, changed, data_loaders, end_workers
from hpml.trials.pace import Pace, PacedLoader, joint, loading_pace
from hpml.trials.settings import Settings
from hpml.trials.trainer import trial_trainer

T = TypeVar("T")
NO_CHANGE = Settings()


@dataclass(frozen=True)
class Loading:
    """The processes that load for a job."""

    workers: int
    ahead: int  # batches that they keep ready
    starts_anew: bool  # with each epoch


class JobLoader:
    """Makes a job's training loader for each trial, on its own or of a fit."""

    trainer: L.Trainer
    agreement: Agreement
    data: JobData
    witness: Witness
    notes: list[str]  # what the trials do without, and the like
    _module: Any  # a copy
    _is_length_agreed = False

    @property
    def epoch_steps(self) -> int | None:
        """Training batches of an epoch, once a loader was made; None where only that knows.

        Of several ranks that of the shortest: they train in step.
        """
        return self.data.epoch_steps

    def tried(self, work: Callable[[], T]) -> list[T]:
        """What work with a loader gives on each rank, as `Agreement.tried`. All ranks call this."""
        every = self.agreement.tried(work)
        if not self._is_length_agreed:
            lengths = self.agreement.every(self.epoch_steps)
            self._is_length_agreed = True
            known = {each for each in lengths if each is not None}
            self.data.epoch_steps = min(known, default=None)
            if len(known) > 1:
                batches = " to ".join(f"{each:,}" for each in (min(known), max(known)))
                self._note(f"an epoch of the ranks has {batches} batches: the shortest counts")
        return every

    def loading(self, settings: Settings = NO_CHANGE) -> Loading:
        """What the loader's processes are like; on several ranks what the first one's are."""

        def look() -> Loading:
            with self._loader(0, settings) as loader:
                every = [each for each in data_loaders(loader) if each.num_workers]
                return Loading(
                    workers=sum(each.num_workers for each in every),
                    ahead=batches_ahead(loader),
                    starts_anew=any(not each.persistent_workers for each in every),
                )

        return self.tried(look)[0]

    def load(self, warm_up: int, measured: int, seed: int, settings: Settings = NO_CHANGE) -> Pace:
        """The loader alone, for so many batches; of several ranks each its own at the same time."""

        def measure() -> Pace:
            with self._loader(seed, settings) as loader:
                paced = PacedLoader(loader, warm_up, measured, self.epoch_steps, look=self._look)
                return loading_pace(paced, self.data.left_ahead(paced.steps))

        paces = self.tried(measure)
        return joint(paces, [[] for _ in paces])

    def first_batch(self, seed: int, settings: Settings = NO_CHANGE) -> Any:
        """That of this rank; None where there is none. Raises what loading raises."""
        with self._loader(seed, settings) as loader:
            return next(iter(loader), None)

    def take_apart(self, seconds: float) -> LoaderStages:
        """What each stage of a sample costs; of several loaders, of the one that costs most.

        Raises what loading raises.
        """
        with self._loader(0) as loader:
            return dearest_of(self.data.untouched or [loader], seconds)

    @contextmanager
    def _loader(self, seed: int, settings: Settings = NO_CHANGE) -> Iterator[Any]:
        with seeded_folder(seed, self.data.given) as folder:
            trainer = trial_trainer(self.trainer, folder, self.epoch_steps is not None)
            loader = self.data.new_loader(trainer, self._module)
            if more := self.data.surplus:
                self._note(surplus_in_words(self.trainer, more))
            loader = changed(loader, settings)
            try:
                yield loader
            finally:
                end_workers(loader)

    def _look(self) -> None:
        """What the workers waited, and where they may run, goes with them."""
        self.witness.look_at_workers()
        if words := crowded_in_words(workers_affinity()):
            self._note(words)

    def _note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)
