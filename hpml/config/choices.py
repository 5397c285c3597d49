"""What was chosen of each group of the configuration."""

from __future__ import annotations

# torch and Lightning take seconds to import: `--help`, a mistyped key and a sweep's check of its
# jobs do without them, and a run says where it goes before it imports them.
from typing import TYPE_CHECKING

from omegaconf import DictConfig

if TYPE_CHECKING:
    pass


def name_of(node: DictConfig) -> str:
    """What was chosen of a group, or the last part of its `_target_` where Hydra does not say."""
    from hydra.core.hydra_config import HydraConfig

    key = str(node._key())
    if HydraConfig.initialized():
        choice = HydraConfig.get().runtime.choices.get(key)
        if choice:
            return str(choice)
    return str(node.get("_target_")).rpartition(".")[2].lower()


def choices() -> dict[str, str]:
    """What was chosen of each group of ours."""
    from hydra.core.hydra_config import HydraConfig

    choices = HydraConfig.get().runtime.choices if HydraConfig.initialized() else {}
    chosen = {str(group): str(option) for group, option in choices.items() if option is not None}
    return {group: option for group, option in chosen.items() if not group.startswith("hydra/")}
