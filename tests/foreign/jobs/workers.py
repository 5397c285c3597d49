"""Two processes load, and persist between the epochs."""

from plain import fit, job, loader

SAMPLES = [44, 44]
make = job(data=lambda: loader(shuffle=True, num_workers=2, persistent_workers=True))

if __name__ == "__main__":
    fit(*make())
