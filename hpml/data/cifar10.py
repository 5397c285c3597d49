"""CIFAR-10 from its original archive, through torchvision's download and md5 check."""

import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from filelock import FileLock
from torchvision.datasets import CIFAR10
from torchvision.datasets.utils import download_url

from hpml.data.image_data_module import ImageDataModule, Shape
from hpml.data.storage import ImageSet, Pixels
from hpml.errors import DataError


@dataclass(eq=False, repr=False)
class Cifar10(ImageDataModule):
    """50,000 training and 10,000 test images of 32×32 pixels in 10 classes.

    Source: Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
    """

    holds_pixels: ClassVar = True

    root: Path  # or a text: the folder that holds, or will hold, `cifar-10-batches-py`
    download: bool = True  # fetch the archive (170 MB) where it is missing

    def __post_init__(self) -> None:
        super().__post_init__()
        self.root = Path(str(self.root)).expanduser()

    @classmethod
    def shape_without_loading(cls, settings: Mapping[str, Any]) -> Shape:
        return 32, 10

    def load(self) -> ImageSet:
        if not self.download and not self.root.is_dir():
            raise DataError(f"data.root={self.root}: there is no such folder")
        try:
            train, test = self._read()
        except RuntimeError as error:  # torchvision's word for a failed md5 sum
            archive = self.root / CIFAR10.filename
            raise DataError(
                f"{self.root}: no intact CIFAR-10 there"
                f"{f'; remove {archive} and try again' if archive.exists() else ''}"
                f"{'' if self.download else '; give data.download=true to fetch it'}"
            ) from error
        except EOFError as error:  # a truncated archive while it is unpacked
            raise DataError(f"{self.root}: the archive is truncated; remove it") from error
        except OSError as error:
            raise DataError(
                f"data.root={self.root}: CIFAR-10 could not be fetched or read there ({error}). "
                "On a machine without network, run `python -m hpml.data` where there is one, "
                "and copy the folder"
            ) from error
        where = str(self.root / CIFAR10.base_folder)
        return ImageSet(_pixels(train), _pixels(test), tuple(train.classes), where)

    def _read(self) -> list[CIFAR10]:
        """Both sets; fetches them unless they are there, and be it in a folder to read alone."""
        sets = [partial(CIFAR10, self.root, train=train) for train in (True, False)]
        try:
            return [read() for read in sets]
        except RuntimeError:
            if not self.download:
                raise
        self.root.mkdir(parents=True, exist_ok=True)
        with FileLock(self.root / ".cifar10.lock"):  # of runs that start at once, the others wait
            _Unpacked(self.root, download=True)
        return [read() for read in sets]


class _Unpacked(CIFAR10):
    """torchvision's, which before Python 3.14 unpacks whatever an archive holds, wherever."""

    def download(self) -> None:
        """Fetches the archive, checks its md5 sum, and unpacks it. Raises DataError."""
        if not self._check_integrity():
            download_url(self.url, self.root, self.filename, self.tgz_md5)
            _unpack(Path(self.root, self.filename), Path(self.root))


def _unpack(path: Path, folder: Path) -> None:
    """Unpacks plain files and folders, inside `folder`. Raises DataError where there is more.

    Also absolute names, which Python's filter would make relative, and links, which some versions
    of it could be led out by: all members are looked at before the first is written.
    """
    with tarfile.open(path) as archive:
        for member in archive:
            inside = (folder / member.name).resolve().is_relative_to(folder.resolve())
            if not inside or not (member.isreg() or member.isdir()):
                raise DataError(
                    f"{path}: refused: it holds {member.name!r}, which is no plain file inside the "
                    "folder; remove the archive"
                )
        if hasattr(tarfile, "data_filter"):  # Python 3.11.4; it takes care of modes and owners
            archive.extraction_filter = staticmethod(tarfile.data_filter)
        archive.extractall(folder)


def _pixels(dataset: CIFAR10) -> Pixels:
    return Pixels([dataset.data.transpose(0, 3, 1, 2)], torch.tensor(dataset.targets))
