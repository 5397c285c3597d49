"""The launcher of `-m hydra/launcher=slurm`: the jobs of a sweep as an array on a cluster."""

from collections.abc import Mapping, Sequence
from typing import Any

from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from hpml.errors import UserError
from hpml.sweep.cost_model import CostModel
from hpml.sweep.jobs import Job
from hpml.sweep.launcher import SweepLauncher
from hpml.sweep.runner import HowToRun, JobRunner
from hpml.sweep.slurm.runner import ClusterRunner
from hpml.sweep.slurm.submission import check_parameters, submitting


class SlurmLauncher(SweepLauncher):
    """Checks all jobs, then submits those that are not complete, and waits for them.

    `parameters` are those of hydra-submitit-launcher, as `conf/hydra/launcher/slurm.yaml` has them.
    """

    def __init__(
        self, config: DictConfig, hydra_context: HydraContext, parameters: Mapping[str, Any]
    ) -> None:
        super().__init__(config, hydra_context)
        self.parameters = {
            key: OmegaConf.to_object(value) if OmegaConf.is_config(value) else value
            for key, value in parameters.items()
        }

    def _runner(self, how: HowToRun, cost_model: CostModel, done: int) -> JobRunner:
        return ClusterRunner(how, submitting(self.parameters), self.directory)

    def _end_leftovers(self) -> None:
        """Ends nothing: what an earlier launcher has submitted is in the queue, and waited for."""

    def _present(self, jobs: list[Job]) -> list[Job]:
        """All of them: what devices there are is known on the nodes only."""
        return jobs

    def _slots(self, jobs: Sequence[Job]) -> list[Mapping[str, str]]:
        """Nothing for the jobs' environment. Raises UserError for what is not for a cluster."""
        check_parameters(self.parameters)
        for key in ("parallel", "skip_missing_devices"):
            if self.config.sweep[key]:
                raise UserError(f"sweep.{key}: not with hydra/launcher=slurm, where SLURM decides")
        return [{}]

    def _expected(self, waiting: Sequence[Job], cost_model: CostModel, at_once: int) -> str:
        return ""
