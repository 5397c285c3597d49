"""Workers that are threads: the batches, errors and ends of those that are processes."""

import gc
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
import torch
from helpers.pipelines import batches, make_data, same, set_up
from torch.utils.data import Dataset

from hpml.data import ImageFolder
from hpml.data.thread_loader import ThreadLoader, _start
from hpml.errors import DataError, RunFailedError


class Numbers(Dataset[int]):
    """Their squares; 5 fails, and 7 waits until it is let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.made: list[int] = []

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> int:
        self.made.append(index)
        if index == 5:
            raise ValueError("five")
        if index == 7:
            self.let_go.wait(20)
        return index**2


@pytest.mark.parametrize("persistent_workers", [True, False])
@pytest.mark.parametrize("pipeline", ["per_sample", "batched"])
def test_batches_are_those_of_processes(pipeline: str, persistent_workers: bool) -> None:
    """Bit for bit over epochs, whatever their number, and whether or not they live on."""
    reference = batches(make_data(pipeline=pipeline, encoded="jpeg"), epochs=3)
    for num_workers in (1, 2, 5):
        settings = {"num_workers": num_workers, "persistent_workers": persistent_workers}
        data = make_data(pipeline=pipeline, encoded="jpeg", workers="threads", **settings)
        assert same(reference, batches(data, epochs=3)), num_workers


def test_an_epoch_that_is_left_or_resumed() -> None:
    """The next one begins at its start, another in its middle: with the batches that are due."""
    reference = batches(make_data(), epochs=2)
    data = make_data(workers="threads", num_workers=2)
    loader: Any = data.train_dataloader()
    next(iter(loader))
    assert same(reference, batches(data, epochs=2))
    loader.sampler.set_position(1, 32)
    rest = [data.on_after_batch_transfer(batch, 0) for batch in loader]
    assert same(reference[7:], rest)
    assert len(rest) == 3


def test_no_more_is_made_than_asked_for() -> None:
    """As many batches ahead as `prefetch_factor` says for each thread."""
    data = Numbers()
    taken = iter(ThreadLoader(data, num_workers=2, prefetch_factor=1, sampler=[0, 1, 2, 3, 4]))
    batch = next(taken)
    deadline = time.monotonic() + 20
    while len(data.made) < 3 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert (batch.item(), sorted(data.made)) == (0, [0, 1, 2])


def test_errors_of_files(image_folder: Path) -> None:
    """A file that breaks during training is named, once its batch is due."""
    data = set_up(ImageFolder, root=image_folder, num_workers=2, workers="threads")
    path = image_folder / "train" / "dog" / "5.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match=f"^{path}: cannot be decoded"):
        [data.on_before_batch_transfer(batch, 0) for batch in data.train_dataloader()]


def test_other_errors_are_raised_as_they_are() -> None:
    """In the training process, in the batch's place; those before it come first."""
    loader = iter(ThreadLoader(Numbers(), num_workers=2, sampler=[3, 4, 5]))
    assert [next(loader).item(), next(loader).item()] == [9, 16]
    with pytest.raises(ValueError, match="five"):
        next(loader)


def test_a_thread_that_hangs_ends_the_run() -> None:
    """After `data.timeout_s`, in the words that are said of processes; what is ready is taken."""
    data = Numbers()
    loader = iter(ThreadLoader(data, num_workers=2, sampler=[1, 7, 2], timeout=0.2))
    assert next(loader).item() == 1
    with pytest.raises(RunFailedError, match=r"no batch came for data.timeout_s=0.2: a worker han"):
        next(loader)
    data.let_go.set()


def test_the_time_limit_is_the_data_modules() -> None:
    """`timeout_s`; null waits for ever, and processes have a watchdog instead."""
    for timeout_s, workers, expected in ((9.0, "threads", 9), (None, "threads", 0)):
        data = make_data(num_workers=1, workers=workers, timeout_s=timeout_s)
        assert data.train_dataloader().timeout == expected
    assert make_data(num_workers=1, timeout_s=9.0).train_dataloader().timeout == 0


def test_threads_end_with_their_loader() -> None:
    """And those of an epoch that was left, too."""
    before = set(threading.enumerate())
    loader = make_data(workers="threads", num_workers=3).train_dataloader()
    next(iter(loader))
    begun = set(threading.enumerate()) - before
    assert [each.name.startswith("loader-") for each in begun] == [True] * 3
    del loader
    gc.collect()
    for thread in begun:
        thread.join(20)
        assert not thread.is_alive()


def test_a_thread_computes_with_one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a worker process does; the training process, and its later threads, with all of theirs."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    tasks: SimpleQueue[Any] = SimpleQueue()
    asked: Future[int] = Future()
    try:
        _start(1, tasks, lambda keys: torch.get_num_threads(), None)
        tasks.put((asked, [0]))
        later: list[int] = []
        thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert (asked.result(20), torch.get_num_threads(), later) == (1, 3, [3])
    finally:
        tasks.put(None)
        torch.set_num_threads(before)


def test_unknown_kinds_are_refused() -> None:
    """With those that there are; without workers there is nothing to choose."""
    with pytest.raises(ValueError, match="workers='fibers': give one of processes, threads"):
        make_data(workers="fibers")
    assert type(make_data(workers="threads").train_dataloader()) is not ThreadLoader
