"""Jobs of other people's kinds, which know nothing of hpml: Trainer, module and data of each."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

Job = tuple[L.Trainer, L.LightningModule, Any]


def trainer(folder: Path, **settings: Any) -> L.Trainer:
    """A Trainer that is quiet, on the CPU."""
    off = ("logger", "enable_progress_bar", "enable_checkpointing", "enable_model_summary")
    defaults = {"accelerator": "cpu", "max_epochs": 1, "limit_val_batches": 0}
    folders: dict[str, Any] = {"default_root_dir": folder}
    return L.Trainer(**dict.fromkeys(off, False) | folders | defaults | settings)


class Autoencoder(L.LightningModule):
    def __init__(self, width: int = 1024) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(784, width), nn.ReLU(), nn.Linear(width, 16))
        self.decoder = nn.Sequential(nn.Linear(16, width), nn.ReLU(), nn.Linear(width, 784))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        (images,) = batch
        loss = mse_loss(self.decoder(self.encoder(images)), images)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=1e-3)


class Transformer(L.LightningModule):
    """Predicts the next token; its batches are dictionaries."""

    def __init__(self, width: int = 64, vocabulary: int = 256) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.embedding = nn.Embedding(vocabulary, width)
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, vocabulary)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        tokens = batch["input_ids"]
        mask = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1] - 1)
        hidden = self.layers(self.embedding(tokens[:, :-1]), mask=mask, is_causal=True)
        loss = cross_entropy(self.head(hidden).flatten(0, 1), tokens[:, 1:].flatten())
        self.log_dict({"loss": loss, "perplexity": loss.exp()})
        return {"loss": loss}

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=1e-3)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Adversarial(L.LightningModule):
    """Manual optimization with two optimizers, each with a network of its own."""

    def __init__(self, width: int = 512) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.generator = nn.Sequential(nn.Linear(32, width), nn.ReLU(), nn.Linear(width, 784))
        self.critic = nn.Sequential(nn.Linear(784, width), nn.ReLU(), nn.Linear(width, 1))

    def training_step(self, batch: Any, batch_idx: int) -> None:
        (images,) = batch
        for_generator, for_critic = self.optimizers()  # type: ignore[misc, attr-defined]
        made = self.generator(torch.randn(len(images), 32, device=self.device))
        loss = -self.critic(made).mean()
        for_generator.zero_grad()
        self.manual_backward(loss)
        for_generator.step()
        of_critic = self.critic(made.detach()).mean() - self.critic(images).mean()
        for_critic.zero_grad()
        self.manual_backward(of_critic)
        for_critic.step()
        self.log_dict({"generator": loss, "critic": of_critic})

    def configure_optimizers(self) -> Any:
        of_generator = torch.optim.Adam(self.generator.parameters(), lr=1e-4)
        return [of_generator, torch.optim.Adam(self.critic.parameters(), lr=1e-4)]


class Convolutional(L.LightningModule):
    """BatchNorm and Dropout: state and randomness in the forward pass."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.network = nn.Sequential(
            *(nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.Dropout(0.1), nn.Conv2d(width, width, 3, padding=1), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10)),
        )

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        images, labels = batch
        return cross_entropy(self.network(images), labels)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)


@dataclass(eq=False)
class Images(Dataset[Any]):
    """Each sample is made when it is asked for: sines, `terms` of them."""

    size: int
    terms: int = 4

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Any:
        image = torch.zeros(28, 28)
        for term in range(self.terms):
            image += torch.sin(torch.linspace(0, index + term, 784)).view(28, 28)
        return image[None], index % 10


@dataclass(eq=False)
class Stream(IterableDataset[Any]):
    """No length."""

    size: int

    def __iter__(self) -> Iterator[Any]:
        samples = Images(self.size)
        return (samples[index] for index in range(self.size))


def vectors(size: int) -> Any:
    return TensorDataset(torch.rand(size, 784))


def sentences(size: int) -> Any:
    return [{"input_ids": torch.arange(start, start + 33) % 256} for start in range(size)]


def job(module: Any, samples: Any, batch_size: int, shuffle: bool = False, **settings: Any) -> Any:
    def made(folder: Path, batches: int = 100) -> Job:
        loader: Any = DataLoader(samples(batch_size * batches), batch_size, shuffle)
        return trainer(folder, **settings), module(), loader

    return made


autoencoder = job(Autoencoder, vectors, 64, shuffle=True)
accumulating = job(Convolutional, Images, 32, shuffle=True, accumulate_grad_batches=4)
JOBS = {
    "autoencoder": autoencoder,
    "transformer": job(Transformer, sentences, 16),
    "two optimizers by hand": job(Adversarial, vectors, 64),
    "gradient accumulation": accumulating,
    "IterableDataset": job(Convolutional, Stream, 32),
}
