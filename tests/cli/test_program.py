"""The programs as a user starts them: processes, exit codes, what stands on the terminal."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.configurations import ROOT, TINY, stress
from helpers.programs import Program, run_on_terminal, run_program
from helpers.sweeps import statuses

from hpml.__main__ import COMMANDS
from hpml.records.run_record import RunRecord

TRAIN = ["-m", "hpml.train"]


WRONG = {
    "optimizer=foo": r"optimizer=foo: there is no such option; give one of adadelta, .*sgd",
    "-m hydra/sweeper=nevergrad seed=1,2": r"hydra/sweeper=nevergrad: its .*; give .*=optuna",
    "-m hydra/launcher=rq seed=1,2": r"hydra/launcher=rq: pip install hydra-rq-launcher",
    "data.batch_size=0": r"data.batch_size=0: give an integer of at least 1",
    "data.batchsize=4": r"data.batchsize: there is no such key; did you mean data.batch_size\?",
    "optimizer={a": r"optimizer={a: put what has signs .* \"optimizer='{a'\"",
    "output_dir=/dev/null": r"output_dir: /dev/null.* cannot be made: .*",
    "--config-dir nowhere": r"Additional config directory .*nowhere' not found",
    "--config-name nothing": r"(.|\n)*nothing(.|\n)*",
    "-m optimizer=sgd,adam data.batch_size=128,0": (
        r"data.batch_size=0: give an integer of at least 1 \(job .*; no job was started\)"
    ),
    "-m seed=0,1 run_dir=one": r"run_dir: follows Hydra's directory; .*",
    "cpu=4": r"cpu=4: give one of its keys: cpu.threads, cpu.wait",
    "run_dir=one": r"run_dir: follows Hydra's directory; .*",
    "data=synthetic data.enoded=jpeg": r"data.enoded: .* did you mean data.encoded\?",
    "data=synthetic data.root=x": r"data.root: .*; data=cifar10 or image_folder would have .*",
    "data=synthetic data.rood=x": r"data.rood: .*; data has .*; \+data.rood=… adds .*",
    "optimizer.betas=0.9": r"optimizer.betas: .* has lr, .*; optimizer=adam or adamw would have .*",
    "callbacks=none callbacks.early.x=1": r"callbacks.early: .*; \+callbacks.early=… adds .*",
    "hydra.job.chdr=true": r"hydra.job.chdr: .* did you mean hydra.job.chdir\?",
    "--seed 3": r"--seed: there is no such option; give seed=3",
    "--seed=3": r"--seed: there is no such option; give seed=3",
    "model=small --batch-size 64 seed=1": r"--batch-size: .*; give data.batch_size=64",
    "--lr": r"--lr: there is no such option; give optimizer.lr=VALUE",
    "--sed 3 model=5": r"--sed: there is no such option; give seed=3",
    "--frobnicate 3": r"--frobnicate: .*; give KEY=VALUE; --help lists the keys",
    "--config-dir": r"argument --config-dir/-cd: expected one argument",
    "seed=1 --cfg job model=small": r"model=small: options such as --cfg go first, then .*",
    "-m optimizer=sgd,foo": r"optimizer=foo: there is no such option; .*",
    "-m seed=0,1 trainer.max_epochs=1,x": r"trainer.max_epochs=x: .*",
    "-m trainer.precision=32-true,foo": r"trainer.precision=foo: give one of 32-true.*",
    "-m optimizer.lr=range(1,0)": r"the sweep has no jobs: .*",
    "optimizer=adam optimizer.momentum=.9": r"optimizer.momentum: .* has lr, weight.*",
    "resume=Auto": r"resume=Auto: give auto, never, or the path of a resume checkpoint",
    "resume=nowhere": r"resume=nowhere: there is no such file",
    "-m seed=0,1 sweep.name=a/b": r"sweep.name=a/b: give a plain name, .*",
    "foo": r"foo: give KEY=VALUE",
    "optimizer.lr=0.1,0.2": r"optimizer.lr=0.1,0.2: add -m to sweep over .*",
    "optimizer=[sgd,adam]": r"optimizer=\[sgd,adam\]: give one; -m optimizer=sgd,adam sweeps",
    "-m optimizer=[sgd,adam],adam": r"optimizer=\[sgd,adam\]: give one; .*started\)",
    "evaluate='a,b=c": r"evaluate='a,b=c: .*",
    "logger=null": r"logger=null: give the name of an option",
    "--config-name model/small": r"data: nothing is chosen; give data=OPTION",
    "hydra.verbose={a:1}": r"AssertionError; HYDRA_FULL_ERROR=1 shows where",
    "-m ~output_dir seed=0,1": r"output_dir: is missing; .*",
    "hydra.run.dir=${nothing}": r"hydra.run.dir: Interpolation key 'nothing' not found",
    "device='a\nb'": r"device=a b: give one of auto, .*",
    "seed=0,1 -m optimizer.lr=-1": r"optimizer.lr=-1: give a number above 0 .*",
}


@pytest.mark.parametrize(("words", "message"), WRONG.items())
def test_wrong_input_is_reported_at_once(tmp_path: Path, words: str, message: str) -> None:
    """Exit code 2, no traceback, no directory of a run left behind."""
    done = run_program([*TRAIN, *words.split(" ")], tmp_path, exit_code=2)
    assert re.fullmatch(f"error: {message}\n", done.stderr)
    assert "Traceback" not in done.stdout + done.stderr
    assert not list(tmp_path.iterdir())


def test_wrong_input_that_needs_a_look_at_the_data(tmp_path: Path) -> None:
    """One line, exit code 2, nothing left but what was there: nothing has begun."""
    absent = ["data=image_folder", "data.root=nowhere", "data.train_samples=null"]
    (tmp_path / "mine").mkdir()
    there = "hydra.run.dir=mine/deep/run"
    done = run_program([*TRAIN, *TINY, *absent, there], tmp_path, exit_code=2)
    assert done.stderr == "error: data.root=nowhere: there is no such folder\n"
    assert "Traceback" not in done.stdout
    assert list(tmp_path.rglob("*")) == [tmp_path / "mine"]


def test_a_plugin_of_hydras_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    """Hydra loads all that are installed, whatever is asked for: one line says which has failed.

    It loads them once: this program is no fork of another.
    """
    plugin = tmp_path / "hydra_plugins" / "odd_sweeper"
    plugin.mkdir(parents=True)
    (plugin / "__init__.py").write_text("raise ValueError('mutable default')\n")
    path = os.pathsep.join(map(str, (tmp_path, ROOT)))
    done = subprocess.run(
        [sys.executable, *TRAIN, *TINY],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    why = "Hydra cannot load the plugin odd_sweeper (ValueError: mutable default)"
    assert done.stderr == f"error: {why}; update it, or uninstall it\n"


def test_help_comes_at_once_and_without_torch(tmp_path: Path) -> None:
    """Nothing heavy is imported for what needs none of it."""
    command = [sys.executable, "-X", "importtime", *TRAIN, "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "optimizer=sgd, or adadelta, adagrad" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "hydra" in imported
    assert not imported & {"torch", "lightning", "numpy", "torchvision"}


NOTES = """
import gc, json, sys
import lightning as L
class Notes(L.Callback):
    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        state = gc.isenabled(), gc.get_freeze_count(), [*sys.modules]
        json.dump(state, open('notes.json', 'w'))
"""


@pytest.mark.slow
def test_the_first_step_waits_for_nothing_that_comes_later(tmp_path: Path) -> None:
    """Not for TensorBoard without its logger, nor for reports; imports are no garbage."""
    (tmp_path / "notes.py").write_text(NOTES)
    first_step = ["trainer.limit_train_batches=1", "+callbacks.notes._target_=notes.Notes"]
    command = [sys.executable, *TRAIN, *TINY, "logger=none", *first_step]
    subprocess.run(command, cwd=tmp_path, check=True)
    collects, kept, loaded = json.loads((tmp_path / "notes.json").read_text())
    assert "hpml.models.image_classifier" in loaded
    later = {"tensorboard", "jinja2", "hpml.report.page", "hpml.sweep.runner", "hpml.lab"}
    assert not later & set(loaded)
    assert collects
    assert kept > 100_000


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--cfg job", "batch_size: 128"),
        ("--cfg job --resolve -p data", "root: data"),
        ("--info defaults", "Defaults List"),
        ("-sc install=bash", "complete -o nospace"),
    ],
)
def test_what_hydra_gives_free_works(tmp_path: Path, words: str, expected: str) -> None:
    """Configuration, information and shell completion, without a trace on the disk."""
    assert expected in run_program([*TRAIN, *words.split()], tmp_path).stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("python -m hpml.train opt", {"optimizer=", "optimizer."}),
        ("python -m hpml.train -m seed=1 optimizer=ad", {"adadelta", "adagrad", "adam", "adamw"}),
        ("hpml train optimizer=adam optimizer.", {"optimizer.lr=", "optimizer.betas."}),
        ("python script.py opt", set()),
    ],
)
def test_bash_completes(tmp_path: Path, line: str, expected: set[str]) -> None:
    """In a real bash that has evaluated our script, as it asks for the completion of a line."""
    wrapper = tmp_path / "hpml"
    wrapper.write_text(f'#!/bin/sh\nexec {sys.executable} -m hpml "$@"\n')
    wrapper.chmod(0o755)
    asked = f"""
        eval "$({sys.executable} -m hpml.train -sc install=bash)"
        complete -p python hpml >/dev/null || exit
        python() {{ {sys.executable} "$@"; }}
        COMP_LINE='{line}'; COMP_POINT=${{#COMP_LINE}}
        _hpml_complete
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    path = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    bash = ["bash", "--norc", "-c", asked]
    done = subprocess.run(bash, cwd=ROOT, capture_output=True, text=True, env=path, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    given = set(done.stdout.split())
    assert given >= expected
    assert expected or not given
    assert all("ad" in word or "optimizer" in word for word in given)


def test_hpml_lists_its_commands_and_passes_on(tmp_path: Path) -> None:
    """One line each; `hpml train` answers as `python -m hpml.train` does."""
    hpml = ["-m", "hpml"]
    listed = run_program(hpml, tmp_path)
    for name in COMMANDS:
        assert re.search(rf"^  {name} +\S", listed.stdout, re.MULTILINE)
    passed_on = run_program([*hpml, "train", "optimizer=foo"], tmp_path, exit_code=2)
    assert passed_on.stderr == run_program([*TRAIN, "optimizer=foo"], tmp_path, exit_code=2).stderr
    unknown = run_program([*hpml, "trian"], tmp_path, exit_code=2)
    assert unknown.stderr.startswith("error: trian: there is no such command")


@pytest.mark.stress
def test_a_sweep_continues_after_a_failure(tmp_path: Path) -> None:
    """Each job in its folder, the failed one named at the end, exit code 1; a report on all.

    tests/sweep has the same with jobs that do not train.
    """
    swept = ["-m", *TINY, "optimizer.lr=1e30,0.01", "sweep.name=s"]
    done = run_program([*TRAIN, *swept], tmp_path, exit_code=1)
    assert statuses(tmp_path) == {"optimizer.lr=0.01": "completed", "optimizer.lr=1e+30": "failed"}
    assert "job 2 of 2: optimizer.lr=0.01" in done.stdout
    assert done.stderr.endswith("failed: 1 job: optimizer.lr=1e+30\n")
    assert "Traceback" not in done.stdout + done.stderr
    assert "curves: tensorboard --logdir outputs/sweeps/s\n" in done.stdout
    assert "report: outputs/sweeps/s/report.html (" in done.stdout


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), stress(signal.SIGHUP, 129)]
)
def test_exit_codes_on_signals(tmp_path: Path, number: int, code: int) -> None:
    """130, 143 and 129, a record that says interrupted, no worker left behind."""
    words = [*TINY, "trainer.max_epochs=100000", "data.num_workers=1"]
    process = Program([*TRAIN, *words], tmp_path)
    process.wait_for(lambda: list(tmp_path.rglob("last.ckpt")))
    os.killpg(process.pid, number)  # as a terminal or a cluster does, workers included
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == code
    (file,) = tmp_path.rglob("record.json")
    folder = file.parent.relative_to(tmp_path)
    kept = f"interrupted: record {folder}/record.json; checkpoint {folder}/checkpoints/last.ckpt"
    again = shlex.join([sys.executable, *TRAIN, *words, "resume=auto", f"hydra.run.dir={folder}"])
    resumes = f"{kept}; to resume: {again}\n"
    # SIGTERM ends the loader's processes: at an epoch's end there is no resume checkpoint then
    assert stderr in ((f"{kept}\n", resumes) if number == 15 else (resumes,))
    assert RunRecord.read(file).status == "interrupted"
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


def test_what_is_printed_is_right_from_where_it_was_typed(tmp_path: Path) -> None:
    """The run works in its own folder; its paths are told from the user's, in quotes."""
    words = [*TINY, "hydra.job.chdir=true", "output_dir='a b'", "timing.trace=true"]
    done = run_program([*TRAIN, *words], tmp_path)
    told = dict(re.findall(r"^(record|trace|curves): (.*)$", done.stdout, re.MULTILINE))
    (file,) = tmp_path.rglob("record.json")
    folder = str(file.parent.relative_to(tmp_path))
    assert folder.startswith("a b/runs/")
    assert told["record"] == f"'{folder}/record.json'"
    assert told["curves"] == f"tensorboard --logdir '{folder}'"
    assert told["trace"].startswith(f"'{folder}/trace.json' (")


def test_a_run_in_its_own_folder_says_how_it_resumes(tmp_path: Path) -> None:
    """By the path from where the command was typed: from there it is the same run."""
    words = [*TINY, "trainer.max_epochs=100000", "hydra.job.chdir=true"]
    process = Program([*TRAIN, *words], tmp_path)
    process.wait_for(lambda: list(tmp_path.rglob("last.ckpt")))
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    (file,) = tmp_path.rglob("record.json")
    folder = file.parent.relative_to(tmp_path)
    assert stderr.endswith(f" resume=auto hydra.run.dir={folder}\n")


@pytest.mark.parametrize("delay", [stress(0.0), 0.5, stress(1.0)])
def test_a_signal_at_the_start_counts(tmp_path: Path, delay: float) -> None:
    """Also while torch and Lightning are imported, which swallow exceptions here and there."""
    command = [sys.executable, *TRAIN, *TINY, "trainer.max_epochs=100000"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE)
    while not list(tmp_path.rglob("record.json")):
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in stderr
    (file,) = tmp_path.rglob("record.json")
    assert RunRecord.read(file).status == "interrupted"


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    """Here a file may have 100 KiB: the run fails, no part of a checkpoint is left."""
    done = run_program([*TRAIN, *TINY], tmp_path, limits={"RLIMIT_FSIZE": 100 * 1024}, exit_code=1)
    assert re.fullmatch(r"failed: .*: File too large\n", done.stderr)
    assert [RunRecord.read(file).status for file in tmp_path.rglob("record.json")] == ["failed"]
    assert not list(tmp_path.rglob("*.ckpt*"))


TWO, ONE = "{devices: 2, batch_size: 8}", "{devices: 1, batch_size: 16}"
SWEEPS = [stress([["-m", f"+of={first},{then}"]]) for first, then in ((TWO, ONE), (ONE, TWO))]


@pytest.mark.slow
@pytest.mark.parametrize("programs", [[[f"+of={TWO}"], [f"+of={ONE}"]], *SWEEPS])
def test_two_processes_train_as_one(tmp_path: Path, programs: list[list[str]]) -> None:
    """Two runs, or a sweep over `trainer.devices` on the CPU: each with that many, same losses."""
    same = ["data=synthetic", "model=resnet18_no_norm", "device=cpu", "data.image_size=8"]
    same += ["data.train_samples=48", "data.test_samples=17", "callbacks=none", "logger=none"]
    same += ["trainer.max_epochs=2", "optimizer.lr=0.01", "data.batch_size=${of.batch_size}"]
    same += ["trainer.devices=${of.devices}"]
    for words in programs:
        done = run_program([*TRAIN, *same, *words], tmp_path)
        assert done.stdout.count("hpml 0") == 2 / len(programs)
    epochs = {}
    for file in tmp_path.rglob("record.json"):
        record = RunRecord.read(file)
        devices = record.config["trainer"]["devices"]
        epochs[devices] = record.epochs
        assert record.environment["threads"]["intra_op"] == record.chosen["cpu.threads"]
        assert len(record.environment.get("ranks", [])) == (devices if devices > 1 else 0)
        logs = sorted(log.name for log in file.parent.glob("*.log"))
        assert logs == ["output.log", "train.log"][len(programs) - 1 :]
    for one, two in zip(epochs[1], epochs[2], strict=True):
        assert (one.steps, one.samples) == (two.steps, two.samples) == (3, 48)
        assert one.metrics == pytest.approx(two.metrics, rel=1e-4)
        assert one.ranks is None
        assert two.ranks is not None
        times = two.ranks["train_s"]
        assert 0 <= times["skew"] <= 2 * times["worst"]
        assert times["mean"] <= times["worst"] <= 2 * times["mean"]
        assert "lightning_broadcast" in (two.other_split or {})
        assert "lightning_broadcast" not in (one.other_split or {})


@pytest.mark.stress
def test_wrong_input_is_reported_by_the_first_process_alone(tmp_path: Path) -> None:
    """However many train together."""
    words = [*TINY, "trainer.devices=2", "data.batch_size=64"]
    done = run_program([*TRAIN, *words], tmp_path, exit_code=2)
    assert done.stderr.count("error: ") == 1
    assert "each of 2 processes has only 48 training samples" in done.stderr


SPAWNING = """
import multiprocessing
if __name__ == '__main__':
    multiprocessing.set_start_method('spawn')
    from hpml.train import main
    main()
"""


@pytest.mark.stress
def test_a_job_trains_where_processes_are_spawned(tmp_path: Path) -> None:
    """As on macOS and Windows: the same losses as with forked workers, or with none."""
    program = tmp_path / "program.py"
    program.write_text(SPAWNING)
    losses = []
    for command in (TRAIN, [str(program), "data.num_workers=2"]):
        run_program([*command, *TINY, f"output_dir={len(losses)}"], tmp_path)
        (file,) = (tmp_path / str(len(losses))).rglob("record.json")
        losses.append([epoch.metrics["train/loss"] for epoch in RunRecord.read(file).epochs])
    assert losses[0] == losses[1]


@pytest.mark.skipif(os.name == "nt", reason="pseudo-terminals are Unix's")
def test_a_terminal_shows_whole_lines_beside_the_bar(tmp_path: Path) -> None:
    """On a terminal of 120 columns: a moving bar, and each epoch's row on a line of its own."""
    shown = [override for override in TINY if override != "callbacks=none"]
    words = [*TRAIN, *shown, "callbacks.progress_bar.refresh_rate=1"]
    output = run_on_terminal(words, tmp_path, 120)
    assert "it/s" in output
    (log,) = tmp_path.rglob("train.log")
    lines = [line[21:] for line in log.read_text().splitlines()]
    rows = [line for line in lines if line.strip()[:1].isdigit()]
    assert len(rows) == 2
    # a carriage return begins a line again: what a person sees is what follows the last one
    seen = [line.rpartition("\r")[2] for line in output.replace("\r\n", "\n").split("\n")]
    end = next(number for number, line in enumerate(seen) if line.startswith("record: "))
    *_, last_row, _, advice = (line for line in seen[:end] if line.strip())
    assert last_row.endswith(rows[-1])
    assert re.match("  (Try|Train|More than) ", advice)  # the bar is gone
    for row in rows:
        assert row in [line.removeprefix("\x1b[A") for line in seen], seen


def test_fetching_data_says_what_is_there(image_folder: Path, tmp_path: Path) -> None:
    """Statistics to copy into the configuration; every broken file in one list, exit code 2."""
    words = ["-m", "hpml.data", "data=image_folder", f"data.root={image_folder}"]
    assert "Fetches a data set" in run_program([*words, "--help"], tmp_path).stdout
    done = run_program(words, tmp_path)
    assert "train: 16 images of 8×8; data.mean=[" in done.stdout
    assert not list(tmp_path.glob("outputs"))
    for name, length in (("0.png", 10), ("3.png", 70)):
        path = image_folder / "train" / "cat" / name
        path.write_bytes(path.read_bytes()[:length])
    broken = run_program(words, tmp_path, exit_code=2)
    assert "error: 2 images cannot be used:" in broken.stderr
    assert "cat/3.png" in broken.stderr


def test_options_of_ones_own_come_by_config_dir(tmp_path: Path) -> None:
    """A model from a file in the working directory, through `--config-dir mine model=mine`."""
    (tmp_path / "own.py").write_text(
        "import torch\n"
        "def linear(num_classes, size):\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(size, num_classes))\n"
    )
    option = tmp_path / "mine" / "model" / "mine.yaml"
    option.parent.mkdir(parents=True)
    option.write_text("_target_: own.linear\nnum_classes: null\nsize: 3072\n")
    own = ["--config-dir", "mine", "model=mine"]
    tiny = [override for override in TINY if not override.startswith("model=")]
    done = run_program(["-m", "hpml", "train", *own, *tiny], tmp_path)
    assert "model=mine (30,730 parameters)" in done.stdout
