"""What can be changed about how ranks exchange gradients: arguments of DistributedDataParallel."""

from collections.abc import Iterator
from typing import Any

from hpml.records.phases import COMMUNICATION
from hpml.trials.settings import Settings
from hpml.trials.subject import Subject
from hpml.tuning.change import DDP, Change

MIB = 2**20
CAP_MIB, CAPS_MIB = 25, (5, 100)  # of a bucket of gradients: DDP's own, and others to race
ALL_USED = "each step has to use all parameters"


def of_ranks(subject: Subject) -> Iterator[Change]:
    """Of a job of several ranks; of one alone there is nothing."""
    if subject.agreement.ranks == 1:
        return
    now: dict[str, Any] = subject.trainer.strategy._ddp_kwargs  # type: ignore[attr-defined]
    if now.get("find_unused_parameters"):
        yield _change("find_unused_parameters", False, ALL_USED)
    if not now.get("gradient_as_bucket_view"):
        yield _change("gradient_as_bucket_view", True, "a gradient cannot be detached in place")
    weights = [each for each in subject.network.parameters() if each.requires_grad]
    size = sum(each.numel() * each.element_size() for each in weights) / MIB
    cap = now.get("bucket_cap_mb") or CAP_MIB
    for other in CAPS_MIB:
        if -(-size // other) != -(-size // cap):  # buckets
            yield _change("bucket_cap_mb", other)


def _change(argument: str, value: Any, price: str = "") -> Change:
    return Change(
        name=f"{argument}={value}",
        slots=frozenset({argument}),
        causes=frozenset({COMMUNICATION}),
        price=price,
        settings=Settings(ddp=((argument, value),)),
        lines=((DDP, f"{argument}={value}"),),
    )
