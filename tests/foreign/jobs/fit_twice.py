"""The second fit of one Trainer: it trains two epochs more."""

from typing import Any

from plain import Made, Validated, fit, loader, trainer

SAMPLES = [44, 44]


def make(**trainer_arguments: Any) -> Made:
    fitting, module, data = trainer(**trainer_arguments), Validated(), loader(shuffle=True)
    fitting.fit(module, data)
    fitting.fit_loop.max_epochs = 4
    return fitting, module, data


if __name__ == "__main__":
    fit(*make())
