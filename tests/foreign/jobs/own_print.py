"""A module whose own `print` takes other arguments, and logs."""

from plain import Validated, fit, job

SAMPLES = [44, 44]


class Printing(Validated):
    def print(self, *, loss: float) -> None:  # type: ignore[override]
        self.log("printed", loss)

    def on_train_epoch_end(self) -> None:
        self.print(loss=float(self.trainer.callback_metrics["val_loss"]))


make = job(Printing)

if __name__ == "__main__":
    fit(*make())
