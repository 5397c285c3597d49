"""The first steps of a network: how it learns from one batch, and what normalising it takes.

It is the batch that is counted, on the CPU: what differs between two networks here differs for the
networks' own sake. Seconds are not told; a part of a step's time is.
"""

import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import get_total_norm
from torch.utils._python_dispatch import TorchDispatchMode

from hpml.models.image_classifier import ImageClassifier

FEWEST_TIMED, MOST_TIMED, TIMED_S = 3, 20, 1.0  # steps, and seconds that all may take
NORMS = (_BatchNorm, nn.GroupNorm, nn.LayerNorm, nn.modules.instancenorm._InstanceNorm)
NORM_NAMES = ("batch_norm", "group_norm", "layer_norm")  # in those of torch's operators


@dataclass
class FirstSteps:
    """What each step has found before it moved the weights.

    Attributes:
        losses: of the batch.
        gradient_norms: the 2-norm of all gradients together.
        given: root mean squares, in the first step: of what each convolution is given.
    """

    losses: list[float] = field(default_factory=list)
    gradient_norms: list[float] = field(default_factory=list)
    given: list[float] = field(default_factory=list)


def take_first_steps(
    module: ImageClassifier, images: Tensor, labels: Tensor, steps: int
) -> FirstSteps:
    """Trains the module on one batch, with its own optimizer and no scheduler."""
    found = FirstSteps()
    step = _step_of(module, images, labels, found)
    with ExitStack() as first:
        for layer in module.network.modules():
            if isinstance(layer, nn.modules.conv._ConvNd):
                first.enter_context(layer.register_forward_pre_hook(_keep_given(found)))
        step()
    for _ in range(steps - 1):
        step()
    return found


def norm_shares(module: ImageClassifier, images: Tensor, labels: Tensor) -> list[float]:
    """The part that normalising takes of the time of operators, from 0 to 1, in each of some steps.

    None of them for a network that does not normalise.
    """
    if not any(isinstance(layer, NORMS) for layer in module.network.modules()):
        return []
    step = _step_of(module, images, labels, FirstSteps())
    step()  # which makes what later ones find
    shares: list[float] = []
    begun = time.perf_counter()
    while len(shares) < FEWEST_TIMED or (
        len(shares) < MOST_TIMED and time.perf_counter() - begun < TIMED_S
    ):
        with OperatorTimes() as times:
            step()
        of_norms = (ns for key, ns in times.ns.items() if any(name in key for name in NORM_NAMES))
        shares.append(sum(of_norms) / times.ns.total())
    return shares


class OperatorTimes(TorchDispatchMode):
    """Nanoseconds of each of torch's operators on the CPU, where none returns before its end.

    torch's own profiler prints what it makes of the machine's GPUs, or of there being none.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ns: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        begun = time.perf_counter_ns()
        result = func(*args, **(kwargs or {}))
        self.ns[str(func)] += time.perf_counter_ns() - begun
        return result


def _step_of(
    module: ImageClassifier, images: Tensor, labels: Tensor, found: FirstSteps
) -> Callable[[], Any]:
    optimizer = module.make_optimizer(module.parameters())

    def closure() -> float:
        optimizer.zero_grad()
        logits = module(images)
        loss = F.cross_entropy(logits, labels, label_smoothing=module.label_smoothing)
        loss.backward()
        gradients = [p.grad for p in module.parameters() if p.grad is not None]
        found.losses.append(loss.item())
        found.gradient_norms.append(float(get_total_norm(gradients)))
        return loss.item()

    return lambda: optimizer.step(closure)


def _keep_given(found: FirstSteps) -> Callable[[nn.Module, Any], None]:
    def keep(layer: nn.Module, inputs: Any) -> None:
        found.given.append(float(inputs[0].detach().square().mean().sqrt()))

    return keep
