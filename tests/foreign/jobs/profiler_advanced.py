"""A profiler of the user's own: `profiler="advanced"`."""

from plain import fit, job

SAMPLES = [44, 44]
make = job(profiler="advanced")

if __name__ == "__main__":
    fit(*make())
