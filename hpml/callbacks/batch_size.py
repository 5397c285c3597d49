"""How many samples a training batch has: what its loader knows, and what the batch shows."""

import dataclasses
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from operator import attrgetter, itemgetter
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.fabric.utilities.data import sized_len
from torch.nn.utils.rnn import PackedSequence
from torch.utils.data import BatchSampler, IterableDataset, default_collate

TRANSFER_HOOKS = "on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer"
LIGHTNING = "lightning.", "pytorch_lightning."  # the two names of its package
# By these a batch says how many samples it has: PyTorch Geometric's, and anybody's.
SAID_BY = tuple(map(attrgetter, ("num_graphs", "batch_size")))
TEXT = str, bytes, bytearray
MOST_PARTS = 256  # of a batch that are looked at, the outermost first
Place = tuple[Callable[[Any], Any], ...]  # the way into a batch, and what measures the part there


class BatchSizes:
    """Counts the samples of a fit's training batches; None, and no guess, where nothing is sure.

    A sample is an item of a data set. A length is a tensor's or an array's first dimension, a
    sequence's number of items, or what a batch says of itself (`num_graphs`, an integer
    `batch_size`, a PackedSequence). Loader and batch have to agree:

    1. Where a DataLoader's batch size, sampler and `drop_last` tell how many items it drew for the
       batch, it is that number. In a batch that shows fewer, because its `collate_fn` has dropped
       some, it is what the places show that had shown the drawn number in the first batch.
    2. Where the end of the data is not known (an IterableDataset) or the sizes are not (a batch
       sampler of one's own), it is the length that all tensors share, if torch's `default_collate`
       has made the batch and no hook around its transfer may have changed it.
    3. With a `collate_fn`, or a loader, of one's own it is what the places show that had shown the
       loader's or its batch sampler's `batch_size` in the first batch.
    4. Without any such number it is what a batch says of itself.

    Places that disagree, or show more, tell nothing. Of several loaders a batch has the samples of
    all its parts: those of a loader that begins anew count again, one that has ended gives none.
    """

    def __init__(self) -> None:
        self._flattened: Any = None  # the loaders of which `_loaders` know
        self._loaders: list[LoaderBatches] = []

    def samples(self, trainer: L.Trainer, batch: Any) -> int | None:
        """Those of the batch that has just been trained; for each `on_train_batch_end`."""
        loop: Any = trainer.fit_loop
        fetcher: Any = getattr(loop, "_data_fetcher", None)
        combined: Any = getattr(fetcher, "_combined_loader", None)
        if combined is None:
            return said_in(batch)
        fetches_inside = hasattr(fetcher, "iterator_wrapper")  # `training_step(dataloader_iter)`
        if fetches_inside and fetcher.fetched != loop.epoch_loop.batch_progress.current.ready:
            return None  # not one batch a step
        if combined.flattened is not self._flattened:
            self._flattened, as_given = combined.flattened, _leaves_batches(trainer)
            self._loaders = [LoaderBatches(loader, as_given) for loader in self._flattened]
        # without a length Lightning fetches a batch ahead, to know the last one
        is_ahead, is_last = bool(getattr(fetcher, "batches", None)), getattr(fetcher, "done", False)
        return self._of_parts(combined, batch, is_ahead, is_last)

    def _of_parts(self, combined: Any, batch: Any, is_ahead: bool, is_last: bool) -> int | None:
        loaders, parts = self._loaders, [batch]
        iterators = getattr(combined._iterator, "iterators", ())
        if len(loaders) > 1:  # at once: no fit takes them one after the other
            try:
                parts = combined._spec.flatten_up_to(batch)
            except ValueError:  # a hook has made something else of it
                return None
        if not len(loaders) == len(iterators) == len(parts):
            return None
        total = 0
        for loader, given_by, part in zip(loaders, iterators, parts, strict=True):
            samples = 0 if part is None else loader.samples(part, given_by, is_ahead, is_last)
            if samples is None:
                return None
            total += samples
        return total


class LoaderBatches:
    """One loader's batches; `as_given` where no hook around the transfer may change them.

    `samples` has to be asked about each of them, from the first one on.
    """

    def __init__(self, loader: Any, as_given: bool = True) -> None:
        sampler: Any = getattr(loader, "batch_sampler", None)
        collate: Any = getattr(loader, "collate_fn", None) if sampler is not None else None
        self._collated = as_given and collate is default_collate
        if sampler is None:  # that of a DataLoader without automatic batching may give batches
            sampler = getattr(loader, "sampler", None)
        self._loader, self._sampler = loader, sampler
        self._is_stream = isinstance(getattr(loader, "dataset", None), IterableDataset)
        self._is_cut = getattr(type(sampler), "__iter__", None) is BatchSampler.__iter__
        # workers out of order may give a smaller batch before another
        self._in_order = not getattr(loader, "num_workers", 0) or getattr(loader, "in_order", True)
        self._places: list[Place] | None = None  # None before the first batch
        self._others: list[Place] = []  # their second dimensions: these may disagree, no more

    def samples(
        self, batch: Any, given_by: Any, is_ahead: bool = False, is_last: bool = False
    ) -> int | None:
        """Those of the batch that the loader's iterator gave last, or before if it `is_ahead`.

        Of data without a known end the first one may be a smaller one if it `is_last`.
        """
        given = getattr(given_by, "_num_yielded", None)  # by torch's iterators alone
        full = _int(self._loader, "batch_size") or _int(self._sampler, "batch_size")
        drawn = None if given is None else self._drawn(full, None if is_ahead else given)
        most = full if drawn is None else drawn
        if drawn is None and self._collated and given is not None:
            return shared_length(batch)
        if self._places is None:
            if is_last and self._is_stream and drawn is None:
                return said_in(batch) if most is None else None
            self._learn(batch, most)
        if not self._places:
            if drawn is None:
                return said_in(batch)
            return None if _shows_fewer(batch, drawn) else drawn
        if drawn is not None and any(_read(batch, place) == drawn for place in self._places):
            return drawn
        return self._agreed(batch, most)

    def _drawn(self, full: int | None, given: int | None) -> int | None:
        """How many items were drawn for the batch; None where that is not certain."""
        if self._is_stream:
            return full if getattr(self._loader, "drop_last", False) else None
        known = given if self._in_order else None
        if isinstance(self._sampler, list | tuple) and known and known <= len(self._sampler):
            return sized_len(self._sampler[known - 1])
        if not self._is_cut or full is None:
            return None
        total = sized_len(self._sampler.sampler)
        if self._sampler.drop_last or (total is not None and total % full == 0):
            return full
        if total is None or known is None:
            return None
        return full if known <= total // full else total % full

    def _learn(self, batch: Any, most: int | None) -> None:
        """Keeps the places that show the number of samples, in the first batch."""
        shown = [place for place, length in lengths(batch) if length == most]
        self._places = [place for place in shown if place[-1] is not _columns]
        rows = {place[:-1] for place in self._places if place[-1] is _rows}
        self._others = [p for p in shown if p[-1] is _columns and p[:-1] in rows]

    def _agreed(self, batch: Any, most: int | None) -> int | None:
        shown = {_read(batch, place) for place in (*(self._places or ()), *self._others)}
        length = shown.pop() if len(shown) == 1 else None
        return length if length is not None and most is not None and length <= most else None


def lengths(batch: Any) -> Iterator[tuple[Place, int]]:
    """Each length in a batch and its place, the outermost first; second dimensions too."""
    parts: deque[tuple[Place, Any]] = deque([((), batch)])
    for _ in range(MOST_PARTS):
        if not parts:
            return
        way, part = parts.popleft()
        if isinstance(part, torch.Tensor | np.ndarray):
            yield from (((*way, measure), measure(part)) for measure in _dimensions(part))
        elif isinstance(part, PackedSequence):
            yield (*way, _packed), _packed(part)
        elif said := [by for by in SAID_BY if _says(part, by)]:
            yield (*way, said[0]), said[0](part)
        elif isinstance(part, Mapping):
            parts.extend(((*way, itemgetter(key)), value) for key, value in part.items())
        elif isinstance(part, Sequence) and not isinstance(part, TEXT):
            yield (*way, len), len(part)
            parts.extend(((*way, itemgetter(index)), item) for index, item in enumerate(part))
        else:
            parts.extend(((*way, attrgetter(name)), getattr(part, name)) for name in _names(part))


def said_in(batch: Any) -> int | None:
    """What a batch says of itself; None where it says nothing, or two things."""
    says = (*SAID_BY, _packed)
    said = {length for place, length in lengths(batch) if place[-1] in says}
    return said.pop() if len(said) == 1 else None


def shared_length(batch: Any) -> int | None:
    """The length of all tensors and all lists of texts in a batch; None where they differ."""
    shared, parts = set(), [batch]
    while parts:
        part = parts.pop()
        if isinstance(part, torch.Tensor):
            shared.add(_rows(part) if part.ndim else None)
        elif isinstance(part, Mapping):
            parts.extend(part.values())
        elif isinstance(part, Sequence) and not isinstance(part, TEXT):
            if part and all(isinstance(item, TEXT) for item in part):
                shared.add(len(part))
            else:
                parts.extend(part)
    return shared.pop() if len(shared) == 1 else None


def _shows_fewer(batch: Any, drawn: int) -> bool:
    """Whether a batch has a length below a number, and none that is this number."""
    fewer = False
    for place, length in lengths(batch):
        if place[-1] is not _columns:
            if length == drawn:
                return False
            fewer = fewer or length < drawn
    return fewer


def _read(batch: Any, place: Place) -> Any:
    """What a place shows; None where the batch has no such place."""
    try:
        for get in place:
            batch = get(batch)
    except (LookupError, AttributeError, TypeError):
        return None
    return batch


def _rows(part: Any) -> int:
    return int(part.size(0) if isinstance(part, torch.Tensor) else part.shape[0])


def _columns(part: Any) -> int:
    return int(part.shape[1])


def _packed(part: PackedSequence) -> int:
    return int(part.batch_sizes[0])


def _dimensions(part: Any) -> list[Callable[[Any], int]]:
    has_columns = part.ndim > 1 and not getattr(part, "is_nested", False)
    return [_rows, _columns] if has_columns else [_rows] if part.ndim else []


def _says(part: Any, by: Callable[[Any], Any]) -> bool:
    with suppress(Exception):  # whatever a property of somebody's raises
        return type(by(part)) is int
    return False


def _names(part: Any) -> Iterator[str]:
    """Attributes that hold an object's parts; none of a number's."""
    if dataclasses.is_dataclass(part) and not isinstance(part, type):
        return (field.name for field in dataclasses.fields(part) if hasattr(part, field.name))
    return iter(getattr(part, "__dict__", ()))


def _int(owner: Any, name: str) -> int | None:
    value = getattr(owner, name, None)
    return value if type(value) is int else None


def _leaves_batches(trainer: L.Trainer) -> bool:
    """Whether the hooks around the transfer of a batch are Lightning's own."""
    owners = [trainer.lightning_module, getattr(trainer, "datamodule", None)]
    return all(
        getattr(owner, hook).__module__.startswith(LIGHTNING)
        for owner in owners
        if owner is not None
        for hook in TRANSFER_HOOKS
    )
