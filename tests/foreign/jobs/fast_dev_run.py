"""`fast_dev_run=True`: one batch of training and one of validation."""

from plain import fit, job

SAMPLES = [8]
make = job(fast_dev_run=True)

if __name__ == "__main__":
    fit(*make())
