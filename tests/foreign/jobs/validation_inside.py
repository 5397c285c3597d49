"""`val_check_interval=2`: three validations within an epoch."""

from plain import fit, job

SAMPLES = [44, 44]
make = job(val_check_interval=2)

if __name__ == "__main__":
    fit(*make())
