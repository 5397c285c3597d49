"""The launcher of `-m hydra/launcher=slurm`: the jobs of a sweep as an array on a cluster."""

from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import OmegaConf

from hpml.errors import UserError
from hpml.formatting import counted
from hpml.sweep.jobs import Job
from hpml.sweep.launcher import SweepLauncher, log


class SlurmLauncher(SweepLauncher):
    """Checks all jobs, then submits those that are not complete, and waits for them.

    Args:
        parameters: of hydra-submitit-launcher, as `conf/hydra/launcher/slurm.yaml` has them.
    """

    def __init__(self, **parameters: Any) -> None:
        super().__init__()
        self.parameters = {
            key: OmegaConf.to_object(value) if OmegaConf.is_config(value) else value
            for key, value in parameters.items()
        }

    def _runner(self, how: Any, cost_model: Any, done: int) -> Any:
        from hpml.sweep.slurm.queue import submitting
        from hpml.sweep.slurm.runner import ClusterRunner

        return ClusterRunner(how, submitting(self.parameters), self._directory)

    def _end_leftovers(self) -> None:
        """Ends nothing: what an earlier launcher has submitted is in the queue, and waited for."""

    def _present(self, jobs: list[Job]) -> list[Job]:
        """All of them: what devices there are is known on the nodes only."""
        return jobs

    def _slots(self, jobs: Sequence[Job]) -> list[Mapping[str, str]]:
        """Nothing for the jobs' environment. Raises UserError for what is not for a cluster."""
        from hpml.sweep.slurm.queue import check_parameters

        check_parameters(self.parameters)
        for key in ("parallel", "skip_missing_devices"):
            if self.config.sweep[key]:
                raise UserError(f"sweep.{key}: not with hydra/launcher=slurm, where SLURM decides")
        return [{}]

    def _announce(
        self, jobs: Sequence[Job], waiting: Sequence[Job], cost_model: Any, at_once: int
    ) -> None:
        complete = len(jobs) - len(waiting)
        told = f", {complete} of them complete" if complete else ""
        log.info(f"sweep {self._directory}: {counted(len(jobs), 'job')}{told}")
        if self.config.sweep.dry_run:
            self._list(waiting)
