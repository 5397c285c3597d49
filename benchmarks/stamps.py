"""A program that ends at its first training step, and says where the time until then went.

    python benchmarks/stamps.py OUT.json MODULE [ARGUMENT …]

Runs a module as `python -m MODULE ARGUMENT …` does; `imports` as a module stands for `import
torch, lightning` alone. OUT.json gets `ended_s`, of `time.monotonic`, which the processes of a
machine share, and `stages`, the seconds of each. They are exclusive: what one stage does within
another counts for one of them only, so that they add up.
"""

import functools
import json
import os
import runpy
import sys
import time
from collections.abc import Callable
from typing import Any

from hpml.timing.phase_clock import PhaseClock

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
# By a function or method of hpml's, in whichever module it stands: the stage in which it runs. One
# that is not called ends the program with an error: its stage would be missing in silence.
COMPOSES, FIRST_STEP = "run_hydra", "ImageClassifier.training_step"
CALLS = {
    COMPOSES: "compose the configuration",
    "check": "check it, fingerprints",
    "unused_keys": "check it, fingerprints",
    "code_fingerprint": "check it, fingerprints",
    "cpu_name": "hardware, commit",
    "git_commit": "hardware, commit",
    "build_data": DATA,
    "build_module": "build the network",
    "build_trainer": "build the Trainer, loggers",
    "flops_per_sample": "count the FLOPs",
    "ImageClassifier.on_fit_start": COMPILING,
}


class Finder:
    """Finds modules as the others do, and stamps those of IMPORTS and the functions of CALLS."""

    def __init__(self, first_step: Callable[..., None]) -> None:
        self.clock = PhaseClock(REST, time.monotonic_ns)
        self.called: set[str] = set()
        self.first_step = first_step

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """As importlib asks for it."""
        own = name.startswith("hpml.")
        if not (own or name in IMPORTS):
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, (finder.find_spec(name, path, target) for finder in others)))
        load = self.within(IMPORTS.get(name, OWN), spec.loader.exec_module)

        def exec_module(module: Any) -> None:
            load(module)
            for call in (*CALLS, FIRST_STEP) if own else ():
                self._wrap(module, call)

        spec.loader.exec_module = exec_module
        return spec

    def within(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function whose time is a stage's."""

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            self.called.add(stage)
            depth = self.clock.enter(stage)
            try:
                return function(*args, **kwargs)
            finally:
                self.clock.leave(depth)

        return timed

    def _wrap(self, module: Any, call: str) -> None:
        """Stamps a function, where this is the module that defines it."""
        owner_name, _, name = call.rpartition(".")
        owner = getattr(module, owner_name, None) if owner_name else module
        function = getattr(owner, name, None)
        if getattr(function, "__module__", None) != module.__name__:
            return
        if call == COMPOSES:  # and then calls the rest
            composes = function

            def function(task: Any, *args: Any, **options: Any) -> None:
                composes(self.within(REST, task), *args, **options)

        timed = self.first_step if call == FIRST_STEP else self.within(CALLS[call], function)
        setattr(owner, name, timed)


def main() -> None:
    """Runs the module up to its first step."""
    out, module, *arguments = sys.argv[1:]

    def first_step(*_: Any) -> None:
        stages = {stage: ns / 1e9 for stage, ns in finder.clock.times().items()}
        ended_s = time.monotonic()
        missing = set(CALLS.values()) - finder.called
        if missing and module != "imports":
            print(f"error: nothing is called of: {', '.join(missing)}", file=sys.stderr, flush=True)
            os._exit(1)
        with open(out, "w") as file:  # noqa: PTH123 - nothing is imported here
            json.dump({"ended_s": ended_s, "stages": stages}, file)
        os._exit(0)

    finder = Finder(first_step)
    sys.meta_path.insert(0, finder)  # type: ignore[arg-type]
    sys.path[0] = os.getcwd()  # noqa: PTH109 - as `python -m` has it
    if module == "imports":
        import lightning
        import torch

        first_step(lightning, torch)
    sys.argv[1:] = arguments
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    sys.exit(f"error: {module} has ended without a call of {FIRST_STEP}")


if __name__ == "__main__":
    main()
