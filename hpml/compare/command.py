"""`python -m hpml.compare [options] BEFORE AFTER`: a gate for CI."""

import argparse
import math
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

from hpml.compare.answer import Answer
from hpml.compare.answer_files import clear, write
from hpml.compare.comparison import BUDGET_S, compare
from hpml.compare.history import check as check_history
from hpml.compare.history import check_folder
from hpml.compare.history import keep as keep_history
from hpml.compare.question import METRICS, questions_of
from hpml.errors import UserError
from hpml.system import exit_codes
from hpml.system.argument_parser import ArgumentParser
from hpml.system.files import disk_errors_in_one_line

ABOUT = """\
Answers whether AFTER trains slower than BEFORE. Each of the two is one of:

  overrides   "compile=true data.num_workers=2", of hpml's own training; "" for none
  a script    "train.py --width 64" or "-m package.train", as python runs it
  a revision  main, HEAD~1, v1.2; . for the files as they are; with --run
  records     a record.json, or a folder of them: not paired, on like hardware alone
"""
EPILOG = f"""\
--of has some of {", ".join(METRICS)};
a threshold of its own goes behind a name: --of=step,memory=10%.

exit codes: 0 not slower, 1 slower, 2 wrong input, 3 undecided, 130 interrupted
"""
FOLDER = Path("outputs", "compare")
# A job's cancellation, a closed terminal.
ENDING = ("SIGTERM", "SIGHUP")


def parser() -> argparse.ArgumentParser:
    made = ArgumentParser(
        "python -m hpml.compare",
        description=ABOUT,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("before", metavar="BEFORE")
    made.add_argument("after", metavar="AFTER")
    add = made.add_argument
    add("--slower-than", default="3%", metavar="3%", help="what counts as slower (3%%)")
    add("--of", default="step", metavar="METRIC,…", help="what is compared (step)")
    add("--run", metavar="WORDS", help="what is run in both revisions, or for both overrides")
    add("--budget", default=f"{BUDGET_S:g}", metavar="S", help="seconds it may take (300)")
    add("--steps", metavar="N", help="steps of a short fit (as many as take a second)")
    add("--install", metavar="COMMAND", help="gives each revision an environment of its own")
    add("--undecided", default="fail", metavar="fail|pass", help="pass: exit code 0 then (fail)")
    add("--history", metavar="FOLDER", help="keeps the answer, and draws the course over commits")
    add("--output", default=str(FOLDER), metavar="FOLDER", help=f"where files go ({FOLDER})")
    return made


def main() -> None:
    for name in ENDING:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:  # nohup asked for it
            signal.signal(number, lambda number, frame: sys.exit(exit_codes.of_signal(number)))
    try:
        given = parser().parse_args()
        answer = _asked(given)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(exit_codes.WRONG_INPUT)
    except KeyboardInterrupt:
        sys.exit(exit_codes.INTERRUPTED)
    sys.exit(answer.exit_code)


def _asked(given: argparse.Namespace) -> Answer:
    questions = questions_of(given.of, given.slower_than)
    if given.undecided not in ("fail", "pass"):
        raise UserError(f"--undecided={given.undecided}: give fail or pass")
    settings: dict[str, Any] = {"run": given.run, "install": given.install}
    settings["budget_s"] = _number("--budget", given.budget, "seconds")
    settings["steps"] = None if given.steps is None else _steps(given.steps)
    settings["undecided_passes"] = given.undecided == "pass"
    output = Path(given.output)
    check_folder("--output", output)
    if given.history is not None:
        check_history(Path(given.history))
    with disk_errors_in_one_line(output):
        clear(output)
    answer = compare(given.before, given.after, questions, report=_say, logs=output, **settings)
    print("\n".join(answer.lines), flush=True)
    command = shlex.join(["python", "-m", "hpml.compare", *sys.argv[1:]])
    content = {"command": command} | answer.as_dict()
    with disk_errors_in_one_line(output):
        for file in write(content, output):
            _say(f"kept: {file}")
        if given.history is not None:
            for line in keep_history(content, Path(given.history)):
                print(line, flush=True)
    return answer


def _number(option: str, text: str, what: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 1 <= number < math.inf:
        raise UserError(f"{option}={text}: give {what}, at least 1")
    return number


def _steps(text: str) -> int:
    if not (text.isdecimal() and int(text) >= 1):
        raise UserError(f"--steps={text}: give a whole number of steps, at least 1")
    return int(text)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
