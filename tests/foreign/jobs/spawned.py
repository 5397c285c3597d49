"""Two processes that torch spawns: `strategy="ddp_spawn"`."""

from plain import fit, job

SAMPLES = [44, 44]
PROCESSES = 2
DIAGNOSABLE = False  # the processes of a diagnosis run their own script
make = job(strategy="ddp_spawn", devices=2)

if __name__ == "__main__":
    fit(*make())
