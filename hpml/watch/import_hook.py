"""Modules that are changed once the program has imported them, early or late."""

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

Change = Callable[[ModuleType], None]


class ChangingFinder(MetaPathFinder):
    """Finds modules as the other finders do; `changes` are made, by name, once one has run.

    We do not import them ourselves: what a program sets before it imports torch has to count.
    """

    def __init__(self, changes: Mapping[str, Change]) -> None:
        self._changes = changes

    def install(self) -> None:
        """From now on; what is imported already is changed at once."""
        sys.meta_path.insert(0, self)
        for name, change in self._changes.items():
            if name in sys.modules:
                change(sys.modules[name])

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in self._changes:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        specs = (finder.find_spec(name, path, target) for finder in others)
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None:
            loader: Any = spec.loader
            execute = loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                self._changes[name](module)

            loader.exec_module = exec_module
        return spec
