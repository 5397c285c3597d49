"""What was chosen of each group of the configuration."""

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig


def choices() -> dict[str, str]:
    """The option of each group of ours; nothing outside of a Hydra program."""
    chosen = HydraConfig.get().runtime.choices if HydraConfig.initialized() else {}
    return {
        str(group): str(option)
        for group, option in chosen.items()
        if option is not None and not str(group).startswith("hydra/")
    }


def name_of(node: DictConfig) -> str:
    """What was chosen of a group, or the last part of its `_target_` where Hydra does not say."""
    choice = choices().get(str(node._key()))
    return choice or str(node.get("_target_")).rpartition(".")[2].lower()
