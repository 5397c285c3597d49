"""L-BFGS, which calls its closure several times a step."""

from typing import Any

import torch
from plain import Validated, fit, job

SAMPLES = [44, 44]


class SecondOrder(Validated):
    def configure_optimizers(self) -> Any:
        return torch.optim.LBFGS(self.parameters(), lr=0.1, max_iter=3)


make = job(SecondOrder)

if __name__ == "__main__":
    fit(*make())
