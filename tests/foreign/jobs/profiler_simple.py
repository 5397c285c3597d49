"""`profiler="simple"`, which the module uses for a part of its own step."""

from plain import Validated, fit, job
from torch import Tensor

SAMPLES = [44, 44]


class Profiling(Validated):
    def loss(self, batch: list[Tensor]) -> Tensor:
        with self.trainer.profiler.profile("loss"):  # type: ignore[attr-defined]
            return super().loss(batch)


make = job(Profiling, profiler="simple")

if __name__ == "__main__":
    fit(*make())
