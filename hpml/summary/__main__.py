"""`python -m hpml.summary [overrides] [--json]`: what the model is made of, and what it needs."""

import json
import sys
from contextlib import redirect_stdout
from typing import Any

from omegaconf import DictConfig

from hpml.cli.program import run_hydra
from hpml.config.checks import check
from hpml.summary.table import print_summary
from hpml.system.files import pipe_may_close


def main() -> None:
    words = sys.argv[1:]
    sys.argv[1:] = [word for word in words if word != "--json"]
    if as_json := "--json" in words:
        sys.argv.append("hydra.job_logging.handlers.console.stream=ext://sys.stderr")
    run_hydra(print_json if as_json else show, config_name="summary", sweeps=False)


def show(cfg: DictConfig) -> None:
    print_summary(_summarize(cfg))


def print_json(cfg: DictConfig) -> None:
    """Prints one JSON object on stdout; whatever else is printed goes to stderr."""
    with redirect_stdout(sys.stderr):
        facts = _summarize(cfg)
    with pipe_may_close():
        print(json.dumps(facts, indent=2), flush=True)


def _summarize(cfg: DictConfig) -> dict[str, Any]:
    check(cfg)
    from hpml.summary.summarize import summarize  # and torch

    return summarize(cfg)


if __name__ == "__main__":
    main()
