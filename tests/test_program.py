"""The programs as a user starts them: processes, exit codes, what stands on the terminal."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import TINY

from hpml.__main__ import COMMANDS
from hpml.records import RunRecord

ROOT = Path(__file__).parents[1]
TRAIN = [sys.executable, "-m", "hpml.train"]


def run(command: list[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env=os.environ | environment
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["optimizer=foo"], r"optimizer=foo: there is no such option; give one of adadelta, .*sgd"),
        (["data.batch_size=0"], r"data.batch_size=0: give an integer of at least 1"),
        (
            ["data.batchsize=4"],
            r"data.batchsize: there is no such key; did you mean data.batch_size\?",
        ),
        (["optimizer={a"], r"optimizer={a: no viable alternative.*"),
        (["output_dir=/dev/null"], r"output_dir: /dev/null.* cannot be made: .*"),
        (["--config-dir", "nowhere"], r"Additional config directory .*nowhere' not found"),
        (["--config-name", "nothing"], r"(.|\n)*nothing(.|\n)*"),
        (
            ["-m", "optimizer=sgd,adam", "data.batch_size=128,0"],
            r"data.batch_size=0: give an integer of at least 1 \(job .*; no job was started\)",
        ),
        (["-m", "optimizer=sgd,foo"], r"optimizer=foo: there is no such option; .*"),
        (["-m", "seed=0,1", "trainer.max_epochs=1,x"], r"trainer.max_epochs=x: .*"),
    ],
)
def test_wrong_input_is_told_before_anything_starts(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    """Exit code 2, no traceback, no directory of a run left behind."""
    done = run([*TRAIN, *arguments], tmp_path)
    assert done.returncode == 2
    assert re.fullmatch(f"error: {message}\n", done.stderr)
    assert "Traceback" not in done.stdout + done.stderr
    assert not list(tmp_path.rglob("train.log"))


def test_wrong_input_that_needs_a_look_at_the_data(tmp_path: Path) -> None:
    """One line, exit code 2, and a record that says so."""
    done = run(
        [*TRAIN, *TINY, "data=image_folder", "data.root=nowhere", "data.train_samples=null"],
        tmp_path,
    )
    assert done.returncode == 2, done.stderr
    assert "error: data.root=nowhere: there is no such folder" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    (file,) = tmp_path.rglob("record.json")
    record = RunRecord.read(file)
    assert (record.status, (record.error or {})["type"]) == ("failed", "DataError")
    log = (file.parent / "train.log").read_text()
    assert "data.root=nowhere" in log


def test_help_comes_at_once_and_without_torch(tmp_path: Path) -> None:
    """Nothing heavy is imported for what needs none of it."""
    done = run([sys.executable, "-X", "importtime", "-m", "hpml.train", "--help"], tmp_path)
    assert done.returncode == 0
    assert "optimizer: adadelta, adagrad" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "hydra" in imported
    assert not imported & {"torch", "lightning", "numpy", "torchvision"}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--cfg", "job"], "batch_size: 128"),
        (["--cfg", "job", "--resolve", "-p", "data"], "root: data"),
        (["--info", "defaults"], "Defaults List"),
        (["-sc", "install=bash"], "hydra_bash_completion"),
    ],
)
def test_what_hydra_gives_free_works(tmp_path: Path, arguments: list[str], expected: str) -> None:
    """Configuration, information and shell completion, without a trace on the disk."""
    done = run([*TRAIN, *arguments], tmp_path)
    assert done.returncode == 0, done.stderr
    assert expected in done.stdout
    assert not list(tmp_path.iterdir())


def test_hpml_lists_its_commands_and_passes_on(tmp_path: Path) -> None:
    """One line each; `hpml train` answers as `python -m hpml.train` does."""
    hpml = [sys.executable, "-m", "hpml"]
    listed = run(hpml, tmp_path)
    assert listed.returncode == 0
    for name in COMMANDS:
        assert re.search(rf"^  {name} +\S", listed.stdout, re.MULTILINE)
    passed_on = run([*hpml, "train", "optimizer=foo"], tmp_path)
    direct = run([*TRAIN, "optimizer=foo"], tmp_path)
    assert (passed_on.returncode, passed_on.stderr) == (2, direct.stderr)
    unknown = run([*hpml, "trian"], tmp_path)
    assert unknown.returncode == 2
    assert unknown.stderr.startswith("error: trian: there is no such command")


def test_a_sweep_goes_on_after_a_failure(tmp_path: Path) -> None:
    """Each job in its folder, the failed one told at the end, exit code 1; a table of all."""
    done = run(
        [*TRAIN, "-m", *TINY, "optimizer=sgd,nesterov", "optimizer.lr=1e30,0.01", "sweep.name=s"],
        tmp_path,
    )
    assert done.returncode == 1, done.stderr
    sweep = tmp_path / "outputs" / "sweeps" / "s"
    states = {file.parent.name: RunRecord.read(file).status for file in sweep.rglob("record.json")}
    assert states == {
        "optimizer=sgd,optimizer.lr=1e+30": "failed",
        "optimizer=sgd,optimizer.lr=0.01": "completed",
        "optimizer=nesterov,optimizer.lr=1e+30": "failed",
        "optimizer=nesterov,optimizer.lr=0.01": "completed",
    }
    assert "job 4 of 4: optimizer=nesterov,optimizer.lr=0.01" in done.stdout
    assert "failed: 2 of 4 jobs" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    table = run([sys.executable, "-m", "hpml.report", str(sweep)], tmp_path)
    assert table.returncode == 0
    assert table.stdout.count("completed") == 2


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_exit_codes_on_signals(tmp_path: Path, number: int, code: int) -> None:
    """130 and 143, a record that says interrupted, no worker left behind."""
    process = subprocess.Popen(
        [*TRAIN, *TINY, "trainer.max_epochs=100000", "data.num_workers=1"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    while not list(tmp_path.rglob("last.ckpt")):
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, number)  # as a terminal or a cluster does, workers included
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == code
    assert b"Traceback" not in stderr
    (file,) = tmp_path.rglob("record.json")
    assert RunRecord.read(file).status == "interrupted"
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """`trainer.devices=2` on the CPU: one record, every sample counted once, loss as expected."""
    small = [*TINY, "data.batch_size=16", "trainer.max_epochs=1"]
    done = run([*TRAIN, *small, "trainer.devices=2"], tmp_path)
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.rglob("record.json")
    epoch = RunRecord.read(file).epochs[0]
    assert (epoch.steps, epoch.samples) == (3, 96)
    assert done.stdout.count("hpml 0") == 1


def test_fetching_data_says_what_is_there(image_folder: Path, tmp_path: Path) -> None:
    """Statistics to copy into the configuration; every broken file in one list, exit code 2."""
    command = [sys.executable, "-m", "hpml.data", "data=image_folder", f"data.root={image_folder}"]
    command += ["data.batch_size=4", "data.verify=false"]
    done = run(command, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "train: 16 images of 8×8; data.mean=[" in done.stdout
    assert not list(tmp_path.glob("outputs"))
    for name in ("0.png", "3.png"):
        path = image_folder / "train" / "cat" / name
        path.write_bytes(path.read_bytes()[:70])
    broken = run(command, tmp_path)
    assert broken.returncode == 2
    assert "error: 2 images cannot be decoded:" in broken.stdout
    assert "cat/3.png" in broken.stdout


def test_options_of_ones_own_come_by_config_dir(tmp_path: Path) -> None:
    """A model from a file in the working directory, through `--config-dir mine model=mine`."""
    (tmp_path / "own.py").write_text(
        "import torch\n"
        "def network(num_classes):\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(num_classes))\n"
        "def linear(num_classes, size):\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(size, num_classes))\n"
    )
    (tmp_path / "mine" / "model").mkdir(parents=True)
    (tmp_path / "mine" / "model" / "mine.yaml").write_text(
        "_target_: own.linear\nnum_classes: null\nsize: 3072\n"
    )
    own = ["--config-dir", "mine", "model=mine"]
    tiny = [override for override in TINY if not override.startswith("model=")]
    for program in (TRAIN, [sys.executable, "-m", "hpml", "train"]):
        done = run([*program, *own, *tiny], tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "model=mine (30,730 parameters)" in done.stdout


def readme_commands() -> list[str]:
    blocks = re.findall(r"```(?:bash|sh)\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    commands = [line.partition("  #")[0].strip() for line in lines]
    return [line for line in commands if re.match(r"(python -m hpml\.train|hpml train)\b", line)]


@pytest.mark.parametrize("command", readme_commands())
def test_the_readmes_training_commands_are_allowed(tmp_path: Path, command: str) -> None:
    """Each composes to a configuration; what they show is not a key that is gone."""
    words = [word for word in shlex.split(command) if word not in ("-m", "python", "hpml.train")]
    words = [word for word in words if word not in ("hpml", "train")]
    if any(word.startswith("-") for word in words):
        return  # --cfg, --info and the like, which are run above
    swept = [re.sub(r"=([^\[,]+),.*", r"=\1", word) for word in words]
    done = run([*TRAIN, "--cfg", "job", *swept], tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_readme_has_commands() -> None:
    """The test above would pass on a README that it cannot read."""
    assert len(readme_commands()) >= 5
