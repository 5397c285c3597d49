"""Images: where they come from, in which order, how they are augmented and loaded."""

from hpml.data.cifar10 import Cifar10
from hpml.data.datamodule import ImageDataModule
from hpml.data.image_folder import ImageFolder
from hpml.data.sources import DataError
from hpml.data.synthetic import Synthetic

__all__ = ["Cifar10", "DataError", "ImageDataModule", "ImageFolder", "Synthetic"]
