"""`accumulate_grad_batches=4`: the optimizer steps after four batches, and at the epoch's end."""

from plain import fit, job

SAMPLES = [44, 44]
make = job(accumulate_grad_batches=4)

if __name__ == "__main__":
    fit(*make())
