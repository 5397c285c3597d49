"""Time is over after the first step: `max_time`."""

from plain import fit, job

SAMPLES = [8]
make = job(max_time={"microseconds": 1}, max_epochs=-1)

if __name__ == "__main__":
    fit(*make())
