"""`python -m hpml.report PATH…`: a table over the runs found under the paths."""

import argparse
import sys
from pathlib import Path

from hpml.report.sweep_table import print_table


def main() -> None:
    """The program `python -m hpml.report`."""
    parser = argparse.ArgumentParser(prog="hpml report", description=__doc__)
    parser.add_argument(
        "paths", nargs="+", type=Path, metavar="PATH", help="a run, a sweep, a tree"
    )
    paths: list[Path] = parser.parse_args().paths
    for path in paths:
        if not path.exists():
            print(f"error: {path}: there is no such file or folder", file=sys.stderr)
            sys.exit(2)
    if not print_table(paths):
        print(f"error: no record.json under {', '.join(map(str, paths))}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
