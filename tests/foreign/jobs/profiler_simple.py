"""`profiler="simple"`, which the module uses for a part of its own step."""

from typing import Any

import lightning as L
from plain import Validated, loader, trainer
from torch import Tensor

EPOCHS = 2
SAMPLES = [44, 44]


class Profiling(Validated):
    def loss(self, batch: list[Tensor]) -> Tensor:
        with self.trainer.profiler.profile("loss"):  # type: ignore[attr-defined]
            return super().loss(batch)


def make(**trainer_arguments: Any) -> tuple[L.Trainer, L.LightningModule, Any]:
    return trainer(**{"profiler": "simple"} | trainer_arguments), Profiling(), loader(shuffle=True)


if __name__ == "__main__":
    fitting, module, data = make()
    fitting.fit(module, data)
