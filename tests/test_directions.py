"""Imports go down: a room knows nothing of those above it, nor of those beside it."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import hpml
from hpml.__main__ import COMMANDS

PACKAGE = Path(hpml.__file__).parent
# A line for each floor, from the roof down. Commands, at the top of the package, may import all.
FLOORS = """
    compare
    lab watch
    worker_counts
    tuning
    diagnosis summary
    trials sweep
    training
    checkpointing
    callbacks data
    loading
    timing report cli
    records config
    models system formatting
    errors statistics
"""
FLOOR_OF = {room: floor for floor, line in enumerate(FLOORS.split("\n")) for room in line.split()}


def imported_rooms(file: Path) -> Iterator[str]:
    """The rooms that a file names in its imports, wherever in the file they stand."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name.split(".")[1] for name in names if name.startswith("hpml."))


def test_imports_go_down() -> None:
    """No file imports a room above its own or beside it; commands are at the top."""
    upwards = [
        f"{file.relative_to(PACKAGE)} imports {room}"
        for own, floor in FLOOR_OF.items()
        for file in (*PACKAGE.glob(f"{own}.py"), *PACKAGE.glob(f"{own}/**/*.py"))
        for room in imported_rooms(file)
        if room != own and (room not in FLOOR_OF or FLOOR_OF[room] <= floor)
    ]
    assert not upwards
    there = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    commands = {"__init__", "__main__", "train", "diagnose", "tune", "workers", "api"}
    assert there - FLOOR_OF.keys() - {"__pycache__"} == commands


def from_imports(node: ast.AST) -> list[ast.ImportFrom]:
    """Those of our own modules, but for types alone."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.If) and ast.unparse(inner.test) == "TYPE_CHECKING":
            inner.body = []
    found = [inner for inner in ast.walk(node) if isinstance(inner, ast.ImportFrom)]
    return [each for each in found if str(each.module).startswith("hpml")]


def test_a_command_crosses_into_torch_by_one_import() -> None:
    """Within a function, so that it starts without; all that it needs of torch stands behind it."""
    names = ("train.py", "*/command.py", "*/__main__.py", "watch/watch.py")
    for file in (file for name in names for file in PACKAGE.glob(name)):
        nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        functions = [node for node in nodes if isinstance(node, ast.FunctionDef)]
        crossings = {ast.unparse(each) for inner in functions for each in from_imports(inner)}
        assert len(crossings) <= 1, file


def test_no_circle_hides_in_a_function() -> None:
    """A module rests on none that rests on it, wherever their imports stand; but for types."""
    files = sorted(PACKAGE.rglob("*.py"))
    names = [".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts) for file in files]
    graph: dict[str, set[str]] = {}
    for name, file in zip(names, files, strict=True):
        for each in from_imports(ast.parse(file.read_text(encoding="utf-8"))):
            inner = {f"{each.module}.{alias.name}" for alias in each.names} & set(names)
            graph.setdefault(name, set()).update((inner or {str(each.module)}) - {name})
    TopologicalSorter(graph).prepare()  # raises CycleError


def strings(file: Path) -> Iterator[str]:
    """Those that stand in a file's code: no docstrings."""
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    docstrings = [node.value for node in nodes if isinstance(node, ast.Expr)]
    for node in nodes:
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and node not in docstrings
        ):
            yield node.value


def test_no_string_names_a_module() -> None:
    """It would break in silence when the file moves: classes say of themselves what they are."""
    files = sorted(PACKAGE.rglob("*.py"))
    paths = (file.relative_to(PACKAGE.parent).with_suffix("").parts for file in files)
    modules = {".".join(parts).removesuffix(".__init__") for parts in paths}
    modules -= {"hpml", *(f"hpml.{command}" for command in COMMANDS)}  # a logger, and programs
    named = [
        f"{file.relative_to(PACKAGE)} names {text}"
        for file in files
        if file.relative_to(PACKAGE) != Path("config", "aliases.py")  # names of earlier versions
        for text in strings(file)
        if text in modules
    ]
    assert not named
