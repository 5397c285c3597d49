"""A callback that changes with the epochs how many batches the optimizer steps once for."""

from lightning.pytorch.callbacks import GradientAccumulationScheduler
from plain import fit, job

SAMPLES = [44, 44]
make = job(own=lambda: [GradientAccumulationScheduler({0: 2, 1: 4})])

if __name__ == "__main__":
    fit(*make())
