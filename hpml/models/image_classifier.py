"""The LightningModule around a network: loss, accuracy, optimizer, and the watch over both."""

import logging
import math
from collections.abc import Callable, Iterable
from typing import Any, Literal

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from hpml.errors import RunFailedError, UserError
from hpml.models.compiling import compile_for
from hpml.models.epoch_metrics import EpochMeans, FiniteWatch

MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]
MakeScheduler = Callable[..., LRScheduler]

log = logging.getLogger("hpml")

# What it logs once an epoch.
EPOCH_METRICS = ("train/loss", "train/accuracy", "val/loss", "val/accuracy", "lr")
# And with test-time augmentation.
TTA_METRICS = ("val/tta_loss", "val/tta_accuracy")

# Of losses on a GPU: to read one at each step would have the host wait for it.
FINITE_CHECK_EVERY_N_STEPS = 25


class ImageClassifier(L.LightningModule):
    """Trains a network with cross-entropy and measures top-1 accuracy.

    Logs, once an epoch: `train/loss`, `train/accuracy`, `val/loss`, `val/accuracy` (in a test
    loop `test/loss`, `test/accuracy`), each a mean over all samples of the epoch, and `lr`.

    A loss that is not finite ends the run with RunFailedError: on the CPU before the weights are
    touched, elsewhere within twice FINITE_CHECK_EVERY_N_STEPS steps.

    Args:
        network: takes float32 images (N, 3, H, W), gives logits (N, classes).
        optimizer: makes the optimizer from the parameters.
        scheduler: makes the scheduler from the optimizer; a `total_steps` of None is filled in.
        scheduler_interval: whether the scheduler steps by `epoch` or by `step`.
        channels_last: train in that memory format, which most convolutions prefer.
        label_smoothing: of the training's cross-entropy; in a validation it is plain.
        compiled_for: shape of a training batch, where the network calls a compiled version of
            itself: it is compiled before the first epoch, and other shapes run as they are. With
            None it compiles for whatever shape comes, when it comes.
        tta: test-time augmentation: validation and test also log `val/tta_loss`, `val/tta_accuracy`
            (`test/…`) of the mean of an image's logits and its mirror image's.
    """

    # Lightning skips a hook that is None; to call an empty one takes it 2 microseconds.
    on_train_batch_start: Any = None
    on_before_zero_grad: Any = None
    on_before_backward: Any = None
    on_after_backward: Any = None
    on_before_optimizer_step: Any = None

    def __init__(
        self,
        network: nn.Module,
        optimizer: MakeOptimizer,
        scheduler: MakeScheduler | None = None,
        scheduler_interval: Literal["epoch", "step"] = "epoch",
        channels_last: bool = False,
        label_smoothing: float = 0.0,
        compiled_for: tuple[int, ...] | None = None,
        tta: bool = False,
    ) -> None:
        super().__init__()
        self.network = network
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.make_optimizer = optimizer
        self.make_scheduler = scheduler
        self.scheduler_interval = scheduler_interval
        self.label_smoothing = label_smoothing
        self.compiled_for = compiled_for
        self.tta = tta
        self.compile_s: float | None = None
        self.train_means = EpochMeans()
        self.eval_means = EpochMeans()
        self.tta_means = EpochMeans()
        self._finite = FiniteWatch()

    def setup(self, stage: str) -> None:
        """Brings the weights into the memory format, before the optimizer sees them."""
        self.network.to(memory_format=self.memory_format)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of shape (N, classes)."""
        images = images.contiguous(memory_format=self.memory_format)
        # To compile for an epoch's short last batch, or for validation, costs more than it gains.
        if self.compiled_for is None or (self.training and images.shape == self.compiled_for):
            logits: Tensor = self.network(images)
        else:
            with torch.compiler.set_stance("force_eager"):
                logits = self.network(images)
        return logits

    def on_fit_start(self) -> None:
        """Has the network compiled, by steps on images of zeros that leave no trace."""
        self._finite = FiniteWatch()
        self.compile_s = None
        # Between the ranks' gradients DDP has a graph of its own, compiled at the first step.
        if self.compiled_for is not None and self.trainer.world_size == 1:
            log.info("compiling the network: about a minute, unless torch has kept it")
            self.compile_s = compile_for(self, self.compiled_for)
            log.info(f"compiled in {self.compile_s:.1f} s")

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        logits = self(images)
        loss = F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        self._watch(loss, batch_idx)
        self.train_means.add(loss, logits, labels)
        return loss

    def resume_state(self) -> dict[str, Any]:
        """The sums of the open epoch, for a resume checkpoint in its middle."""
        means = self.train_means
        return {"loss": means.loss, "correct": means.correct, "count": means.count}

    def load_resume_state(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            on_device = value.to(self.device) if isinstance(value, Tensor) else value
            setattr(self.train_means, name, on_device)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        images, labels = batch
        logits = self(images)
        self.eval_means.add(F.cross_entropy(logits, labels), logits, labels)
        if self.tta:
            both = (logits + self(images.flip(-1))) / 2
            self.tta_means.add(F.cross_entropy(both, labels), both, labels)

    test_step = validation_step

    def on_train_epoch_start(self) -> None:
        self.train_means.reset()

    def on_validation_epoch_start(self) -> None:
        self.eval_means.reset()
        self.tta_means.reset()

    on_test_epoch_start = on_validation_epoch_start

    def on_train_epoch_end(self) -> None:
        if not self._finite.all_so_far():
            self._raise_not_finite()
        self._log_means("train/", self.train_means)
        optimizer = self.optimizers()
        assert not isinstance(optimizer, list)
        self.log("lr", optimizer.param_groups[0]["lr"], sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        self._log_evaluation("val")

    def on_test_epoch_end(self) -> None:
        self._log_evaluation("test")

    def configure_optimizers(self) -> Any:
        """Makes optimizer and scheduler of the parameters, as configured."""
        optimizer = self.make_optimizer(self.parameters())
        if self.make_scheduler is None:
            return optimizer
        keywords = getattr(self.make_scheduler, "keywords", {})
        given, steps, of = keywords.get("total_steps"), {}, ""
        if "total_steps" in keywords and (given is None or self.scheduler_interval == "step"):
            total = self.trainer.estimated_stepping_batches
            if given is None and total == math.inf:
                raise UserError("scheduler.total_steps=null: this run has no known end; give it")
            if given is None:
                steps, of = {"total_steps": total}, f" of {total} steps"
            elif given < total < math.inf:
                raise UserError(f"scheduler.total_steps={given}: the run has {total}; give null")
        try:
            scheduler = self.make_scheduler(optimizer, **steps)
        except ZeroDivisionError as error:  # of OneCycleLR's, where a way ends where it begins
            raise UserError(
                f"scheduler: divides by zero{of}: give another scheduler.pct_start, or more steps"
            ) from error
        of_steps = {"scheduler": scheduler, "interval": self.scheduler_interval}
        return {"optimizer": optimizer, "lr_scheduler": of_steps}

    def _watch(self, loss: Tensor, batch_idx: int) -> None:
        if loss.is_cpu:  # to read a number there costs less than an operation
            is_finite = math.isfinite(loss.item())
        else:
            self._finite.add(loss.detach())
            is_finite = (batch_idx + 1) % FINITE_CHECK_EVERY_N_STEPS != 0 or self._finite.look()
        if not is_finite:
            self._raise_not_finite(f", step {batch_idx}")

    def _raise_not_finite(self, step: str = "") -> None:
        raise RunFailedError(
            f"train/loss is not finite in epoch {self.current_epoch}{step}. "
            "Lower optimizer.lr, or set trainer.gradient_clip_val=1"
        )

    def _log_evaluation(self, stage: str) -> None:
        self._log_means(f"{stage}/", self.eval_means)
        if self.tta:
            self._log_means(f"{stage}/tta_", self.tta_means)

    def _log_means(self, prefix: str, means: EpochMeans) -> None:
        totals = self.trainer.strategy.reduce(means.totals(self.device), reduce_op="sum")
        loss, correct, count = totals.tolist()
        if count:
            means_of_all = {f"{prefix}loss": loss / count, f"{prefix}accuracy": correct / count}
            # All ranks hold the same numbers already; without sync_dist Lightning doubts it.
            self.log_dict(means_of_all, sync_dist=True)
