"""`python -m hpml.watch [options] SCRIPT.py [its arguments]`: times a program as it stands."""

import getopt
import math
import sys

from hpml.errors import UserError
from hpml.system import exit_codes
from hpml.watch.program import Program
from hpml.watch.watch import MEASURES, Watch

HELP = """\
usage: python -m hpml.watch [options] SCRIPT.py [its arguments]
       python -m hpml.watch [options] -m MODULE [its arguments]

Runs a program as it stands, and times each fit of its Lightning Trainers. The
program's own output is left alone: table, verdict and what to run next go to
stderr, the record to outputs/watch/.

  --diagnose    prove what limits the first fit, by short trials instead of
                running it; the program ends there
  --tune        find what makes it faster, in the same way
  --also=NAME   with --tune, a change to take although it alters the training;
                may be given several times
  --resume=FILE with --tune, the tune.json of an earlier search to add to
  --budget-s=S  seconds that measuring may take, about (40, or 180 to tune)
  -m            a module, as `python -m` runs it; what follows is its own
  -h, --help    this
"""


def main() -> None:
    try:
        at = next((n for n, word in enumerate(sys.argv) if word.startswith("-m")), len(sys.argv))
        names = ["help", "budget-s=", "also=", "resume=", *MEASURES]
        options, words = getopt.getopt(sys.argv[1:at], "h", names)
        given = {name.strip("-"): value for name, value in options}
        if given.keys() & {"h", "help"}:
            print(HELP, end="")
            return
        measures = [name for name in MEASURES if name in given]
        if len(measures) > 1:
            raise UserError("--diagnose and --tune: give one of them")
        measure = measures[0] if measures else None
        budget_s = _seconds(given["budget-s"]) if "budget-s" in given else None
        if budget_s is not None and measure is None:
            raise UserError(f"--budget-s={budget_s:g}: has no effect without --diagnose or --tune")
        also = tuple(value for name, value in options if name == "--also")
        resume = given.get("resume")
        for option, value in (("also", next(iter(also), None)), ("resume", resume)):
            if value is not None and measure != "tune":
                raise UserError(f"--{option}={value}: has no effect without --tune")
        program = _program(words, sys.argv[at:])
        code = program.load()
    except (getopt.GetoptError, UserError) as error:
        print(f"error: {error}; see python -m hpml.watch --help", file=sys.stderr)
        sys.exit(exit_codes.WRONG_INPUT)
    Watch(program, measure, budget_s, also, resume).begin()
    program.run(code)


def _program(words: list[str], from_m: list[str]) -> Program:
    """Of the words that are no options: those before one that begins with `-m`, and the others.

    Behind a script all are its own; `-mNAME` is `-m NAME`, as for Python.
    """
    if words or not from_m:
        return Program.of([*words, *from_m], is_module=False)
    glued, *rest = from_m
    return Program.of([glued[2:], *rest] if glued != "-m" else rest, is_module=True)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise UserError(f"--budget-s={text}: give seconds, more than 0")
    return seconds


if __name__ == "__main__":
    main()
