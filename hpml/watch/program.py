"""A script or a module that is run as Python itself would, with nothing of ours to be seen."""

import importlib.util
import shlex
import sys
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType, TracebackType
from typing import Any

from hpml.errors import UserError
from hpml.system import exit_codes


@dataclass
class Program:
    """What `python` gets: `words` is a script and its arguments, or a module's name and its own.

    `folder` is where it starts, `spec` is the module's.
    """

    words: list[str]
    folder: Path
    spec: ModuleSpec | None = None

    @classmethod
    def of(cls, words: list[str], is_module: bool) -> "Program":
        """Raises UserError where there is no such script or module."""
        if not words:
            raise UserError("give a script, or -m and a module")
        if is_module:
            return cls(words, Path.cwd(), _spec_of(words[0]))
        if Path(words[0]).is_dir():
            raise UserError(f"{words[0]}: is a directory; give a script, or -m and a module")
        return cls(words, Path.cwd())

    @property
    def name(self) -> str:
        """`train` for the script `sub/train.py`; the module's own."""
        return Path(self.words[0]).stem if self.spec is None else self.words[0]

    def command(self, *options: str) -> str:
        """The shell's line, from the folder where it starts, that watches it with these options."""
        module = [] if self.spec is None else ["-m"]
        words = enumerate(sys.orig_argv)
        end = next((n for n, word in words if word.startswith("-m")), 1)  # -mhpml.watch, too
        python = sys.orig_argv[:end]  # with options of its own
        return shlex.join([*python, "-m", "hpml.watch", *options, *module, *self.words])

    def load(self) -> CodeType:
        """Its code. Raises UserError where that cannot be read, or is not Python's."""
        path = Path(self.words[0])
        try:
            if self.spec is not None:
                loader: Any = self.spec.loader
                code: CodeType | None = loader.get_code(self.spec.name)
                if code is None:
                    raise UserError(f"{self.name}: there is no code of it to run")
                return code
            return compile(path.read_bytes(), path.absolute(), "exec", dont_inherit=True)
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}") from error
        except (SyntaxError, ValueError) as error:
            if self.spec is None and path.suffix != ".py":
                raise UserError(f"{path}: is not a Python program") from error
            sys.excepthook(type(error), error.with_traceback(None), None)  # as Python says it
            sys.exit(exit_codes.FAILED)

    def run(self, code: CodeType) -> None:
        """Runs it as `__main__`, which it remains; what it raises comes without our frames."""
        main = self._main()
        sys.modules["__main__"] = main
        sys.argv = [str(main.__file__) if self.spec else self.words[0], *self.words[1:]]
        if self.spec is None and not sys.flags.safe_path:
            sys.path[0] = str(Path(self.words[0]).resolve().parent)
        try:
            exec(code, vars(main))
        except BaseException as error:
            _hide_our_frames(error)
            raise

    def _main(self) -> ModuleType:
        main = ModuleType("__main__")
        main.__spec__, main.__cached__ = self.spec, None  # type: ignore[attr-defined]
        main.__annotations__, main.__builtins__ = {}, sys.modules["builtins"]  # type: ignore[attr-defined]
        if self.spec is not None:
            main.__file__, main.__loader__ = self.spec.origin, self.spec.loader
            main.__package__, main.__cached__ = self.spec.parent, self.spec.cached  # type: ignore[attr-defined]
        else:
            main.__file__ = str(self.folder / self.words[0])
            main.__loader__ = SourceFileLoader("__main__", main.__file__)
        return main


def _spec_of(name: str) -> ModuleSpec:
    """A module's, or the one of a package's `__main__`; packages above it are imported."""
    if name.endswith(".py"):
        raise UserError(f"-m {name}: a file has no -m before it")
    for module in (name, f"{name}.__main__"):
        try:
            spec = importlib.util.find_spec(module)
        except (ImportError, ValueError) as error:
            missing = getattr(error, "name", None)
            if missing and not f"{module}.".startswith(f"{missing}."):
                raise
            spec = None
        if spec is None:
            break
        if spec.submodule_search_locations is None:
            return spec
    raise UserError(f"-m {name}: there is no module {module}")


def _hide_our_frames(error: BaseException) -> None:
    """Where it is printed, it begins with the program's own frames."""
    own = error.__traceback__ and error.__traceback__.tb_next
    hook = sys.excepthook

    def excepthook(
        kind: type[BaseException], shown: BaseException, traceback: TracebackType | None
    ) -> None:
        if shown is error:
            traceback = shown.__traceback__ = own
        hook(kind, shown, traceback)

    sys.excepthook = excepthook
