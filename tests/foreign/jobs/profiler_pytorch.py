"""A profiler of the user's own: `profiler="pytorch"`."""

from plain import fit, job

SAMPLES = [44, 44]
make = job(profiler="pytorch")

if __name__ == "__main__":
    fit(*make())
