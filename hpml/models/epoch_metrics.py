"""Means over an epoch and a watch over its losses, kept on the device."""

import torch
from torch import Tensor


class FiniteWatch:
    """Whether all losses were finite, kept on their device and looked at without waiting for it."""

    def __init__(self) -> None:
        self._flag: Tensor | None = None
        self._copy: Tensor | None = None  # of the flag as it was at the last look
        self._copied: torch.cuda.Event | None = None

    def add(self, loss: Tensor) -> None:
        finite = loss.isfinite()
        self._flag = finite if self._flag is None else self._flag & finite

    def look(self) -> bool:
        """Whether those before the last look were: by now the device has come that far."""
        if self._copied is not None:
            self._copied.synchronize()
        before = self._copy
        if self._flag is not None:
            self._copy = self._flag.to("cpu", non_blocking=self._flag.is_cuda)
            if self._flag.is_cuda:
                self._copied = torch.cuda.Event()
                self._copied.record()
        return before is None or bool(before)

    def all_so_far(self) -> bool:
        """Whether all were; waits for the device."""
        return self._flag is None or bool(self._flag)


class EpochMeans:
    """Sums of loss and of right answers over an epoch's samples, kept on the device.

    torchmetrics does the same for many metrics; for these two its update costs more than the
    step of a small network.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.loss: Tensor | float = 0.0
        self.correct: Tensor | int = 0
        self.count = 0

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Adds a batch: its mean loss, logits (B, classes) and labels (B,)."""
        samples = labels.shape[0]
        is_correct = logits.argmax(dim=1) == labels
        if loss.is_cpu:  # to read a number there waits for nothing, and costs less than to add two
            self.loss += loss.item() * samples
            self.correct += int(is_correct.count_nonzero())
        else:
            self.loss = self.loss + loss.detach().float() * samples
            self.correct = self.correct + is_correct.sum()
        self.count += samples

    def totals(self, device: torch.device) -> Tensor:
        """Sum of losses, right answers, samples: float32 of shape (3,)."""
        sums = (self.loss, self.correct, self.count)
        return torch.stack([torch.as_tensor(s, dtype=torch.float32, device=device) for s in sums])
