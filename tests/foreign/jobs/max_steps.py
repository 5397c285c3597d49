"""`max_steps=8` ends the second epoch after two of six batches."""

from plain import fit, job

SAMPLES = [44, 16]
make = job(max_steps=8, max_epochs=-1)

if __name__ == "__main__":
    fit(*make())
