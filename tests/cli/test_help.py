"""`--help` of each Hydra program: keys, values and meanings."""

import itertools
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.programs import run_program
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from hpml.cli.help import comments, key_values, options_of, read_meanings
from hpml.config.conf import find_conf

COMMANDS = ("train", "data", "diagnose", "workers", "lab", "summary")


@pytest.mark.parametrize("name", ["fetch" if name == "data" else name for name in COMMANDS])
def test_every_key_of_every_option_has_a_meaning(name: str) -> None:
    """Also those that another option than the one in use has, and that an experiment adds."""
    with initialize_config_dir(str(find_conf()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        groups = [group for group in loader.list_groups("") if group != "hydra"]
        options = {group: options_of(group) for group in groups}
        columns = itertools.zip_longest(*options.values()) if name == "train" else [()]
        for chosen in columns:
            pairs = zip(groups, chosen, strict=True) if chosen else ()
            words = [f"{group}={option}" for group, option in pairs if option]
            cfg = compose(name, words, return_hydra_config=True)
            meanings = read_meanings([find_conf()], dict(cfg.hydra.runtime.choices))
            keys = [key for key, _ in key_values(cfg, [str(key) for key in cfg if key != "hydra"])]
            assert len(keys) > 80
            assert not [key for key in keys if not meanings.get(key)]


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_help_lists_all_keys_in_a_hundred_columns(tmp_path: Path, command: str) -> None:
    """Piped: groups with their options, without those that others build on."""
    done = run_program(["-m", f"hpml.{command}", "--help"], tmp_path)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 100
    assert "base_" not in done.stdout
    assert "data=cifar10, or image_folder, synthetic" in lines
    of_checkpoint = next(line for line in lines if line.startswith("  checkpoint.every_s "))
    assert of_checkpoint.split()[1:4] == ["300", "seconds", "between"]
    assert lines[0].startswith(f"python -m hpml.{command} ")
    assert not list(tmp_path.iterdir())


def test_help_shows_the_options_that_are_chosen(tmp_path: Path) -> None:
    """Keys, values and meanings of the data, the experiment and the logger that were named."""
    chosen = ["data=synthetic", "experiment=fast", "logger=[tensorboard,csv]", "seed=7"]
    done = run_program(["-m", "hpml.train", "--help", *chosen], tmp_path)
    rows = {words[0]: words[1:] for words in map(str.split, done.stdout.splitlines()) if words}
    assert rows["data.encoded"][:2] == ["none", "jpeg:"]
    assert "data.download" not in rows
    assert rows["data.pipeline"][0] == "auto"
    assert rows["seed"][0] == rows["data.seed"][0] == "7"
    assert rows["logger.csv"][0] == "CSVLogger"
    assert "run_dir" not in rows  # follows hydra.run.dir, and is refused


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("optimizer=foo", "optimizer=foo: there is no such option; give one of adadelta, "),
        ("data.batchsize=4", "data.batchsize: there is no such key; did you mean data.batch"),
        ("device=tpu", "device=tpu: give one of auto, cpu, gpu, mps"),
    ],
)
def test_help_for_wrong_input_says_what_is_wrong(tmp_path: Path, word: str, message: str) -> None:
    """In one line, with exit code 2, as a run would."""
    done = run_program(["-m", "hpml.train", "--help", word], tmp_path, exit_code=2)
    assert done.stderr.startswith(f"error: {message}")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_options_of_ones_own_explain_themselves(tmp_path: Path) -> None:
    """A folder that `--config-dir` adds is read as `conf/` is; the dollar is no name of Hydra's."""
    (tmp_path / "mine" / "model").mkdir(parents=True)
    own = "_target_: own.network\nnum_classes: null\nprice: $5  # what it costs\n"
    (tmp_path / "mine" / "model" / "mine.yaml").write_text(own)
    words = ["-m", "hpml.train", "--help", "--config-dir", "mine", "model=mine"]
    done = run_program(words, tmp_path)
    assert "model=mine, or resnet18, resnet18_no_norm, small" in done.stdout
    assert "  model.num_classes  null  outputs; null: as many as the data has" in done.stdout
    assert "  model.price        $5    what it costs" in done.stdout


def test_comments_of_a_file_belong_to_dotted_keys(tmp_path: Path) -> None:
    """A comment above keys, a sign within a value and a key without a comment mean nothing."""
    file = tmp_path / "a.yaml"
    lines = ("# above", "a:", "  b: 1  # one", "  c: x#y", "  d:  # four", "    e: 2 # two")
    file.write_text("\n".join((*lines, "f: [1] # six")))
    assert comments(file) == {"a.b": "one", "a.d": "four", "a.d.e": "two", "f": "six"}


def test_a_pipe_that_is_closed_early_is_no_error(tmp_path: Path) -> None:
    """`--help | head` prints what it was asked for, and no complaint."""
    command = f"{sys.executable} -m hpml.train --help | head -1"
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.startswith("python -m hpml.train ")
    assert done.stderr == ""
