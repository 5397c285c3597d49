"""`precision="bf16-mixed"`, gradients clipped, and anomalies looked for."""

from typing import Any

import lightning as L
from plain import Validated, loader, trainer

EPOCHS = 2
SAMPLES = [44, 44]


def make(**trainer_arguments: Any) -> tuple[L.Trainer, L.LightningModule, Any]:
    settings = {"precision": "bf16-mixed", "gradient_clip_val": 0.1, "detect_anomaly": True}
    return trainer(**settings | trainer_arguments), Validated(), loader(shuffle=True)


if __name__ == "__main__":
    fitting, module, data = make()
    fitting.fit(module, data)
