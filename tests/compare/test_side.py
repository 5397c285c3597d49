"""What BEFORE and AFTER may be, how a side's process is started, and how it may fail."""

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest
import yaml
from helpers.configurations import ROOT

from hpml.compare import comparison, program, worktree
from hpml.compare.command import main, parser
from hpml.compare.question import questions_of
from hpml.compare.rounds import SIDES, Rounds, run_round
from hpml.compare.side import (
    OUTPUTS,
    OVERRIDES,
    RECORDS,
    REVISION,
    SCRIPT,
    Side,
    check_kinds,
    kind_of,
    program_of,
    sides,
)
from hpml.compare.side_process import FailedError, KilledError, end_all_of, started
from hpml.errors import UserError


def test_the_four_kinds_are_told_apart(project: Path) -> None:
    """By what they look like; a folder with a record in it holds records."""
    (project / "runs" / "a").mkdir(parents=True)
    (project / "runs" / "a" / "record.json").write_text("{}")
    given = {
        **{"": OVERRIDES, "compile=true ~scheduler": OVERRIDES, "train.py --x=1": SCRIPT},
        **{"-m package.train": SCRIPT, "main": REVISION, "HEAD~1": REVISION, ".": REVISION},
        **{"runs": RECORDS, "runs/a/record.json": RECORDS},
    }
    assert {each: kind_of(each) for each in given} == given
    for wrong in ("nosuch", "--help", "main HEAD", "'", "train"):
        with pytest.raises(UserError, match=r"no such revision|quotation"):
            kind_of(wrong)
    (project / "empty").mkdir()
    with pytest.raises(UserError, match="no record below"):
        kind_of("empty")


def test_kinds_that_do_not_go_together(project: Path) -> None:
    """A revision needs what is run in it; what has no effect is refused."""
    (project / "record.json").write_text("{}")
    for given, run, why in (
        (("record.json", "main"), None, "main: is no record"),
        (("main", "train.py"), "x", "train.py: is no revision"),
        (("train.py", "x=1"), None, 'train.py: is a script, and "x=1" are overrides'),
        (("", "train.py"), "train.py", "train.py: is a script"),
        (("main", "HEAD~1"), None, "--run is missing"),
        (("train.py", "train.py"), "x", "--run=x: has no effect"),
    ):
        with pytest.raises(UserError, match=why):
            check_kinds(given, run)
    assert check_kinds(("", "compile=true"), "experiment=demo") == [OVERRIDES] * 2


def test_what_is_run(project: Path) -> None:
    """A script as it is; overrides go to our training, behind those of both sides."""
    assert program_of("-m package.train --x") == ("-m", "package.train", "--x")
    assert program_of("seed=1", "compile=true") == ("-m", "hpml.train", "seed=1", "compile=true")


def test_a_revision_has_a_tree_of_its_own(project: Path, tmp_path: Path) -> None:
    """Each side starts in its own; they are gone afterwards, and the project is as it was."""
    given = dict(zip(SIDES, ("HEAD~1", "main"), strict=True))
    with sides(given, "train.py", None, tmp_path) as made:
        texts = [(side.folder / "train.py").read_text() for side in made.values()]
        assert texts == ["print('one')\n", "raise ValueError('broken in two')\n"]
        paths = [side.environment["PYTHONPATH"].split(os.pathsep)[0] for side in made.values()]
        assert paths == [str(side.folder) for side in made.values()]
    assert worktree.git("worktree", "list", "--porcelain").count("worktree ") == 1  # type: ignore[union-attr]
    assert worktree.git("status", "--porcelain") == ""


def test_the_files_as_they_are_need_no_tree(project: Path, tmp_path: Path) -> None:
    """`.` is the project's own folder; --install without revisions is refused."""
    given = dict(zip(SIDES, ("HEAD~1", "."), strict=True))
    with sides(given, "train.py", None, tmp_path) as made:
        assert made["after"].folder == project.resolve()
    scripts = dict.fromkeys(SIDES, "train.py")
    with (
        pytest.raises(UserError, match="has no effect without revisions"),
        sides(scripts, None, "pip", tmp_path),
    ):
        pass


def test_wrong_input_ends_in_one_line_with_exit_code_2(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is missing, what is no number, what there is not, what has no effect.

    Answer, picture and logs of an earlier comparison are not left as those of the one that failed.
    """
    folder = Path("outputs", "compare")
    folder.mkdir(parents=True)
    for name in ("compare.json", "phases.png", "before.log", "after.log"):
        (folder / name).write_text("earlier")
    (project / "r").mkdir()
    (project / "r" / "record.json").write_text("{}")
    for words, said in (
        (["main"], "the following arguments are required: AFTER"),
        (["main", "nosuch", "--run=train.py"], "nosuch: there is no such revision"),
        (["main", "main", "--budget=soon"], "--budget=soon: give seconds, at least 1"),
        (["main", "main", "--of=speed"], "--of=speed: give some of step"),
        (["main", "main", "--slower-than=0"], "--slower-than=0: give a part in per cent"),
        (["main", "main", "--steps=1.5"], "--steps=1.5: give a whole number of steps"),
        (["r", "r", "--steps=5"], "--steps=5: has no effect on records"),
        (["", "", "--output=train.py"], "--output=train.py: train.py is no folder"),
        (["", "", "--output=train.py/a"], "--output=train.py/a: "),
        (["main", "main", "--undecided=maybe"], "--undecided=maybe: give fail or pass"),
        (["main", "main", "--run=train.py", "--install="], "--install=: give a command"),
        (["main", "main", "--run=train.py"], "main: fails with exit code 1: ValueError: broken"),
    ):
        monkeypatch.setattr(sys, "argv", ["compare", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        error = capsys.readouterr().err
        assert error.startswith(f"error: {said}")
        assert error.count("\n") == 1
    (log,) = folder.iterdir()  # of the side that was seen to fail first
    assert error.endswith(f"; its output: {log}\n")
    assert log.read_text().startswith("Traceback")


@pytest.mark.parametrize("name", ["github", "gitlab"])
def test_the_examples_of_ci_ask_what_can_be_asked(name: str) -> None:
    """Their file is YAML; its command has options that there are, and actions are pinned."""
    text = (ROOT / "examples" / "ci" / f"{name}.yml").read_text()
    assert yaml.safe_load(text)
    (words,) = re.findall(r"python -m hpml\.compare (.*\n.*)\n", text)
    given = parser().parse_args(shlex.split(words))
    assert (given.after, given.run, given.output) == ("HEAD", "train.py", "speed")
    assert questions_of(given.of, given.slower_than)[0].threshold == 0.05
    assert all(
        re.search(r"@[0-9a-f]{40} # v", line) for line in text.splitlines() if "uses:" in line
    )


def test_how_a_side_may_end(tmp_path: Path) -> None:
    """Without a fit, by an error, by a signal, by being no program: one line says which."""
    script = tmp_path / "train.py"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}

    def ask(code: str) -> None:
        script.write_text(code)
        side = Side("train.py", SCRIPT, (str(script),), tmp_path, environment=environment)
        with started(side, tmp_path / "log") as process:
            process.first()

    with pytest.raises(UserError, match="has ended without a Trainer"):
        ask("print('nothing to do')")
    with pytest.raises(UserError, match=r"fails with exit code 1: ValueError: no data"):
        ask("print('begins')\nraise ValueError('no data')")
    with pytest.raises(UserError, match="fails with exit code 7: it says nothing"):
        ask("import sys; sys.exit(7)")
    with pytest.raises(KilledError, match=r"train.py: was killed \(SIGKILL\)"):
        ask("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    for name in ("SIGSEGV", "SIGABRT", "SIGTRAP"):
        with pytest.raises(UserError, match=rf"train.py: crashes \({name}\): it says nothing"):
            ask(f"import os, signal; os.kill(os.getpid(), signal.{name})")


def test_a_side_that_fails_ends_the_round_at_once(tmp_path: Path) -> None:
    """Whichever it is: the other one, which has long to go, is ended without being waited for."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    codes = {
        "slow": "import os, time; print(os.getpid(), flush=True); time.sleep(600)",
        "wrong": "import sys, time; time.sleep(0.5); sys.exit('error: no such key')",
    }
    for name, code in codes.items():
        (tmp_path / f"{name}.py").write_text(code)
    for names in (("slow", "wrong"), ("wrong", "slow")):
        start = {}
        for side, name in zip(SIDES, names, strict=True):
            words = (str(tmp_path / f"{name}.py"),)
            made = Side(name, SCRIPT, words, tmp_path, environment=environment)
            until_s = time.perf_counter() + 60.0  # else the slow one is waited for, and named
            start[side] = partial(started, made, tmp_path / f"{name}.log", until_s)
        with pytest.raises(FailedError, match=r"^wrong: fails with exit code 1: error: no such"):
            run_round(start, 0, None)
        pid = int((tmp_path / "slow.log").read_text())
        assert not psutil.pid_exists(pid) or _has_ended(psutil.Process(pid))


def test_a_side_that_hangs_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    """At the end of its time it is ended, with what it has started in its group or out of it."""
    script, folder = tmp_path / "train.py", tmp_path / "outputs"
    script.write_text(
        "import subprocess, sys, time\n"
        "for own in (False, True):\n"
        "    sleep = subprocess.Popen(['sleep', '60'], start_new_session=own)\n"
        "    print(sleep.pid, flush=True)\n"
        "print('loads', flush=True)\n"
        "time.sleep(60)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), OUTPUTS: str(folder)}
    side = Side("train.py", SCRIPT, (str(script),), tmp_path, environment=environment)
    log = tmp_path / "log"

    def ask() -> None:
        with started(side, log) as process:
            while "loads" not in log.read_text():
                assert process._process.poll() is None
                time.sleep(0.02)
            process._until_s = 0.0
            process.first()

    with pytest.raises(UserError, match=r"^train.py: has not answered within --budget and .*loads"):
        ask()
    inside, outside = (psutil.Process(int(line)) for line in log.read_text().split()[:2])
    assert _has_ended(inside)
    assert not _has_ended(outside)
    end_all_of(folder)
    assert _has_ended(outside)


def _has_ended(process: psutil.Process) -> bool:
    """A zombie has too: what starts this machine's processes may not wait for orphans."""
    try:
        process.wait(0.5)
    except psutil.TimeoutExpired:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        pass
    return True


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="else no process is stopped")
def test_a_side_stands_still_between_its_slices(tmp_path: Path) -> None:
    """Whatever its threads would do; where nobody is left to let it go on, it goes on and ends."""
    parent = tmp_path / "parent.py"
    parent.write_text(
        "import sys, time\n"
        "from pathlib import Path\n"
        "from hpml.compare.side_process import started\n"
        "from hpml.compare.side import SCRIPT, Side\n"
        "with started(Side('job', SCRIPT, (sys.argv[1],)), Path('log')) as side:\n"
        "    side.first()\n"
        "    fit = side.fit(2, 1, 0, 0)\n"
        "    next(fit)\n"
        "    print(side._process.pid, flush=True)\n"
        "    time.sleep(600)\n"
    )
    job = ROOT / "tests" / "helpers" / "gated_job.py"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, parent, job], cwd=tmp_path, env=environment, stdout=subprocess.PIPE
    ) as measuring:
        assert measuring.stdout is not None
        try:
            side = psutil.Process(int(measuring.stdout.readline()))
            until_s = time.perf_counter() + 20.0
            while side.status() != psutil.STATUS_STOPPED and time.perf_counter() < until_s:
                time.sleep(0.01)
            assert side.status() == psutil.STATUS_STOPPED
        finally:
            measuring.kill()
    while not _has_ended(side) and time.perf_counter() < until_s:
        pass
    assert _has_ended(side)


def test_a_side_that_alone_is_killed_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice the same side: wrong input. Once each: undecided, with what has ended it."""
    made = {side: Side(side, SCRIPT) for side in SIDES}
    for order, fails in ((("after", "after"), True), (("before", "after"), False)):
        left = iter(order)

        def killed(*_: object, left: Iterator[str] = left, **__: object) -> None:
            raise KilledError(made[next(left)], tmp_path, "SIGKILL")

        monkeypatch.setattr(comparison, "run_round", killed)
        rounds = Rounds(questions_of("step", "3%"))
        arguments = (rounds, made, tmp_path, 9.0, None, lambda line: None)
        if fails:
            with pytest.raises(UserError, match="after: was killed 2 times, and the other"):
                comparison._measure(*arguments)
        else:
            why, interrupted = comparison._measure(*arguments)
            assert why.endswith("; sides were killed 2 times")
            assert not interrupted


def test_a_revision_without_its_data_is_told_why(tmp_path: Path) -> None:
    """What git does not track is not there; a script's own folder gives no such hint."""
    said = "fails with exit code 1: FileNotFoundError: [Errno 2] No such file or directory: 'data'"
    for name, kind, hint in (
        ("main", REVISION, True),
        (".", REVISION, False),
        ("x", SCRIPT, False),
    ):
        failed = str(FailedError(Side(name, kind), tmp_path, said))
        assert failed.startswith(f"{name}: {said}")
        assert ("only what git tracks" in failed) == hint


def test_an_environment_without_a_module_is_told_what_brings_it(tmp_path: Path) -> None:
    """Where `--install` has made it; the environment of this process is another matter."""
    said = "fails with exit code 1: ModuleNotFoundError: No module named 'psutil'"
    for python, hint in (("/env/bin/python", True), (sys.executable, False)):
        failed = str(FailedError(Side("main", REVISION, python=python), tmp_path, said))
        assert ("; --install has to bring" in failed) == hint


def test_another_hpml_is_imported_by_the_program_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our modules step aside for a package of the same name, and are in place when asked for."""
    (tmp_path / "hpml").mkdir()
    (tmp_path / "hpml" / "__init__.py").write_text("age = 'old'\n")
    before = {name: module for name, module in sys.modules.items() if name.startswith("hpml")}
    monkeypatch.syspath_prepend(tmp_path)
    ours = program.OurModules()
    try:
        ours.step_aside()
        import hpml

        assert hpml.age == "old"  # type: ignore[attr-defined]
        with ours.in_place():
            assert sys.modules["hpml.compare.program"] is program
        assert sys.modules["hpml"] is hpml
        assert "hpml.compare.program" not in sys.modules
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == "hpml"]:
            del sys.modules[name]
        sys.modules.update(before)


def test_ours_stay_where_the_program_has_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script that uses hpml itself gets the modules that measure it."""
    program.OurModules().step_aside()
    assert sys.modules["hpml.compare.program"] is program


def test_modules_from_elsewhere_in_the_project_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An editable installation would have both sides train the same files."""
    monkeypatch.setenv(program.PROJECT, str(ROOT))
    monkeypatch.setenv(program.TREE, str(tmp_path))
    assert any(name.startswith("hpml.compare.program (") for name in program.foreign_modules())
    monkeypatch.setenv(program.TREE, str(ROOT))
    assert program.foreign_modules() == []
    monkeypatch.setenv(program.TREE, str(ROOT / "examples"))
    assert program.is_elsewhere(ROOT)  # which is taken off Python's path
    assert not program.is_elsewhere(ROOT / ".venv" / "lib" / "site-packages")
    assert not program.is_elsewhere(ROOT / "examples" / "ci")
