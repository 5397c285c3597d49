"""A batch is a dictionary of lists, of which the first holds identities."""

from collections.abc import Sequence
from typing import Any

import torch
from detection_lists import Detector, sample
from plain import fit, job
from torch.utils.data import DataLoader

SAMPLES = [40, 40]


def collate(samples: Any) -> Any:
    images, targets = zip(*samples, strict=True)
    identities = [target["image_id"] for target in targets]
    return {"image_id": identities, "images": list(images), "targets": list(targets)}


class OfDictionaries(Detector):
    def images(self, batch: Any) -> Sequence[torch.Tensor]:
        images: Sequence[torch.Tensor] = batch["images"]
        return images


make = job(OfDictionaries, lambda: DataLoader(list(map(sample, range(40))), 12, collate_fn=collate))

if __name__ == "__main__":
    fit(*make())
