"""What all benchmarks share: the command line, rounds, a quiet Trainer, and the page of results.

A shared machine drifts: cases run in turn, round by round, and are compared by their ratio within a
round; the median over the rounds is given with its extremes.
"""

import argparse
import inspect
import json
import logging
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from hpml.callbacks import DataLoadTimer, EpochTimer, TrainTimer
from hpml.config.conf import find_conf, resolve
from hpml.config.fingerprint import identifying
from hpml.system import environment
from hpml.system.fresh_process import run_in_fresh_process

RESULTS = Path(__file__).parent / "results"
Rows = list[list[str]]  # a table; the first row is its heading


@dataclass
class Page:
    """What a benchmark has found; its page begins with the benchmark's docstring."""

    body: Sequence[str | Rows]  # paragraphs and tables
    figures: Any  # every single one, for the JSON file
    configuration: Mapping[str, Any] | None = None  # whole ones by case, for the JSON file
    device: str = "cpu"
    theme: str = ""  # how its files begin, where it is not by the benchmark's name


def main(measure: Callable[..., Page], **quick: Any) -> None:
    """Runs a benchmark as the command line asks for, and writes its page.

    The options are the arguments of `measure`, of their defaults' types; `overrides` are the words
    without a name. `--quick` tells whether it runs: it takes the values in `quick`, and throws the
    results away unless `--results` says where to.
    """
    about = inspect.getdoc(inspect.getmodule(measure)) or ""
    as_it_is = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=about, formatter_class=as_it_is)
    parser.add_argument("--results", type=Path, help="the folder of the results")
    parser.add_argument("--quick", action="store_true", help="tells whether it runs")
    parameters = inspect.signature(measure).parameters
    for name, default in ((name, one.default) for name, one in parameters.items()):
        option = "--" + name.replace("_", "-")
        if name == "overrides":
            parser.add_argument(name, nargs="*", metavar="KEY=VALUE")
        elif isinstance(default, list):
            parser.add_argument(option, nargs="+", default=default)
        elif name != "quick":
            parser.add_argument(option, type=type(default), default=default)
    if "--quick" in sys.argv:
        parser.set_defaults(**quick)
    options = vars(parser.parse_intermixed_args())
    be_quiet()
    given = {name: options[name] for name in parameters}
    page = measure(**given)
    with tempfile.TemporaryDirectory() as nowhere:
        folder = options["results"] or (Path(nowhere) if options["quick"] else RESULTS)
        page.theme = page.theme or Path(sys.argv[0]).stem
        write(page, about, given, folder)


def be_quiet() -> None:
    """Leaves out what Lightning prints of each fit, and warnings."""
    warnings.filterwarnings("ignore")
    for name in ("lightning.pytorch", "lightning.fabric", "hpml"):
        logging.getLogger(name).setLevel(logging.ERROR)


def interleaved(
    cases: Mapping[str, Callable[[], Any]], rounds: int, warm_up: int = 1
) -> dict[str, Any]:
    """What each case returns in each round, as an array; of a dictionary, an array by key.

    The rounds that warm up are dropped.
    """
    seen: dict[str, list[Any]] = {name: [] for name in cases}
    for number in range(1 - warm_up, rounds + 1):
        for name, case in cases.items():
            value = case()
            if number > 0:
                seen[name].append(value)
            figures = value if isinstance(value, dict) else {"": value}
            shown = [f"{n} {v:,.4g}".strip() for n, v in figures.items() if isinstance(v, float)]
            print(f"round {number}/{rounds}  {name}: {', '.join(shown)}", flush=True)
    return {name: by_key(values) for name, values in seen.items()}


def by_key(values: Sequence[Any]) -> Any:
    """Numbers as an array, dictionaries as one of arrays, and others as they are."""
    if all(isinstance(value, dict) for value in values):
        keys = dict.fromkeys(key for value in values for key in value)
        return {key: by_key([value[key] for value in values if key in value]) for key in keys}
    return np.array(values) if all(isinstance(v, int | float) for v in values) else values


def fresh(function: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
    """A case that calls a function in a fresh process."""
    return partial(run_in_fresh_process, function, *arguments)


def configured(*overrides: str) -> DictConfig:
    """A training of hpml's, in a directory that nobody keeps."""
    with initialize_config_dir(str(find_conf()), version_base="1.3"):
        return compose("train", overrides=[f"run_dir={tempfile.mkdtemp()}", *overrides])


def contents(cfg: DictConfig) -> dict[str, Any]:
    """A whole configuration by dotted keys, without where its run goes."""
    return identifying(resolve(cfg))


def bare_trainer(**settings: Any) -> L.Trainer:
    """A Trainer that does nothing besides training."""
    names = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    quiet: dict[str, Any] = {"accelerator": "cpu", "devices": 1, "limit_val_batches": 0}
    return L.Trainer(**quiet | dict.fromkeys(names, False) | settings)


class Plain(L.LightningModule):
    """A network, its loss and its optimizer, and nothing else."""

    def __init__(self, network: torch.nn.Module, make_optimizer: Callable[..., Any]) -> None:
        super().__init__()
        self.network, self.make_optimizer = network, make_optimizer

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        images, labels = batch
        return torch.nn.functional.cross_entropy(self.network(images), labels)

    def configure_optimizers(self) -> Any:
        return self.make_optimizer(self.parameters())


def silent_timers(sync: bool = False) -> tuple[EpochTimer, list[L.Callback]]:
    """The timer that has the epochs, and all of `phase_timers`, which print nothing."""
    timer = EpochTimer(sync=sync, say=lambda line: None)
    return timer, [DataLoadTimer(), TrainTimer(), timer]


def spread(values: Any, form: str = ",.0f") -> str:
    """`median (lowest to highest)`."""
    return f"{np.median(values):{form}} ({np.min(values):{form}} to {np.max(values):{form}})"


def auto_device() -> str:
    """What `device=auto` comes to."""
    return "gpu" if torch.cuda.is_available() else "cpu"


def write(page: Page, about: str, given: Mapping[str, Any], folder: Path) -> None:
    """Writes and prints `THEME-HARDWARE-DATE.md`, with its `.json` beside it."""
    described = environment.describe("cuda" if page.device == "gpu" else "cpu")
    hardware = described["accelerators"][0] if page.device == "gpu" else described["cpu"]
    slug = re.sub(r"[^a-z0-9]+", "-", hardware.lower()).strip("-")
    path = folder / f"{page.theme}-{slug}-{described['cpu_cores']}cores-{date.today()}.md"
    kept = {key: described[key] for key in described if key not in ("host", "slurm_job_id")}
    written = {"theme": page.theme, "environment": kept, "figures": page.figures}
    if page.configuration is not None:
        written["configuration"] = page.configuration
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(written, indent=1, default=lambda array: array.tolist())
    path.with_suffix(".json").write_text(text + "\n")
    blocks = [block if isinstance(block, str) else _table(block) for block in page.body]
    versions = ", ".join(f"{name} {described[name]}" for name in ("python", "torch", "lightning"))
    ran_on = f"{hardware}, {described['cpu_cores']} usable cores; {versions}; {date.today()}."
    # where this machine has its images is nobody's business; that they were given is
    words = [word for word in given.get("overrides", []) if not word.startswith("data.root=")]
    private = ("root", "spdl")
    options = [f"{name}={v}" for name, v in given.items() if name not in ("overrides", *private)]
    options += [f"{name}=given" for name in private if given.get(name)]
    lines = [f"# {about}", f"With {', '.join([*options, *words])}.", *blocks, ran_on]
    path.write_text("\n\n".join(lines) + "\n")
    print("\n" + path.read_text())


def _table(rows: Rows) -> str:
    heading, *body = rows
    lines = [heading, ["---"] * len(heading), *body]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
