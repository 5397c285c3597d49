"""README and docs: their links lead somewhere, their commands run, their figures of keys hold."""

import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import lightning as L
import pytest
from helpers.configurations import ROOT, stress
from helpers.jobs import autoencoder
from helpers.programs import run_program
from helpers.records import make_run
from helpers.watched import PLAIN
from hydra import compose as hydra_compose
from hydra import initialize_config_dir

import hpml
from hpml.__main__ import COMMANDS
from hpml.compare.command import parser
from hpml.config.checks import check
from hpml.config.command_line import arranged
from hpml.config.conf import find_conf
from hpml.records.run_record import RunRecord

README, SLURM = ROOT / "README.md", ROOT / "examples" / "slurm" / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
TOP = [ROOT / f"{name}.md" for name in ("CONTRIBUTING", "SECURITY", "CHANGELOG")]
FINDINGS = sorted((ROOT / "findings").glob("*.sh"))
PAGES = [
    README,
    *DOCS,
    *TOP,
    SLURM,
    *(ROOT / room / "README.md" for room in ("benchmarks", "findings")),
]

HANDS_ON = re.compile(r"(.*-m hpml\.|hpml )(?P<name>\w+)(?P<words>.*)")
# What the tests do not start: downloads, clusters, servers, and what others test by themselves
ELSEWHERE = re.compile(
    r"git clone|pip install|python3 -m venv|\. \.venv/|pytest|tensorboard|torchrun|export|"
    r"apptainer|python -m build|eval|make (install|demo|test|check|stress)|"
    r"\.venv/bin/python -m pytest"
)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(pages: list[Path], languages: str) -> list[tuple[Path, str]]:
    pattern = re.compile(rf"```(?:{languages})\n(.*?)```", re.DOTALL)
    return [(page, block) for page in pages for block in pattern.findall(text_of(page))]


def commands_of(block: str) -> list[str]:
    """One line each, without their remarks."""
    lines = block.replace("\\\n", " ").splitlines()
    return [line.partition("  #")[0].strip() for line in lines if line.strip()]


def shell_blocks(*pages: Path) -> Any:
    """A case of a test for the commands of each block."""
    given = [(page, commands_of(block)) for page, block in blocks([*pages], "bash|sh")]
    names = [f"{page.stem}: {commands[0][:40]}" for page, commands in given]
    return pytest.mark.parametrize("commands", [commands for _, commands in given], ids=names)


def anchors(page: Path) -> set[str]:
    """Of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    """To a file of the repository, and to a heading of it."""
    text = re.sub(r"```.*?```", "", text_of(page), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_the_readme_is_two_pages_and_begins_with_what_counts() -> None:
    """The claim, the two commands and the timers stand in the first thirty lines."""
    text = text_of(README)
    lines = text.splitlines()
    assert len(lines) <= 250
    assert len(text.encode()) <= 12_000
    assert lines[2].startswith(str(hpml.__doc__))
    first = "\n".join(lines[:30])
    for word in ("git clone", "make demo", "make test", "phase_timers(", "likely input-bound"):
        assert word in first


def test_the_page_of_the_ground_names_the_findings_that_there_are() -> None:
    """A row without a script has another proof; a name in its place is that of a script."""
    rows = [line.split(" | ") for line in text_of(DOCS[0].with_name("ground.md")).splitlines()]
    proofs = " ".join(row[2] for row in rows if len(row) == 4)
    named = {name for name in re.findall(r"`(\w+)`", proofs) if "_" in name}
    assert named <= {path.stem for path in FINDINGS}


@pytest.mark.parametrize("script", FINDINGS, ids=lambda path: path.stem)
def test_each_finding_has_the_form(script: Path) -> None:
    """In words on top: what one would guess, what is seen, where, why it matters; pinned."""
    head, _, rest = text_of(script).partition("set -euo pipefail")
    for word in ("One would guess: ", "What is seen: ", "Version", "Why it matters: "):
        assert f"# {word}" in head
    assert re.search(r"\w==\d", rest)
    assert "hpml" not in rest


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.stem)
def test_each_page_begins_with_its_purpose_and_a_command(page: Path) -> None:
    """A heading, a sentence, a command; and the README links it."""
    heading, _, sentence, *rest = text_of(page).splitlines()
    assert heading.startswith("# ")
    assert sentence[0].isupper()
    assert any(line in ("```bash", "```python") for line in rest[:8])
    assert f"(docs/{page.name})" in text_of(README)


def test_the_page_of_keys_is_what_the_configuration_holds() -> None:
    """`python scripts/keys_page.py` writes it."""
    made = runpy.run_path(str(ROOT / "scripts" / "keys_page.py"))
    assert text_of(made["PAGE"]) == made["keys_page"]()


def test_there_are_commands() -> None:
    """The tests below would pass on pages that they cannot read."""
    assert len(blocks([README], "bash|sh")) >= 5
    assert len(blocks(DOCS, "bash|sh")) >= 15


@shell_blocks(README, *DOCS, *TOP, SLURM)
def test_every_command_is_allowed(commands: list[str], tmp_path: Path, monkeypatch: Any) -> None:
    """Its program is there, its configuration passes the check, its keys and groups exist."""
    monkeypatch.chdir(tmp_path)
    for command in commands:
        if command.startswith(("mkdir ", "echo ")):
            subprocess.run(["bash", "-c", command], check=True)
        elif ours := HANDS_ON.match(command):
            assert ours["name"] in COMMANDS
            if ours["name"] == "compare":
                parser().parse_args(shlex.split(ours["words"]))
            elif ours["name"] not in ("report", "watch") and "-sc" not in ours["words"]:
                is_allowed(ours["name"], shlex.split(os.path.expandvars(ours["words"])))
        elif files := re.findall(
            r"(?:scripts|benchmarks|examples|tests|findings)/[\w./]+", command
        ):
            assert all((ROOT / file).exists() for file in files)
        else:
            assert ELSEWHERE.match(command), command
            for target in re.findall(r"^make (\w+)", command):
                assert f"\n{target}: " in (ROOT / "Makefile").read_text()


def is_allowed(name: str, words: list[str]) -> None:
    overrides = [word for word in arranged(words) if "=" in word]
    single = [re.sub(r"=([^\[,]+),.*", r"=\1", word) for word in overrides]
    if "--config-dir" in words:
        folder = Path(words[words.index("--config-dir") + 1]).resolve()
        single.append(f"hydra.searchpath=['{folder}']")
    if "hydra/launcher=slurm" in single:
        pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    with initialize_config_dir(str(find_conf()), version_base="1.3"):
        check(hydra_compose("fetch" if name == "data" else name, overrides=single))


# Commands that need what is not here: the network, a cluster, a run that was cut short (which
# tests/checkpointing has), torchrun, another directory of images
NOT_HERE = re.compile(
    r"data=cifar10|launcher=slurm|resume=outputs|torchrun|-sc |hpml\.data |trainer\.max_epochs=30"
)


# What a quick run tells nothing of: the tests of their rooms run these.
OWN_TESTS = ("watch", "tune", "compare")


def as_small(command: str) -> list[str]:
    """What makes a command quick: few samples, one epoch, a small network where none is named."""
    small = ["data.train_samples=16", "data.test_samples=4", "data.batch_size=4"]
    small += ["trainer.max_epochs=1"]
    without = {"data=": "data=synthetic", "image_folder": "data.image_size=8"}
    without |= {"device": "device=cpu"}
    small += [override for word, override in without.items() if word not in command]
    if "model=" not in command and "no_norm" not in command:
        small.append("model=small")
    if "fast" in command:
        small.append("compile=false")
    return small


def run_here(command: str, folder: Path, sweeps: bool) -> None:
    """As it is written, with overrides behind it that make it quick."""
    ours = HANDS_ON.match(command)
    if ours is None or ours["name"] in OWN_TESTS or NOT_HERE.search(command):
        return
    words = shlex.split(ours["words"].replace("$HOME", str(folder)))
    if {"--help", "--cfg"}.isdisjoint(words) and ours["name"] != "report":
        words += as_small(command)
        words += {
            "diagnose": ["diagnose.budget_s=2"],
            "workers": ["workers.rounds=2", "workers.seconds=0.1", "workers.most=1"],
            "summary": ["summary.seeds=1"],
            "lab": ["lab.dry_run=true"],
        }.get(ours["name"], [])
        if not sweeps and re.search(r" -m |experiment=(optimizers|no_norm|devices)", ours["words"]):
            words.append("sweep.dry_run=true")
    images = str(folder / "images")
    run_program(["-m", f"hpml.{ours['name']}", *words], folder, HPML_DATA=images)


@pytest.mark.slow
@shell_blocks(README)
def test_the_readmes_commands_run(commands: list[str], tmp_path: Path, image_folder: Path) -> None:
    """As written, on little data; of its sweep the check of all jobs."""
    for command in commands:
        run_here(command, tmp_path, sweeps=False)


@pytest.mark.slow
def test_a_program_is_watched_as_the_readme_says(tmp_path: Path) -> None:
    """Its command, as written, prints rows and a verdict, and leaves a record."""
    written = [each for _, block in blocks([README], "bash") for each in commands_of(block)]
    (command,) = [each for each in written if "hpml.watch" in each]
    (tmp_path / "train.py").write_text(PLAIN)
    done = run_program(shlex.split(command)[1:], tmp_path)
    record = RunRecord.read(tmp_path / "outputs" / "watch" / "train")
    assert len(record.epochs) == 2
    assert record.verdict is not None
    assert record.verdict["kind"] in done.stderr


@pytest.mark.slow
def test_the_example_times_a_trainer_of_ones_own(tmp_path: Path) -> None:
    """It prints rows and a verdict, and leaves a record."""
    done = run_program([str(ROOT / "examples" / "own_trainer.py")], tmp_path)
    record = RunRecord.read(tmp_path / "outputs" / "own_trainer")
    assert len(record.epochs) == 3
    assert record.verdict is not None
    assert record.verdict["kind"] in done.stdout
    assert "samples/s     loss" in done.stdout


@pytest.mark.stress
@shell_blocks(*DOCS, SLURM)
def test_the_commands_of_docs_run(commands: list[str], tmp_path: Path, image_folder: Path) -> None:
    """As written, on little data, where a run, a sweep and a folder of images are."""
    if any("outputs/runs" in command for command in commands):
        made = ["hydra.run.dir=outputs/runs/DATE/TIME", *as_small("")]
        run_program(["-m", "hpml.train", *made], tmp_path)
        make_run(tmp_path / "outputs" / "sweeps" / "s", "seed=0")
    for command in commands:
        if command.startswith(("mkdir ", "echo ")):
            subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True)
        run_here(command, tmp_path, sweeps=True)


PYTHON = [code for _, code in blocks([README, *DOCS], "python")]


TAKES_LONG = ("print(", "sweep(")  # a diagnosis, a sweep


@pytest.mark.parametrize(
    "code", [stress(code) if any(map(code.__contains__, TAKES_LONG)) else code for code in PYTHON]
)
def test_every_line_of_python_runs(code: str, tmp_path: Path, monkeypatch: Any) -> None:
    """With a Trainer, a module and a loader at hand, as the text supposes."""
    monkeypatch.chdir(tmp_path)
    trainer, module, loader = autoencoder(tmp_path, batches=4)
    at_hand = {"trainer": trainer, "module": module, "loader": loader, "datamodule": loader, "L": L}
    code = code.replace("L.Trainer(", "L.Trainer(max_epochs=1, logger=False, ")
    cell = ModuleType("cell")
    monkeypatch.setitem(sys.modules, "cell", cell)
    vars(cell).update(at_hand)
    exec(code, vars(cell))
    if "phase_timers" in code and "fit(" in code:
        assert (tmp_path / "outputs" / "before" / "record.json").is_file()
