"""What BEFORE and AFTER are: overrides of ours, a script, a git revision, or records."""

import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from hpml.compare import worktree
from hpml.compare.program import PROJECT, TREE
from hpml.errors import UserError
from hpml.records.run_record import FILE_NAME

OVERRIDES, SCRIPT, REVISION, RECORDS = "overrides", "script", "revision", "records"
OUTPUTS = "HPML_OUTPUTS"  # where our own training puts its files
TRACKED = "a revision's folder has only what git tracks: give data by an absolute path"
WORKING_TREE = "."  # the project's own folder, with all that is not committed
ALLOWED = (
    'give overrides ("compile=true"), a script with its arguments ("train.py --width 64", '
    '"-m module"), a git revision (or . for the files as they are), or a record or a folder of them'
)


@dataclass(frozen=True)
class Side:
    """One of the two: a program of `python`, where it starts, and with which variables."""

    name: str  # as it was given
    kind: str
    words: tuple[str, ...] = ()  # a script, or -m and a module, and its arguments
    folder: Path = field(default_factory=Path.cwd)
    python: str = sys.executable
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    commit: str | None = None
    records: tuple[Path, ...] = ()


def kind_of(given: str) -> str:
    """Raises UserError for what is none of them."""
    words = split(given)
    path = Path(given).expanduser()
    if given not in ("", WORKING_TREE) and path.exists() and _holds_records(path):
        return RECORDS
    if words and (words[0] == "-m" or words[0].endswith(".py")):
        return SCRIPT
    if not words or all("=" in word or word.startswith("~") for word in words):
        return OVERRIDES
    if given == WORKING_TREE or (len(words) == 1 and worktree.commit_of(given)):
        return REVISION
    if path.exists():
        raise UserError(f"{given}: there is no record below it; {ALLOWED}")
    raise UserError(f"{given}: there is no such revision, script or record; {ALLOWED}")


def split(given: str) -> list[str]:
    try:
        return shlex.split(given)
    except ValueError as error:
        raise UserError(f"{given}: {str(error).lower()}") from error


def _holds_records(path: Path) -> bool:
    return path.name == FILE_NAME if path.is_file() else any(path.rglob(FILE_NAME))


def program_of(run: str, more: str = "") -> tuple[str, ...]:
    """What `python` gets: a script with its arguments, or our training with its overrides."""
    words = split(run)
    is_script = bool(words) and (words[0] == "-m" or words[0].endswith(".py"))
    own = () if is_script else ("-m", "hpml.train")
    return (*own, *words, *split(more))


def paths(*first: Path) -> str:
    """Of PYTHONPATH, with these in front."""
    known = os.environ.get("PYTHONPATH")
    return os.pathsep.join([*map(str, first), *([known] if known else [])])


def check_kinds(given: Sequence[str], run: str | None) -> list[str]:
    """The kinds of both sides. Raises UserError where they do not go together."""
    kinds = [kind_of(each) for each in given]
    if RECORDS in kinds and set(kinds) != {RECORDS}:
        other = given[1 - kinds.index(RECORDS)]
        raise UserError(f"{other}: is no record; records are compared with records alone")
    if REVISION in kinds and set(kinds) != {REVISION}:
        other = given[1 - kinds.index(REVISION)]
        raise UserError(f"{other}: is no revision; give the same kind twice, and --run for both")
    if set(kinds) == {SCRIPT, OVERRIDES}:
        script, overrides = (given[kinds.index(kind)] for kind in (SCRIPT, OVERRIDES))
        raise UserError(
            f'{script}: is a script, and "{overrides}" are overrides of hpml.train; give the same '
            "kind twice"
        )
    if REVISION in kinds and run is None:
        raise UserError(
            'revisions: --run is missing; give what is run in both: --run="train.py", or overrides '
            'of ours: --run="experiment=demo"'
        )
    if run is not None and not set(kinds) & {REVISION, OVERRIDES}:
        raise UserError(f"--run={run}: has no effect; each side says by itself what is run")
    return kinds


@contextmanager
def sides(
    given: Mapping[str, str],
    run: str | None,
    install: str | None,
    folder: Path,
    report: Callable[[str], None] = lambda line: None,
) -> Iterator[dict[str, Side]]:
    """Both, ready to be started; the trees of revisions are there meanwhile, below a folder.

    It reports each installation, which may take long. Raises UserError.
    """
    kinds = check_kinds(list(given.values()), run)
    if install is not None and kinds[0] != REVISION:
        raise UserError(f"--install={install}: has no effect without revisions")
    if install is not None and not split(install):
        raise UserError(f"--install={install}: give a command")
    environment = dict(os.environ) | {OUTPUTS: str(folder), "PYTHONHASHSEED": "0"}
    with ExitStack() as stack:
        made = {}
        for (side, each), kind in zip(given.items(), kinds, strict=True):
            if kind == RECORDS:
                made[side] = Side(each, kind, records=(Path(each).expanduser(),))
            elif kind == SCRIPT:
                made[side] = Side(each, kind, program_of(each), environment=environment)
            elif kind == OVERRIDES:
                own = Side(each or "(as it is)", kind, program_of(run or "", each))
                made[side] = replace(own, environment=environment)
            else:
                revision = _revision(each, str(run), folder / side, stack)
                made[side] = replace(revision, environment=environment | dict(revision.environment))
        if install is not None:
            for side, own in made.items():
                report(f"{own.name}: installs")
                made[side] = _installed(own, split(install), folder / side)
        yield made


def _revision(given: str, run: str, folder: Path, stack: ExitStack) -> Side:
    root, commit = worktree.project_root(), worktree.commit_of(given)
    tree = root
    if given != WORKING_TREE:
        assert commit is not None
        tree = folder
        stack.callback(worktree.remove, tree)
        worktree.check_out(commit, given, tree)
    start = tree / Path.cwd().resolve().relative_to(root)
    if not start.is_dir():
        where = start.relative_to(tree)
        raise UserError(f"{given}: has no folder {where}, where this was started; {TRACKED}")
    sources = [tree, *([tree / "src"] if (tree / "src").is_dir() else [])]
    environment = {"PYTHONPATH": paths(*sources), TREE: str(tree), PROJECT: str(root)}
    return Side(given, REVISION, program_of(run), start, environment=environment, commit=commit)


def _installed(side: Side, words: list[str], beside: Path) -> Side:
    """In an environment of its own, with what a command puts there."""
    place, log = (beside.with_name(f"{beside.name}{end}") for end in ("-env", ".log"))
    tree = Path(side.environment[TREE])
    # by the first what it leaves behind is found, and what it writes is deleted with the second
    own = {OUTPUTS: side.environment[OUTPUTS], "TMPDIR": str(beside.parent)}
    python = worktree.install(words, side.name, tree, place, log, own)
    environment = {**side.environment, **worktree.activated(place)}
    return replace(side, python=str(python), environment=environment)
