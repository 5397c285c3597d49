"""A program that runs up to its first fit, and is measured there instead: the process of a side.

The project under comparison may hold another version of this package. Ours steps aside then: the
program imports its own, and our modules are in their places only while they are imported.
"""

import ctypes
import importlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from types import ModuleType
from typing import Any

import hpml
from hpml.errors import LIBRARIES, UserError, first_line, place
from hpml.system import exit_codes
from hpml.watch.import_hook import Change, ChangingFinder
from hpml.watch.program import Program
from hpml.watch.watch import TRAINERS

PACKAGE = hpml.__name__
ROOT = str(Path(hpml.__file__).parents[1])
SEED = 0
PR_SET_PDEATHSIG = 1  # of prctl(2)
# Where a side's tree and its project are, for what it imports to be compared with.
TREE, PROJECT = "HPML_COMPARED_TREE", "HPML_COMPARED_PROJECT"


class OurModules:
    """Our own modules, where the program has a package of the same name."""

    def __init__(self) -> None:
        self._aside: dict[str, ModuleType] = {}

    def step_aside(self) -> None:
        """Does nothing where the program would import this very package."""
        ours = _taken_out()
        found = find_spec(PACKAGE)
        if found is None or found.origin == hpml.__file__:
            sys.modules.update(ours)
        else:
            self._aside = ours

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Ours are imported meanwhile, and the program's are kept for it."""
        if not self._aside:
            yield
            return
        theirs = _taken_out()
        sys.modules.update(self._aside)
        sys.path.insert(0, ROOT)
        try:
            yield
        finally:
            sys.path.remove(ROOT)
            self._aside = _taken_out()
            sys.modules.update(theirs)


def _taken_out() -> dict[str, ModuleType]:
    names = [name for name in sys.modules if name.partition(".")[0] == PACKAGE]
    return {name: sys.modules.pop(name) for name in names}


class Served:
    """Ends a program at its first fit: measures that as often as it is asked to, and exits.

    Requests and answers are lines of JSON.
    """

    def __init__(self, requests: int, answers: int, started_s: float, modules: OurModules) -> None:
        for descriptor in (requests, answers):
            os.set_inheritable(descriptor, False)
        self._requests, self._answers = os.fdopen(requests), os.fdopen(answers, "w")
        self._started_s, self._modules = started_s, modules
        self._serving = False

    def begin(self) -> None:
        random.seed(SEED)
        changes: dict[str, Change] = {
            "torch": lambda module: module.manual_seed(SEED),
            "numpy": lambda module: module.random.seed(SEED),
        }
        ChangingFinder(changes | dict.fromkeys(TRAINERS, self._watch_trainer)).install()

    def say(self, **answer: Any) -> None:
        print(json.dumps(answer), file=self._answers, flush=True)

    def _watch_trainer(self, module: ModuleType) -> None:
        run = module.Trainer.fit

        @wraps(run)
        def fit(trainer: Any, *arguments: Any, **keywords: Any) -> Any:
            if self._serving:  # a trial of ours
                return run(trainer, *arguments, **keywords)
            given = signature(run).bind(trainer, *arguments, **keywords).arguments
            data = given.get("datamodule")
            self._serve(
                trainer,
                given.get("model"),
                given.get("train_dataloaders") if data is None else data,
            )
            sys.exit(exit_codes.COMPLETED)

        module.Trainer.fit = fit

    def _serve(self, trainer: Any, module: Any, data: Any) -> None:
        program_s = time.time() - self._started_s
        self._serving = True
        try:
            with self._modules.in_place():
                fits = importlib.import_module(f"{__package__}.short_fit").ShortFits(
                    trainer, module, data
                )
            first = fits.first()
            strays = foreign_modules()
            self.say(startup=program_s + first.pop("fit_s"), strays=strays, **first)
            for line in self._requests:
                request = json.loads(line)
                self.say(**(fits.fit(**request, wait=self._wait) if request else fits.last()))
        except Exception as error:
            wrong = type(error).__name__ in (UserError.__name__, "DataError")
            self.say(
                error=first_line(error)
                if wrong
                else f"{type(error).__name__}: {first_line(error)}{place(error)}"
            )

    def _wait(self) -> None:
        """For the other side, in the middle of a fit."""
        self.say()
        if not self._requests.readline():  # nobody asks any more
            sys.exit(exit_codes.COMPLETED)


def is_elsewhere(path: Path) -> bool:
    """Whether it is of the project, but not of the tree that is measured, nor an environment's."""
    project, tree = os.environ.get(PROJECT), os.environ.get(TREE)
    if not project or not tree:
        return False
    own = path.absolute().is_relative_to(tree) or LIBRARIES.intersection(path.parts)
    return path.absolute().is_relative_to(project) and not own


def foreign_modules() -> list[str]:
    """Modules that come from elsewhere in the project: they would be the same on both sides."""
    files = {name: getattr(module, "__file__", None) for name, module in list(sys.modules.items())}
    return [f"{name} ({file})" for name, file in files.items() if file and is_elsewhere(Path(file))]


def _go_on_without_parent() -> None:
    """Has this process, which its parent stops between slices, go on and end where that dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGCONT)


def main() -> None:
    """`requests answers started_s WORD …`: descriptors, a time, and what `python` would get."""
    requests, answers, started_s, *words = sys.argv[1:]
    _go_on_without_parent()
    sys.path.remove(ROOT)
    sys.path.insert(0, "")
    sys.path[:] = [path for path in sys.path if not is_elsewhere(Path(path or "."))]
    modules = OurModules()
    modules.step_aside()
    served = Served(int(requests), int(answers), float(started_s), modules)
    is_module = words[0] == "-m"
    try:
        program = Program.of(words[1:] if is_module else words, is_module)
        code = program.load()
    except UserError as error:
        served.say(error=str(error))
        sys.exit(exit_codes.WRONG_INPUT)
    served.begin()
    program.run(code)
