"""A program that ends at its first training step, and says where the time until then went.

    python benchmarks/stamps.py OUT.json MODULE [ARGUMENT …]

Runs a module as `python -m MODULE ARGUMENT …` does; `imports` as a module stands for `import
torch, lightning` alone. OUT.json gets `started_s` and `ended_s`, of `time.monotonic`, which the
processes of a machine share, and `stages`, the seconds of each between the two. They are exclusive:
what one stage does within another counts for one of them only, so that they add up.
"""

import time

STARTED_S = time.monotonic()

import json  # noqa: E402 - the first stamp comes before anything is imported
import os  # noqa: E402
import runpy  # noqa: E402
import sys  # noqa: E402
from collections.abc import Callable  # noqa: E402
from typing import Any  # noqa: E402

REST = "the rest"
DATA = "read or make the data"
COMPILING = "compile, from the cache"
OWN = "import hpml's own modules"
# By module: the stage in which it is loaded, with what it imports, unless that has its own.
IMPORTS = {
    "omegaconf": "import Hydra",
    "hydra": "import Hydra",
    "torch": "import torch",
    "lightning": "import Lightning",
    "torchmetrics": "import torchmetrics (by Lightning)",
    "torchvision": "import torchvision (by torchmetrics)",
    "torch.utils.tensorboard": "import TensorBoard",
    "tensorboard": "import TensorBoard",
}
# By module: functions, and the stage in which they run.
CALLS = {
    "hpml.cli.program": {"run_hydra": "compose the configuration"},
    "hpml.config.checks": {
        "check": "check it, fingerprints",
        "unused_keys": "check it, fingerprints",
    },
    "hpml.config.fingerprint": {"code_fingerprint": "check it, fingerprints"},
    "hpml.system.environment": {"describe": "hardware, commit"},
    "hpml.training.build": {
        "build_data": DATA,
        "build_module": "build the network",
        "build_trainer": "build the Trainer, loggers",
    },
    "hpml.models.counts": {"flops_per_sample": "count the FLOPs"},
    "hpml.models.image_classifier": {"ImageClassifier.on_fit_start": COMPILING},
    "lightning.pytorch.trainer.trainer": {"Trainer.fit": "fit, until the first step"},
}


class Stages:
    """Exclusive times of stages that lie within each other."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._open = [REST]
        self._since_s = STARTED_S

    def within(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function whose time is a stage's."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            self.stamp()
            self._open.append(stage)
            try:
                return function(*args, **kwargs)
            finally:
                self.stamp()
                self._open.pop()

        return timed

    def stamp(self) -> float:
        """Gives the time since the stamp before to the stage that is open."""
        now_s = time.monotonic()
        stage = self._open[-1]
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now_s - self._since_s
        self._since_s = now_s
        return now_s


class Finder:
    """Finds modules as the others do, and stamps those of IMPORTS and CALLS."""

    def __init__(self, stages: Stages, end: Callable[..., None]) -> None:
        self.stages, self.end = stages, end

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """As importlib asks for it."""
        own = name.startswith("hpml.")
        if not (own or name in IMPORTS or name in CALLS):
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, (finder.find_spec(name, path, target) for finder in others)))
        load = spec.loader.exec_module
        if own or name in IMPORTS:
            load = self.stages.within(IMPORTS.get(name, OWN), load)

        def exec_module(module: Any) -> None:
            load(module)
            for dotted, stage in CALLS.get(name, {}).items():
                self._wrap(module, dotted, stage)
            if name == "hpml.models.image_classifier":
                module.ImageClassifier.training_step = self.end

        spec.loader.exec_module = exec_module
        return spec

    def _wrap(self, module: Any, dotted: str, stage: str) -> None:
        *owners, last = dotted.split(".")
        for owner in owners:
            module = getattr(module, owner)
        function = self.stages.within(stage, getattr(module, last))
        if last == "run_hydra":  # composes, and then calls the rest
            run = function

            def function(task: Any, **options: Any) -> None:
                def job(cfg: Any) -> Any:
                    return self.stages.within(REST, task)(cfg)

                job.__module__ = task.__module__
                run(job, **options)

        setattr(module, last, function)


def main() -> None:
    """Runs the module up to its first step."""
    out, module, *arguments = sys.argv[1:]
    stages = Stages()

    def end(*_: Any) -> None:
        ended_s = stages.stamp()
        with open(out, "w") as file:  # noqa: PTH123 - nothing is imported here
            json.dump({"started_s": STARTED_S, "ended_s": ended_s, "stages": stages.seconds}, file)
        os._exit(0)

    sys.meta_path.insert(0, Finder(stages, end))  # type: ignore[arg-type]
    sys.path[0] = os.getcwd()  # noqa: PTH109 - as `python -m` has it
    if module == "imports":
        import lightning
        import torch

        end(lightning, torch)
    sys.argv[1:] = arguments
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
