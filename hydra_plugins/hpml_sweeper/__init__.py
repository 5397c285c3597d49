"""Hydra's own sweeper, without its check of all jobs, which hpml's launchers check sooner."""

from collections.abc import Sequence
from dataclasses import dataclass

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper, BasicSweeperConf
from hydra.core.config_store import ConfigStore

from hydra_plugins.hpml_launcher import HpmlLauncher


class HpmlSweeper(BasicSweeper):
    """Gives all jobs that the command names, or `hydra.sweeper.params`."""

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Composes each job, which takes longer than anything else before the first of them."""
        if not isinstance(self.launcher, HpmlLauncher):
            super().validate_batch_is_legal(batch)


@dataclass
class HpmlSweeperConf(BasicSweeperConf):
    """Hydra's own keys."""

    _target_: str = "hydra_plugins.hpml_sweeper.HpmlSweeper"


ConfigStore.instance().store(
    group="hydra/sweeper", name="hpml", node=HpmlSweeperConf, provider="hpml"
)
