"""`torch.compile(module)`, which fit takes as it takes a module."""

from typing import Any

import lightning as L
import torch
from plain import Validated, loader, trainer

EPOCHS = 2
SAMPLES = [44, 44]


def make(**trainer_arguments: Any) -> tuple[L.Trainer, Any, Any]:
    module = torch.compile(Validated(), backend="eager")  # what it is compiled to does not matter
    return trainer(**trainer_arguments), module, loader(shuffle=True)


if __name__ == "__main__":
    fitting, module, data = make()
    fitting.fit(module, data)
