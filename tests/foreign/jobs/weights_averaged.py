"""Stochastic weight averaging with batch normalisation, for which Lightning runs an epoch more."""

from lightning.pytorch.callbacks import StochasticWeightAveraging
from plain import Validated, fit, job
from torch import nn

SAMPLES = [44, 44, 44]


class Normalised(Validated):
    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))


make = job(Normalised, own=lambda: [StochasticWeightAveraging(0.05, swa_epoch_start=1)])

if __name__ == "__main__":
    fit(*make())
