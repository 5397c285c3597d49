"""`barebones=True`: nothing is logged, and what the other jobs switch off must not be named."""

from typing import Any

import lightning as L
from plain import Made, Validated, fit, loader

SAMPLES = [44, 44]


def make(**trainer_arguments: Any) -> Made:
    settings: dict[str, Any] = {"accelerator": "cpu", "max_epochs": 2, "barebones": True}
    return L.Trainer(**settings | trainer_arguments), Validated(), loader(shuffle=True)


if __name__ == "__main__":
    fit(*make())
