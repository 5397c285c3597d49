"""Where under a folder the training and test images lie, and what else is there."""

import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from hpml.data.decoding import extensions
from hpml.errors import DataError
from hpml.formatting import counted, listed

log = logging.getLogger("hpml")

TRAIN = ("train", "training")
TEST = ("test", "testing", "val", "valid", "validation")
OF_THE_SYSTEM = {"thumbs.db", "desktop.ini", "__macosx", "@eadir"}
LABELS = {".csv", ".tsv", ".txt", ".json"}  # of files that may say which image is of which class
SHOWN = 3

Images = list[tuple[str, int]]  # paths and the numbers of their classes


@dataclass(frozen=True)
class Layout:
    """The images of a data set, in a fixed order."""

    classes: tuple[str, ...]
    train: Images
    test: Images  # none where there is no test set


def find_layout(root: Path) -> Layout:
    """Finds and lists the images; tells what is chosen and what is passed over.

    Raises DataError that names what lies there instead.
    """
    if not root.is_dir():
        raise DataError(f"data.root={root}: there is no such folder")
    folders = _named(root, TRAIN)
    if not folders:
        raise DataError(
            f"data.root={root}: has no folder `train`; images lie in <root>/train/<class>/*. "
            f"{_instead(root, root)}"
        )
    train = next((folder for folder in folders if len(_classes(folder)) > 1), None)
    if train is None:
        raise DataError(
            f"{folders[0]}: give a folder for each class, at least two. "
            f"{_instead(folders[0], root)}"
        )
    classes = _classes(train)
    images = _list(train, classes, may_be_empty=False)
    if train != folders[0] or train.name != TRAIN[0]:
        log.info(f"training set: {train}")
    return Layout(classes, images, _find_test(root, train, classes))


def find_train(root: Path) -> Path | None:
    """The folder of the training images, by its name."""
    return next(iter(_named(root, TRAIN)), None) if root.is_dir() else None


def _find_test(root: Path, train: Path, classes: tuple[str, ...]) -> Images:
    """The images of the first folder that has some in the classes; tells which are passed over."""
    chosen: Images = []
    chosen_folder, passed = None, []
    for folder in _named(root, TEST):
        if chosen:
            passed.append(f"{folder} is not used")
            continue
        there = {*_classes(folder)}
        unknown = sorted(there - {*classes})
        if unknown and len(unknown) < len(there):
            raise DataError(f"{folder / unknown[0]}: a class that {train} does not have")
        chosen = [] if unknown or not there else _list(folder, classes, may_be_empty=True)
        if chosen:
            chosen_folder = folder
        else:
            passed.append(f"{folder} has no images in the classes of {train}: {_holds(folder)}")
    if chosen_folder is None:
        for reason in passed:
            log.warning(reason)
        return []
    if passed or chosen_folder.name not in ("test", "val"):
        log.info("; ".join((f"test set: {chosen_folder}", *passed)))
    for missing in sorted({*range(len(classes))} - {label for _, label in chosen}):
        log.warning(f"{chosen_folder}: has no images of {classes[missing]}")
    return chosen


def _named(root: Path, names: Iterable[str]) -> list[Path]:
    """The folders of these names, in their order, whatever their case."""
    there = {entry.name.casefold(): entry for entry in _visible(root) if _is_dir(entry)}
    return [Path(there[name].path) for name in names if name in there]


def _classes(folder: Path) -> tuple[str, ...]:
    return tuple(entry.name for entry in _visible(folder) if _is_dir(entry))


def _list(folder: Path, classes: tuple[str, ...], may_be_empty: bool) -> Images:
    """The images of the classes; tells how many files it leaves out, by reason."""
    outside = [e.path for e in _visible(folder) if not _is_dir(e) and _reason(e) is None]
    strays = [("outside of any class", path) for path in outside]
    images: Images = []
    deeper = None
    for label, name in enumerate(classes):
        here = folder / name
        entries = [(e.path, _reason(e)) for e in _below(here)] if here.is_dir() else []
        found = [(path, label) for path, reason in entries if reason is None]
        left_out = [(reason, path) for path, reason in entries if reason is not None]
        if not found and not may_be_empty:
            raise DataError(f"{here}: a class without images{_counts(left_out)}")
        if found and deeper is None and Path(found[-1][0]).parent != here:
            deeper = found[-1][0]
        images += found
        strays += left_out
    if strays:
        log.warning(f"{folder}{_counts(strays)}")
    if deeper:
        log.info(f"{folder}: what lies deeper than a class's folder is of that class ({deeper})")
    return images


def _below(folder: str | Path) -> Iterator[os.DirEntry[str]]:
    """All that is no folder, however deep, a folder's own first.

    No link to a folder is followed: it may lead in a circle.
    """
    inner = []
    for entry in _visible(folder):
        if entry.is_dir(follow_symlinks=False):
            inner.append(entry.path)
        else:
            yield entry
    for path in inner:
        yield from _below(path)


def _visible(folder: str | Path) -> list[os.DirEntry[str]]:
    """What lies in a folder, by name, but for what is hidden or the system's."""
    with os.scandir(folder) as entries:
        shown = [
            entry
            for entry in entries
            if not entry.name.startswith(".") and entry.name.casefold() not in OF_THE_SYSTEM
        ]
    return sorted(shown, key=lambda entry: entry.name)


def _is_dir(entry: os.DirEntry[str]) -> bool:
    """Also a link to one; False where a link leads nowhere or in a circle."""
    return Path(entry.path).is_dir() if entry.is_symlink() else entry.is_dir()


def _reason(entry: os.DirEntry[str]) -> str | None:
    """Why an entry that is no folder cannot be an image; None where its name is that of one."""
    if not (Path(entry.path).is_file() if entry.is_symlink() else entry.is_file()):
        return "link to a folder" if _is_dir(entry) else "no plain file"
    extension = PurePath(entry.name).suffix.lower()
    return None if extension in extensions() else extension or "no extension"


def _counts(strays: list[tuple[str, str]]) -> str:
    """`: left out .csv (2), .txt (1), such as PATH`; nothing where there are none."""
    if not strays:
        return ""
    counts = Counter(reason for reason, _ in strays).most_common()
    words = listed([f"{reason} ({count:,})" for reason, count in counts], 5)
    return f": left out {words}, such as {strays[0][1]}"


def _holds(folder: Path) -> str:
    """`it holds 3 images, labels.csv, folders a, b`."""
    entries = _visible(folder)
    folders = [entry.name for entry in entries if _is_dir(entry)]
    images = sum(not _is_dir(entry) and _reason(entry) is None for entry in entries)
    parts = [counted(images, "image")] if images else []
    parts += [listed(labels, SHOWN)] if (labels := _labels(folder)) else []
    parts += [f"folders {listed(folders, SHOWN)}"] if folders else []
    return f"it holds {', '.join(parts)}" if parts else "it is empty"


def _labels(folder: Path) -> list[str]:
    """Files that may say which image is of which class."""
    return [e.name for e in _visible(folder) if PurePath(e.name).suffix.lower() in LABELS]


def _instead(folder: Path, root: Path) -> str:
    """What lies where classes were expected, and what to do."""
    holds = f"{folder.name if folder != root else 'There'}: {_holds(folder)}"
    entries = _visible(folder)
    within = [Path(entry.path) for entry in _visible(root) if _is_dir(entry)]
    if deeper := next((inner for inner in within if _named(inner, TRAIN)), None):
        return f"{holds}; give data.root={deeper}"
    if any(_reason(entry) is None for entry in entries if not _is_dir(entry)):
        by = f" by {labels[0]}" if (labels := _labels(folder) or _labels(root)) else ""
        return f"{holds}; sort the images into a folder for each class{by}"
    if folder == root and len(_classes(root)) > 1:
        return f"{holds}; if these are the classes, move them into {root / TRAIN[0]}"
    return holds
