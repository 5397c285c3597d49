"""The networks, the LightningModule around them, and what they are made of."""

from hpml.models.networks import resnet18, small

__all__ = ["resnet18", "small"]
