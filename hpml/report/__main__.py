"""`python -m hpml.report PATH…`: compares the runs found under the paths."""

import argparse
import sys
from pathlib import Path

from hpml.system.files import pipe_may_close


def main() -> None:
    parser = argparse.ArgumentParser(prog="hpml report", description=__doc__)
    helps = "a run, a sweep, a folder of them"
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help=helps)
    helps = "the report's folder; without it the first PATH"
    parser.add_argument("--output", type=Path, metavar="DIR", help=helps)
    parser.add_argument("--title", help="the page's heading")
    given = parser.parse_args()
    paths: list[Path] = given.paths
    for path in paths:
        if not path.exists():
            _refuse(f"{path}: there is no such file or folder")
    from hpml.report.make import make_report

    first = paths[0] if paths[0].is_dir() else paths[0].parent
    folder: Path = given.output or first
    try:
        with pipe_may_close():
            if not make_report(paths, folder, given.title):
                _refuse(f"no readable record.json under {', '.join(map(str, paths))}")
            sys.stdout.flush()
    except OSError as error:
        hint = "" if given.output else "; give --output DIR"
        _refuse(f"{error.filename or folder}: {error.strerror}{hint}")


def _refuse(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
