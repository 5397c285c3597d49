"""Where Hydra finds hpml's launchers. Every Hydra program here imports this: keep it light."""

from hydra.core.config_store import ConfigStore

from hpml.sweep.launcher import SweepLauncher
from hpml.sweep.slurm.launcher import SlurmLauncher


class HpmlLauncher(SweepLauncher):
    """SweepLauncher under a name in this package, the only one where Hydra looks for plugins."""


class HpmlSlurmLauncher(SlurmLauncher):
    """SlurmLauncher, likewise."""


ConfigStore.instance().store(
    group="hydra/launcher",
    name="hpml",
    node={"_target_": "hydra_plugins.hpml_launcher.HpmlLauncher"},
    provider="hpml",
)
