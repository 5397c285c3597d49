"""Lightning has two import names, whose classes are not the same: which one an object is of."""

import importlib
import sys
from typing import Any, TypeVar

T = TypeVar("T")
# A name's packages, and those of the other name that hold the same classes.
TWINS = {"lightning.pytorch": "pytorch_lightning", "lightning.fabric": "lightning_fabric"}


def package_of(thing: object) -> str:
    """The package whose Trainer, module or callback it is: `lightning.pytorch` where none is."""
    kinds = thing.__mro__ if isinstance(thing, type) else type(thing).__mro__
    for kind in kinds:
        for package, twin in TWINS.items():
            for name in (package, twin):
                if f"{kind.__module__}.".startswith(f"{name}."):
                    return name
    return next(iter(TWINS))


def twins(kind: type[T]) -> tuple[type[T], ...]:
    """The class of `lightning` with its twin, where the program has imported that."""
    package = package_of(kind)
    twin: Any = sys.modules.get(kind.__module__.replace(package, TWINS.get(package, package), 1))
    return tuple({kind: None, getattr(twin, kind.__name__, kind): None})


def twin_for(thing: object, kind: T) -> T:
    """A class or function of `lightning.pytorch`, from the package that a Trainer is of."""
    named: Any = kind
    name = named.__module__.replace(next(iter(TWINS)), package_of(thing), 1)
    twin: T = getattr(importlib.import_module(name), named.__name__)
    return twin
