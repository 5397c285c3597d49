"""A step that writes into its batch, a dataclass."""

from dataclasses import dataclass
from typing import Any

from plain import fit, job
from torch import Tensor
from writes_into_a_tuple import InPlace, loader

SAMPLES = [40, 40]


@dataclass
class Batch:
    images: Tensor
    labels: Tensor


class Job(InPlace):
    def parts(self, batch: Any) -> tuple[Tensor, Tensor]:
        return batch.images, batch.labels


make = job(Job, lambda: loader(lambda parts: Batch(*parts)))

if __name__ == "__main__":
    fit(*make())
