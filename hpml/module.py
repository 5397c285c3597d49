"""The LightningModule around a network: loss, accuracy, optimizer, and the watch over both."""

from collections.abc import Callable, Iterable
from typing import Any, Literal

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from hpml.errors import RunFailedError, UserError

MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]
MakeScheduler = Callable[..., LRScheduler]

# What it logs once an epoch.
EPOCH_METRICS = ("train/loss", "train/accuracy", "val/loss", "val/accuracy", "lr")

# Reading a flag from a GPU waits until all work before it is done; on the CPU it costs nothing.
FINITE_CHECK_EVERY_N_STEPS = 50


class ImageClassifier(L.LightningModule):
    """Trains a network with cross-entropy and measures top-1 accuracy.

    Logs, once an epoch: `train/loss`, `train/accuracy`, `val/loss`, `val/accuracy` (in a test
    loop `test/loss`, `test/accuracy`), each a mean over all samples of the epoch, and `lr`.

    A loss that is not finite ends the run with RunFailedError: on the CPU before the weights are
    touched, elsewhere within FINITE_CHECK_EVERY_N_STEPS steps.

    Args:
        network: takes float32 images (N, 3, H, W), gives logits (N, classes).
        optimizer: makes the optimizer from the parameters.
        scheduler: makes the scheduler from the optimizer; a `total_steps` of None is filled in.
        scheduler_interval: whether the scheduler steps by `epoch` or by `step`.
        channels_last: train in that memory format, which most convolutions prefer.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: MakeOptimizer,
        scheduler: MakeScheduler | None = None,
        scheduler_interval: Literal["epoch", "step"] = "epoch",
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        self.network = network
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.make_optimizer = optimizer
        self.make_scheduler = scheduler
        self.scheduler_interval = scheduler_interval
        self.train_means = EpochMeans()
        self.eval_means = EpochMeans()
        self._finite: Tensor | None = None  # on the device: whether all losses so far were finite

    def setup(self, stage: str) -> None:
        """Brings the weights into the memory format, before the optimizer sees them."""
        self.network.to(memory_format=self.memory_format)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of shape (N, classes)."""
        logits: Tensor = self.network(images.contiguous(memory_format=self.memory_format))
        return logits

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """The mean loss of a batch of images and labels."""
        images, labels = batch
        logits = self(images)
        loss = F.cross_entropy(logits, labels)
        on_cpu = loss.device.type == "cpu"
        self._watch(loss.detach(), batch_idx, 1 if on_cpu else FINITE_CHECK_EVERY_N_STEPS)
        self.train_means.add(loss.detach(), logits, labels)
        return loss

    def resume_state(self) -> dict[str, Any]:
        """The sums of the open epoch, for a point in its middle."""
        means = self.train_means
        return {"loss": means.loss, "correct": means.correct, "count": means.count}

    def load_resume_state(self, state: dict[str, Any]) -> None:
        """Brings them back, to this module's device."""
        for name, value in state.items():
            on_device = value.to(self.device) if isinstance(value, Tensor) else value
            setattr(self.train_means, name, on_device)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Adds a batch to the means of the loop."""
        images, labels = batch
        logits = self(images)
        self.eval_means.add(F.cross_entropy(logits, labels), logits, labels)

    test_step = validation_step

    def on_train_start(self) -> None:
        """Forgets what an earlier fit met."""
        self._finite = None

    def on_train_epoch_start(self) -> None:
        """Begins new means."""
        self.train_means.reset()

    def on_validation_epoch_start(self) -> None:
        """Begins new means."""
        self.eval_means.reset()

    on_test_epoch_start = on_validation_epoch_start

    def on_train_epoch_end(self) -> None:
        """Reads the epoch's means from the device, once."""
        self._raise_if_not_finite()
        self._log_means("train", self.train_means)
        optimizer = self.optimizers()
        assert not isinstance(optimizer, list)
        self.log("lr", optimizer.param_groups[0]["lr"], sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        """Reads the loop's means from the device, once."""
        self._log_means("val", self.eval_means)

    def on_test_epoch_end(self) -> None:
        """Reads the loop's means from the device, once."""
        self._log_means("test", self.eval_means)

    def configure_optimizers(self) -> Any:
        """What the configuration's optimizer and scheduler make of the parameters."""
        optimizer = self.make_optimizer(self.parameters())
        if self.make_scheduler is None:
            return optimizer
        keywords = getattr(self.make_scheduler, "keywords", {})
        given = keywords.get("total_steps")
        if given and self.scheduler_interval == "step":
            total = self.trainer.estimated_stepping_batches
            if given < total < float("inf"):
                raise UserError(f"scheduler.total_steps={given}: the run has {total}; give null")
        missing = {"total_steps"} & {key for key, value in keywords.items() if value is None}
        steps = {}
        if missing:
            total = self.trainer.estimated_stepping_batches
            if total == float("inf"):
                raise UserError("scheduler.total_steps=null: this run has no known end; give it")
            steps = dict.fromkeys(missing, total)
        scheduler = self.make_scheduler(optimizer, **steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": self.scheduler_interval},
        }

    def _watch(self, loss: Tensor, batch_idx: int, check_every_n_steps: int) -> None:
        finite = loss.isfinite()
        self._finite = finite if self._finite is None else self._finite & finite
        if (batch_idx + 1) % check_every_n_steps == 0:
            self._raise_if_not_finite(batch_idx)

    def _raise_if_not_finite(self, batch_idx: int | None = None) -> None:
        if self._finite is not None and not self._finite:
            step = "" if batch_idx is None else f", step {batch_idx}"
            raise RunFailedError(
                f"train/loss is not finite in epoch {self.current_epoch}{step}. "
                "Lower optimizer.lr, or set trainer.gradient_clip_val=1"
            )

    def _log_means(self, stage: str, means: "EpochMeans") -> None:
        totals = means.totals(self.device)
        totals = self.trainer.strategy.reduce(totals, reduce_op="sum")
        loss, correct, count = totals.tolist()
        if count:
            means_of_all = {f"{stage}/loss": loss / count, f"{stage}/accuracy": correct / count}
            # All ranks hold the same numbers already; without sync_dist Lightning doubts it.
            self.log_dict(means_of_all, sync_dist=True)


class EpochMeans:
    """Sums of loss and of right answers over an epoch's samples, kept on the device.

    torchmetrics does the same for many metrics; for these two its update costs more than the
    step of a small network.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forgets everything."""
        self.loss: Tensor | float = 0.0
        self.correct: Tensor | int = 0
        self.count = 0

    @torch.no_grad()
    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Adds a batch: its mean loss, logits (B, classes) and labels (B,)."""
        self.loss = self.loss + loss.float() * len(labels)
        self.correct = self.correct + (logits.argmax(dim=1) == labels).sum()
        self.count += len(labels)

    def totals(self, device: torch.device) -> Tensor:
        """Sum of losses, right answers, samples: float32 of shape (3,)."""
        return torch.stack(
            [
                torch.as_tensor(value, dtype=torch.float32, device=device)
                for value in (self.loss, self.correct, self.count)
            ]
        )
