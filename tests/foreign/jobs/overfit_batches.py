"""`overfit_batches=2`: the same two batches in each epoch."""

from plain import fit, job

SAMPLES = [16, 16]
make = job(overfit_batches=2)

if __name__ == "__main__":
    fit(*make())
