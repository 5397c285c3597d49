"""How long the trials of a job have to be, by what a few of its steps have shown."""

from dataclasses import dataclass

from hpml.trials.pace import Pace

FEWEST_STEPS = 2
# Where no end of an epoch is known, the time of so many steps is given.
STEPS_SHOWN = 1000


@dataclass(frozen=True)
class Pilot:
    """The pace of a job's first steps, and of its loader alone.

    Attributes:
        fit: of the job as it is.
        loading: None where no workers load ahead.
        ahead: batches that the loader's workers keep ready.
    """

    fit: Pace
    loading: Pace | None
    ahead: int

    @property
    def step_s(self) -> float:
        """Seconds of the slower one: a fit's first steps do not show what its loading takes."""
        return max(self.fit.step_s, self.loading.step_s if self.loading else 0.0)

    @property
    def waits(self) -> bool:
        """Whether a fit waits for its workers in the end.

        A step twice as long as loading finds its batch ready from the beginning.
        """
        if self.loading is None or not self.ahead:
            return False
        return self.loading.step_s > (self.fit.step_s - self.fit.wait_s) / 2

    def warm_up(self, least: int) -> int:
        """Steps before those that are measured, past the batches that are ready at first."""
        return least + self.ahead if self.waits else least
