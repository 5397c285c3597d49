"""Lists the commands and passes on: `hpml train …` is `python -m hpml.train …`."""

import runpy
import sys
from pathlib import Path

import hpml
from hpml.system import exit_codes

COMMANDS = {
    "train": "train a network: one run, or with -m a sweep",
    "report": "tables over the runs found under some paths",
    "summary": "what a model is made of: layers, parameters, gradients, memory",
    "workers": "find the number of loading workers by measuring",
    "diagnose": "prove where the time goes, by taking one cost out at a time",
    "tune": "find what makes a training faster, and prove by how much",
    "watch": "time the Trainers of any program as it stands",
    "compare": "tell whether a change made training slower, for CI",
    "lab": "the whole lab, with one report",
    "data": "fetch and check a data set ahead of time",
}


def main() -> None:
    """The console script `hpml`."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(f"hpml {hpml.__version__}: {hpml.__doc__}\n\nusage: hpml COMMAND …\n")
        for name, purpose in COMMANDS.items():
            print(f"  {name:8} {purpose}")
        print("\nhpml COMMAND --help says more of each.")
        return
    command = sys.argv[1]
    if command == "--version":
        print(hpml.__version__)
        return
    if command not in COMMANDS:
        print(
            f"error: {command}: there is no such command; give one of {', '.join(COMMANDS)}",
            file=sys.stderr,
        )
        sys.exit(exit_codes.WRONG_INPUT)
    # As `python -m` would: modules of the user's own are found in the working directory, and
    # Lightning and multiprocessing start the program again by its module.
    sys.path[0] = str(Path.cwd())
    del sys.argv[1]
    runpy.run_module(f"hpml.{command}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
