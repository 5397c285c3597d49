"""Fetches a data set and looks at every image of it."""

import logging

import numpy as np
from omegaconf import DictConfig

from hpml.data.build import build_data
from hpml.data.decoding import Losses
from hpml.data.image_data_module import ImageDataModule
from hpml.data.storage import Files, Source
from hpml.errors import DataError, UserError

log = logging.getLogger("hpml")

SHOWN = 20


def fetch(cfg: DictConfig) -> None:
    """Loads the data of `data`, decodes every image, and reports what is there.

    Raises UserError that names all files that cannot be decoded.
    """
    # What stops at the first broken file, where this lists them all; a small set is a set.
    for key, value in {"verify": None, "in_memory": False, "batch_size": 1}.items():
        if key in cfg.data:
            cfg.data[key] = value
    data = build_data(cfg)
    if not isinstance(data, ImageDataModule) or data.loaded is None:
        log.info("prepared")
        return
    log.info(f"{data.loaded.where}: {data.num_classes} classes: {', '.join(data.loaded.classes)}")
    broken: list[str] = []
    losses = Losses()
    for name, source in (("train", data.loaded.train), ("test", data.loaded.test)):
        if source and (statistics := _decode_all(source, broken, losses)):
            size, keys = statistics
            line = f"{name}: {len(source):,} images of {size}"
            # the test set has no say in how it is normalised
            log.info(f"{line}; {keys}" if name == "train" else line)
    for sentence in losses.sentences():
        log.warning(sentence)
    if left := losses.left(cfg.data.get("decoder", "auto")):
        log.info(left)
    if broken:
        more = f"\n… and {len(broken) - SHOWN} more" if len(broken) > SHOWN else ""
        listed = "\n".join(broken[:SHOWN])
        raise UserError(f"{len(broken)} images cannot be used:\n{listed}{more}")
    log.info("all images can be decoded")


def _decode_all(source: Source, broken: list[str], losses: Losses) -> tuple[str, str] | None:
    """The size, and mean and deviation of each channel as keys; adds what is broken or lost."""
    moments: list[list[np.ndarray]] = []  # of each image; all have one size
    for index in range(len(source)):
        try:
            image = source.fetch(np.array([index]))[0]
        except DataError as error:
            broken.append(str(error))
            continue
        if isinstance(source, Files):
            path = str(source.paths[index])
            losses.add(path, source.decoder.check(path)[1])
        flat = image.reshape(3, -1).astype(np.float64) / 255
        moments.append([flat.mean(axis=1), (flat**2).mean(axis=1)])
        size = f"{image.shape[2]}×{image.shape[1]}"
    if not moments:
        return None
    mean, square = np.mean(moments, axis=0)
    std = np.sqrt(square - mean**2)
    texts = (",".join(f"{x:.4f}" for x in numbers) for numbers in (mean, std))
    return size, "data.mean=[{}] data.std=[{}]".format(*texts)
