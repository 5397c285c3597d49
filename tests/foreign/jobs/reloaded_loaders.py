"""A new loader for each epoch, which grows: `reload_dataloaders_every_n_epochs=1`."""

from typing import Any

from plain import Validated, fit, job, loader

SAMPLES = [12, 24, 36]


class Growing(Validated):
    def train_dataloader(self) -> Any:
        return loader(12 * (self.trainer.current_epoch + 1), shuffle=True)


make = job(Growing, data=None, reload_dataloaders_every_n_epochs=1, max_epochs=3)

if __name__ == "__main__":
    fit(*make())
