"""An IterableDataset that tells no length."""

from plain import Stream, fit, job
from torch.utils.data import DataLoader

SAMPLES = [44, 44]
make = job(data=lambda: DataLoader(Stream(), batch_size=8))

if __name__ == "__main__":
    fit(*make())
