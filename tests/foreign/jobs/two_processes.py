"""Two processes that Lightning starts by the script itself: `strategy="ddp"`, over gloo."""

from typing import Any

from lightning.pytorch.strategies import DDPStrategy
from plain import Made, Validated, fit, loader, trainer

SAMPLES = [44, 44]
PROCESSES = 2


def make(**trainer_arguments: Any) -> Made:
    settings = {"strategy": DDPStrategy(process_group_backend="gloo"), "devices": 2}
    return trainer(**settings | trainer_arguments), Validated(), loader(shuffle=True)


if __name__ == "__main__":
    fit(*make())
