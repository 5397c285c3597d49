"""`limit_train_batches=0.34`: two of six batches an epoch."""

from plain import fit, job

SAMPLES = [16, 16]
make = job(limit_train_batches=0.34)

if __name__ == "__main__":
    fit(*make())
