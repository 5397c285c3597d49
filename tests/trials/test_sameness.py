"""What a changed job computes, beside what the job computes: no change goes unnoticed."""

import math
import random
from typing import Any

import lightning as L
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

from hpml.trials import sameness
from hpml.trials.intervention import Intervention
from hpml.trials.sameness import BITS, DIFFERENT, DRAWS, ROUNDED, Reference, Trace, weights_of
from hpml.trials.samples_seeded_by_index import ByIndex
from hpml.trials.settings import Settings
from hpml.trials.subject import Subject

WORKER = Settings(loader=(("num_workers", 1),))


class Noisy(Dataset[Any]):
    """Samples of random numbers, from torch and from Python."""

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        fixed = torch.arange(48.0).reshape(3, 4, 4) * (index + 1) / 100
        return fixed.sin() + torch.rand(1) * random.random(), index % 3


class DarkInWorkers(Noisy):
    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image, label = super().__getitem__(index)
        return (image / 2 if get_worker_info() else image), label


class Repeated(IterableDataset[Any]):
    """A stream that each worker gives anew, without a share of its own."""

    def __iter__(self) -> Any:
        stream = ((torch.full((3, 4, 4), index / 64), index % 3) for index in range(64))
        worker = get_worker_info()
        return iter(list(stream)[worker.id if worker else 0 :])


class Net(L.LightningModule):
    def __init__(self, dropout: float = 0.0, lr: float = 1e-2) -> None:
        super().__init__()
        self.lr = lr
        torch.manual_seed(0)
        parts = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(dropout)]
        self.network = nn.Sequential(*parts, nn.Flatten(), nn.Linear(32, 3))

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return nn.functional.cross_entropy(self.network(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), self.lr)


def subject_of(dataset: Any = None, module: L.LightningModule | None = None) -> Subject:
    shown = dict.fromkeys(("enable_progress_bar", "enable_model_summary"), False)
    trainer = L.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, **shown
    )
    loader: Any = DataLoader(dataset or Noisy(), 8)
    return Subject(trainer, module or Net(), loader)


CASES: dict[str, tuple[Any, float, Intervention, str]] = {
    "nothing": (Noisy(), 0.0, Intervention(), BITS),
    "a worker": (Noisy(), 0.0, Intervention(settings=WORKER), BITS),
    "a worker that gives other samples": (
        *(DarkInWorkers(), 0.0),
        *(Intervention(settings=WORKER), DIFFERENT),
    ),
    "two workers of a stream without shares": (
        *(Repeated(), 0.0),
        *(Intervention(settings=Settings(loader=(("num_workers", 2),))), DIFFERENT),
    ),
    "foreach": (Noisy(), 0.0, Intervention(settings=Settings(optimizer="foreach")), BITS),
    "fewer bits": (Noisy(), 0.0, Intervention(settings=Settings(precision="bf16-mixed")), ROUNDED),
    "another order of dropout's draws": (
        *(Noisy(), 0.5),
        *(Intervention(settings=Settings(channels_last=True)), DRAWS),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_a_change_computes(name: str) -> None:
    """To the bit, within rounding, but for dropout, or something else."""
    dataset, dropout, intervention, kind = CASES[name]
    subject = subject_of(dataset, Net(dropout))
    fewer_bits = intervention.settings.precision is not None
    assert Reference(subject).compare(subject, intervention, fewer_bits).kind == kind


def test_a_job_that_trains_otherwise_is_told() -> None:
    """Another learning rate, though its first loss is the same."""
    found = Reference(subject_of()).compare(subject_of(module=Net(lr=1.2e-2)), Intervention())
    assert found.kind == DIFFERENT
    assert 1e-4 < found.difference < 1


def test_a_job_that_is_never_the_same_is_not_blamed_on_a_change() -> None:
    """Samples with a generator of their own: batches cannot be compared, losses by their floor."""
    generator = random.SystemRandom()

    class Own(Noisy):
        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            return super().__getitem__(index)[0] * (1 + generator.random() / 1e3), index % 3

    subject = subject_of(Own())
    assert Reference(subject).compare(subject, Intervention()).kind in (ROUNDED, DRAWS)


@pytest.mark.parametrize(
    ("grown", "loss", "words"),
    [
        ([1e-6, 1e-6, 1e-4], 5e-4, "within rounding (5e-04)"),
        ([1e-6, 1e-6, 1e-4], 5e-3, "different (0.5%)"),
        ([1e-6, 1e-6, 1e-6], 5e-4, "different (5e-04)"),
    ],
)
def test_rounding_is_the_most_of_a_few_tries(
    grown: list[float], loss: float, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A last bit decides by chance which of two pixels is the largest, and then it grows."""
    own, changed = subject_of(), subject_of()

    def trace(subject: Any, intervention: Any, perturbed: float = 0.0, number: int = 0) -> Trace:
        more = grown[number] if perturbed else loss * (subject is changed)
        return Trace((1.0, 1.0 - more), torch.zeros(1) + more, ())

    monkeypatch.setattr(sameness, "trace", trace)
    assert Reference(own).compare(changed, Intervention()).in_words == words


def test_traces_leave_the_random_states_alone() -> None:
    """And the loaders: the next draw is the one that would have come."""
    dataset = Noisy()
    subject = subject_of(dataset)
    torch.manual_seed(1)
    random.seed(1)
    expected = torch.rand(1), random.random()
    torch.manual_seed(1)
    random.seed(1)
    Reference(subject).compare(subject, Intervention(settings=WORKER))
    assert (torch.rand(1), random.random()) == expected


def test_a_loss_that_is_no_number_is_no_rounding() -> None:
    """Of one of two jobs, and of both: nobody knows what those compute, not even beside itself."""
    nan, inf, weights = math.nan, math.inf, torch.zeros(3)
    own = Trace((1.0, 0.9), weights, (1, 2))
    assert Trace((1.0, nan), weights, (1, 2)).difference(own) == inf
    assert Trace((1.0, nan), weights, (1, 2)).difference(Trace((1.0, nan), weights, (1, 2))) == inf

    class Diverging(Net):
        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            return super().training_step(batch, batch_idx) * nan

    subject = subject_of(module=Diverging())
    found = Reference(subject).compare(subject, Intervention())
    assert found.in_words == "different (other batches, or no finite loss)"


def test_a_change_of_memory_format_is_undone() -> None:
    """Weights lie as they did, with what the trial has learnt."""
    subject = subject_of(module=Net())
    (convolution,) = [p for p in subject.network.modules() if isinstance(p, nn.Conv2d)]
    for layout in (torch.contiguous_format, torch.channels_last):
        convolution.to(memory_format=layout)
        strides = convolution.weight.stride()
        subject.fit(Intervention(settings=Settings(channels_last=True)), 0, 2, seed=0)
        assert convolution.weight.stride() == strides
        assert weights_of(subject.network).isfinite().all()


def test_what_a_worker_is_told_reaches_the_data_set() -> None:
    """Attributes that a `worker_init_fn` sets."""
    dataset = ByIndex(Noisy())
    dataset.file = "open"
    assert dataset.dataset.file == "open"
