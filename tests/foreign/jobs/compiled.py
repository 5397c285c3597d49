"""`torch.compile(module)`, which fit takes as it takes a module."""

import torch
from plain import Validated, fit, job

SAMPLES = [44, 44]
# what it is compiled to does not matter
make = job(lambda: torch.compile(Validated(), backend="eager"))

if __name__ == "__main__":
    fit(*make())
