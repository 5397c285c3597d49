"""`check_val_every_n_epoch=2`: the first and the third epoch have no validation."""

from plain import fit, job

SAMPLES = [44, 44, 44]
make = job(check_val_every_n_epoch=2, max_epochs=3)

if __name__ == "__main__":
    fit(*make())
