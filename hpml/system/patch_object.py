"""Methods of one object alone, in place of those of its class."""

from functools import partial
from typing import Any


def alter(thing: Any, **methods: Any) -> None:
    """Gives one object methods of its own, as those of a class: Lightning looks for them there."""
    for name in methods:
        vars(thing).pop(name, None)
    methods.setdefault("__reduce_ex__", _as_its_own_class)
    thing.__class__ = type(type(thing).__name__, (type(thing),), methods)


def _as_its_own_class(thing: Any, protocol: int) -> Any:
    """Pickled as what it was: a worker that is spawned knows the user's class alone."""
    kind = next(base for base in type(thing).__mro__ if "__reduce_ex__" not in vars(base))
    own: Any = object.__new__(kind)
    vars(own).update(vars(thing))
    make, arguments, *state = own.__reduce_ex__(protocol)
    return partial(make, *arguments), (), *state  # pickle checks a bare `make` for the class
