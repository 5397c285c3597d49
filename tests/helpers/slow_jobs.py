"""Jobs of other people's kinds that are slow in a known way, for `benchmarks/tune.py`."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss, normalize
from torch.utils.data import DataLoader, Dataset, TensorDataset

from helpers.jobs import Adversarial, Job
from helpers.jobs import trainer as quiet_trainer
from hpml.system.environment import usable_cores

BATCHES, BATCH_SIZE = 60, 32
WORKERS, THREADS, OPTIMIZER = "num_workers", "threads", "optimizer"
# What may help a network that computes, by the machine.
COMPUTING = {"compile", "channels_last", "precision", THREADS, OPTIMIZER}
LOADING = {WORKERS, "persistent_workers", THREADS, "prefetch_factor"}
ANYTHING = LOADING | COMPUTING
sgd = partial(torch.optim.SGD, lr=1e-3)
adam = partial(torch.optim.Adam, lr=1e-3)


class Module(L.LightningModule):
    """A network, a loss of its batches, an optimizer."""

    def __init__(
        self,
        network: nn.Module,
        loss: Callable[[nn.Module, Any], Tensor],
        optimizer: Callable[..., Any] = sgd,
    ) -> None:
        super().__init__()
        self.network, self.loss, self.optimizer = network, loss, optimizer

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.loss(self.network, batch)

    def configure_optimizers(self) -> Any:
        return self.optimizer(
            parameter for parameter in self.parameters() if parameter.requires_grad
        )


class Chatty(Module):
    """Logs many values at each step."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        values = {f"value/{number}": float(number) for number in range(200)}
        if batch_idx % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self.logger.log_metrics(values, self.global_step)  # type: ignore[union-attr]
        return loss


class Validated(Module):
    """Validates more than it trains."""

    checked = 2 * BATCHES

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.loss(self.network, batch))

    def val_dataloader(self) -> Any:
        return vectors(256, batches=self.checked)


class Briefly(Validated):
    """Validates a few batches."""

    checked = 5


class Norms(L.Callback):
    """Reads a number of each weight in each step."""

    def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
        for parameter in module.parameters():
            for row in parameter:
                row.norm().item()


@dataclass(eq=False)
class Sines(Dataset[Any]):
    """Each sample is made when it is asked for, of so many terms; its size may vary."""

    size: int
    terms: int
    varies: bool = False
    views: int = 1

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Any:
        side = 28 + (4 * (index % 3) if self.varies else 0)
        views = [self._made(index, side) for _ in range(self.views)]
        return (*views, index % 10)

    def _made(self, index: int, side: int) -> Tensor:
        image = torch.zeros(side, side)
        for term in range(self.terms):
            image += torch.sin(torch.linspace(0, index + term, side * side)).view(side, side)
        return image[None]


class Decoded(Dataset[Any]):
    """Images that are decoded whenever they are asked for."""

    def __init__(self, size: int) -> None:
        self.size, file = size, io.BytesIO()
        noise = np.random.default_rng(0).integers(0, 255, (224, 224, 3), np.uint8)
        Image.fromarray(noise).save(file, "JPEG")
        self.content = file.getvalue()

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        with Image.open(io.BytesIO(self.content)) as image:
            small = image.convert("L").resize((28, 28))
        return torch.from_numpy(np.array(small)).float()[None] / 255, index % 10


def as_lists(samples: list[Any]) -> Any:
    """A detector's collate: tuples of images of differing sizes, and their targets."""
    return tuple(zip(*samples, strict=True))


def flat(samples: list[Any]) -> Any:
    return (torch.stack([image.flatten() for image, _ in samples]),)


def tokens(samples: list[str]) -> Tensor:
    """A collate of one's own: splits texts into words, and looks them up."""
    rows = []
    for text in samples:
        words = [sum(map(ord, word)) % 256 for _ in range(60) for word in text.split()]
        rows.append(torch.tensor(words[:64]))
    return torch.stack(rows)


def sorted_slowly(samples: list[Any]) -> Any:
    """A collate that computes."""
    images = torch.stack([image for image, _ in samples])
    for _ in range(120):
        images = images.flatten(1).sort(1).values.view_as(images)
    return images, torch.tensor([label for _, label in samples])


def classified(network: nn.Module, batch: Any) -> Tensor:
    return cross_entropy(network(batch[0]), batch[1])


def detected(network: nn.Module, batch: Any) -> Tensor:
    images, labels = batch
    outputs = torch.cat([network(image[None]) for image in images])
    return cross_entropy(outputs, torch.tensor(labels))


def read(network: nn.Module, batch: Tensor) -> Tensor:
    return cross_entropy(network(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())


def contrasted(network: nn.Module, batch: Any) -> Tensor:
    first, second = (normalize(network(view)) for view in batch[:2])
    return cross_entropy(first @ second.T / 0.1, torch.arange(len(first)))


def regressed(network: nn.Module, batch: Any) -> Tensor:
    return mse_loss(network(batch[0]), batch[0])


def tiny() -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16, 10))


def convolutions(width: int) -> nn.Module:
    first, second = nn.Conv2d(1, width, 3), nn.Conv2d(width, width, 3)
    end = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), *end)


class Elementwise(nn.Module):
    """Many small kernels, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.scales = nn.Parameter(torch.ones(80, 64))

    def forward(self, x: Tensor) -> Tensor:
        for scale in self.scales:
            x = torch.tanh(x * scale + 0.1) - 0.05
        return x


def vectors(
    width: int, batch_size: int = BATCH_SIZE, dtype: Any = torch.float32, batches: int = BATCHES
) -> Any:
    data = torch.rand(batches * batch_size, width, dtype=dtype)
    return DataLoader(TensorDataset(data), batch_size)


def small() -> Module:
    return Module(convolutions(4), classified)


def pictures() -> Any:
    """Images that lie in memory."""
    size = BATCHES * BATCH_SIZE
    return DataLoader(
        TensorDataset(torch.rand(size, 1, 28, 28), torch.arange(size) % 10), BATCH_SIZE
    )


def frozen(width: int) -> nn.Module:
    """A backbone that does not learn, and a head that does."""
    network = convolutions(width)
    for parameter in list(network.parameters())[:-2]:
        parameter.requires_grad = False
    return network


def samples(dataset: Callable[[int], Any], **settings: Any) -> Callable[[], DataLoader[Any]]:
    return lambda: DataLoader(dataset(BATCHES * BATCH_SIZE), BATCH_SIZE, **settings)


def sines(terms: int, **settings: Any) -> Callable[[int], Sines]:
    return lambda size: Sines(size, terms, **settings)


class SlowJob(NamedTuple):
    """A job, the settings that have to be changed about it, and those that may."""

    module: Callable[[], L.LightningModule]
    loader: Callable[[], Any]
    needed: set[str]  # slots of changes
    trainer: Callable[[Path], dict[str, Any]] = lambda folder: {}
    may: set[str] = ANYTHING
    threads: int = 1

    def job(self, folder: Path, **settings: Any) -> Job:
        given = {"max_epochs": 2} | self.trainer(folder) | settings
        return quiet_trainer(folder, **given), self.module(), self.loader()


TEXTS: Any = [f"word {n} of a text that is long enough" for n in range(BATCHES * BATCH_SIZE)]
JOBS = {
    "slow item": SlowJob(small, samples(sines(64)), {WORKERS}),
    "heavy collate": SlowJob(small, samples(sines(1), collate_fn=sorted_slowly), {WORKERS}),
    "chatty logger": SlowJob(
        lambda: Chatty(tiny(), classified),
        pictures,
        {"log_every"},
        lambda folder: {"logger": TensorBoardLogger(folder), "log_every_n_steps": 1},
    ),
    "reading callback": SlowJob(
        lambda: Module(nn.Linear(256, 256), regressed),
        lambda: vectors(256),
        {"callback Norms"},
        lambda folder: {"callbacks": [Norms()]},
    ),
    "small kernels": SlowJob(
        lambda: Module(Elementwise(), regressed), lambda: vectors(64), {"compile"}
    ),
    "too many threads": SlowJob(
        lambda: Module(nn.Sequential(*(nn.Linear(128, 128) for _ in range(20))), regressed),
        lambda: vectors(128, 64),
        {THREADS},
        threads=4 * usable_cores(),
    ),
    "decoded every epoch": SlowJob(small, samples(Decoded), {WORKERS}),
    "nothing to gain": SlowJob(
        lambda: Module(nn.Linear(512, 512, dtype=torch.float64), regressed),
        lambda: vectors(512, 256, torch.float64),
        set(),
        lambda folder: {"precision": "64-true"},
        may=set(),
        threads=usable_cores(),
    ),
    # fused and foreach exclude each other
    "many weights": SlowJob(
        lambda: Module(nn.Sequential(*(nn.Linear(16, 16) for _ in range(60))), regressed, adam),
        lambda: vectors(16),
        {OPTIMIZER},
    ),
    "needless validation": SlowJob(
        lambda: Validated(nn.Linear(256, 256), regressed),
        lambda: vectors(256),
        {"validation"},
        lambda folder: {"limit_val_batches": 1.0, "max_epochs": 20},
    ),
    # of which much comes once: ends, a few batches of validation, a checkpoint
    "short epochs": SlowJob(
        lambda: Briefly(nn.Linear(256, 256), regressed),
        lambda: vectors(256, batches=10),
        {"callback Norms"},
        lambda folder: {
            "callbacks": [Norms(), ModelCheckpoint(folder / "saved")],
            "enable_checkpointing": True,
            "limit_val_batches": 1.0,
        },
        may=ANYTHING | {"validation"},
    ),
    "slow item, slow callback": SlowJob(
        lambda: Module(nn.Sequential(nn.Flatten(), nn.Linear(784, 1000)), classified),
        samples(sines(64)),
        {WORKERS, "callback Norms"},
        lambda folder: {"callbacks": [Norms()]},
    ),
    # of kinds as they are met elsewhere
    # each tensor of a list comes from a worker by a file of its own, which takes what it saves
    "detection of lists": SlowJob(
        lambda: Module(convolutions(4), detected),
        samples(sines(48, varies=True), collate_fn=as_lists),
        set(),
    ),
    "GAN by hand": SlowJob(Adversarial, samples(sines(32), collate_fn=flat), {WORKERS}),
    "text with its own collate": SlowJob(
        lambda: Module(nn.Sequential(nn.Embedding(256, 32), nn.Linear(32, 256)), read),
        lambda: DataLoader(TEXTS, BATCH_SIZE, collate_fn=tokens),
        {WORKERS},
    ),
    "contrastive, two views": SlowJob(
        lambda: Module(convolutions(4), contrasted), samples(sines(32, views=2)), {WORKERS}
    ),
    "fine-tuning of a head": SlowJob(lambda: Module(frozen(48), classified, adam), pictures, set()),
}
