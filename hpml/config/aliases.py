"""What earlier versions called the things that configurations and checkpoints name."""

from typing import Any

RENAMED = {
    "hpml.model.resnet18": "hpml.models.resnet18",
    "hpml.model.small": "hpml.models.small",
    "hpml.callbacks.Forecast": "hpml.callbacks.RuntimeEstimator",
}
EARLIER = {now: before for before, now in RENAMED.items()}


def with_names_of_today(node: Any) -> Any:
    """A configuration in plain types, each earlier name in it replaced."""
    if isinstance(node, dict):
        return {key: with_names_of_today(value) for key, value in node.items()}
    if isinstance(node, list):
        return [with_names_of_today(value) for value in node]
    return RENAMED.get(node, node) if isinstance(node, str) else node
