"""Hydra's way to hpml's launchers. Every Hydra program here imports this: it is kept light."""

from collections.abc import Sequence
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext
from omegaconf import DictConfig


class HpmlLauncher(Launcher):
    """SweepLauncher; Hydra looks for plugins in this package alone."""

    def setup(self, *, hydra_context: HydraContext, config: DictConfig, **others: Any) -> None:
        """Makes the launcher for a sweep; the task is started by its command line."""
        from hpml.sweep.launcher import SweepLauncher

        self._launcher = SweepLauncher(config, hydra_context)

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Runs some of the sweep's jobs: a sweeper may come in batches."""
        return self._launcher.launch(job_overrides, initial_job_idx)


class HpmlSlurmLauncher(HpmlLauncher):
    """SlurmLauncher, likewise; with the parameters of hydra-submitit-launcher."""

    def __init__(self, **parameters: Any) -> None:
        self._parameters = parameters

    def setup(self, *, hydra_context: HydraContext, config: DictConfig, **others: Any) -> None:
        from hpml.sweep.slurm.launcher import SlurmLauncher

        self._launcher = SlurmLauncher(config, hydra_context, self._parameters)


ConfigStore.instance().store(
    group="hydra/launcher",
    name="hpml",
    node={"_target_": "hydra_plugins.hpml_launcher.HpmlLauncher"},
    provider="hpml",
)
