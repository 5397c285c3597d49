"""A program that is watched is run as Python runs it: these import neither torch nor Lightning."""

import subprocess
import sys
from pathlib import Path

import pytest

from hpml.watch.import_hook import ChangingFinder

WATCH = ["-m", "hpml.watch"]
LAST = "nothing was timed, because it has not imported Lightning's Trainer\n"
SELF = """\
import multiprocessing, pickle, sys
class Own: pass
def squared(number): return number * number
if __name__ == "__main__":
    print(__file__, __spec__ and __spec__.name, __package__, __doc__, sys.argv, sys.path[0])
    print(sorted(globals()), pickle.dumps(Own()), sys.modules["__main__"].Own is Own)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(squared, [2, 3]))
"""
ENDS = {
    "sys.exit(3)": 3,
    "sys.exit('in words')": 1,
    "os._exit(4)": 4,
    "raise KeyboardInterrupt": -2,
    "os.kill(os.getpid(), 15)": -15,
    "print(1 / 0)": 1,
    "try: 1 / 0\nexcept Exception as error: raise ValueError('x') from error": 1,
    "sys.excepthook = lambda *error: print(error[2].tb_frame.f_code.co_name)\n1 / 0": 1,
    "x = = 1": 1,
    "atexit.register(print, 'ends')": 0,
}


def python(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True)


def test_it_finds_itself_as_without(tmp_path: Path) -> None:
    """Its names, arguments, path, and its classes in processes that are spawned."""
    (tmp_path / "sub").mkdir()
    for name in ("train.py", "sub/train.py"):
        (tmp_path / name).write_text(SELF)
    (tmp_path / "link.py").symlink_to("sub/train.py")
    words: list[str]
    for name, *words in (
        ["sub/train.py", "sub/train.py", "--diagnose", "-m", "-mother"],
        ["link.py", "link.py"],
        ["train", "-mtrain", "--help"],
    ):
        without, watched = python(tmp_path, *words), python(tmp_path, *WATCH, *words)
        assert "[4, 9]" in without.stdout
        assert watched.stdout == without.stdout
        assert watched.stderr == f"{name}: {LAST}"


def test_a_module_imports_relatively(tmp_path: Path) -> None:
    """With -m, also a package's `__main__`."""
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "net.py").write_text("WIDTH = 3")
    (tmp_path / "job" / "__main__.py").write_text("from .net import WIDTH\nprint(WIDTH)")
    watched = python(tmp_path, *WATCH, "-m", "job")
    assert (watched.stdout, watched.returncode) == ("3\n", 0)


@pytest.mark.parametrize(("text", "exit_code"), ENDS.items())
def test_it_ends_as_without(tmp_path: Path, text: str, exit_code: int) -> None:
    """With the same exit code or signal, output and traceback."""
    (tmp_path / "train.py").write_text(f"import atexit, os, sys\nprint(1)\n{text}\n")
    without, watched = python(tmp_path, "train.py"), python(tmp_path, *WATCH, "train.py")
    assert watched.stdout == without.stdout
    assert watched.stderr.removesuffix(f"train.py: {LAST}") == without.stderr
    assert watched.returncode == without.returncode == exit_code


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give a script, or -m and a module"),
        (["absent.py"], "absent.py: No such file or directory"),
        (["--turn", "train.py"], "option --turn not recognized"),
        (["--budget-s=none", "train.py"], "--budget-s=none: give seconds, more than 0"),
        (["--also=x", "train.py"], "--also=x: has no effect without --tune"),
        (["--resume=x", "train.py"], "--resume=x: has no effect without --tune"),
        (["."], ".: is a directory; give a script, or -m and a module"),
        (["notes.txt"], "notes.txt: is not a Python program"),
        (["-m", "absent"], "-m absent: there is no module absent"),
        (["-mabsent"], "-m absent: there is no module absent"),
        (["-m"], "give a script, or -m and a module"),
        (["-m", "absent.part"], "-m absent.part: there is no module absent.part"),
        (["-m", "job"], "-m job: there is no module job.__main__"),
        (["-m", "train.py"], "-m train.py: a file has no -m before it"),
    ],
)
def test_wrong_input_is_told_in_a_line(tmp_path: Path, words: list[str], said: str) -> None:
    """With exit code 2."""
    (tmp_path / "notes.txt").write_text("what is to be done")
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "__init__.py").touch()
    done = python(tmp_path, *WATCH, *words)
    line = f"error: {said}; see python -m hpml.watch --help\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line)


def test_help_is_quick(tmp_path: Path) -> None:
    """It imports no torch."""
    done = python(tmp_path, "-X", "importtime", *WATCH, "--help")
    assert done.stdout.startswith("usage: python -m hpml.watch [options] SCRIPT.py")
    assert "hpml.watch" in done.stderr
    assert "torch" not in done.stderr


def test_a_module_is_changed_once_it_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anybody else has it; looking for it alone changes nothing."""
    (tmp_path / "imported_late.py").write_text("WIDTH = 3")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    finder = ChangingFinder({"imported_late": lambda module: setattr(module, "WIDTH", 4)})
    finder.install()
    assert finder.find_spec("imported_late", None) is not None
    from imported_late import WIDTH  # type: ignore[import-not-found]

    assert WIDTH == 4
    finder = ChangingFinder({"imported_late": lambda module: setattr(module, "WIDTH", 5)})
    finder.install()
    assert sys.modules["imported_late"].WIDTH == 5
    del sys.modules["imported_late"]
