"""`python -m hpml.report PATH…`: compares the runs found under the paths."""

import sys
from pathlib import Path

from hpml.errors import UserError
from hpml.system import exit_codes
from hpml.system.argument_parser import ArgumentParser
from hpml.system.files import pipe_may_close


def main() -> None:
    parser = ArgumentParser(prog="hpml report", description=__doc__)
    helps = "a run, a sweep, a folder of them"
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help=helps)
    helps = "the report's folder; without it the first PATH"
    parser.add_argument("--output", type=Path, metavar="DIR", help=helps)
    parser.add_argument("--title", help="the page's heading")
    try:
        given = parser.parse_args()
        from hpml.report.make import report_on

        with pipe_may_close():
            report_on(given.paths, given.output, given.title, "give --output DIR")
            sys.stdout.flush()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(exit_codes.WRONG_INPUT)


if __name__ == "__main__":
    main()
