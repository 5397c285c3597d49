from pathlib import Path

import pytest
from helpers.records import make_run
from helpers.sweeps import make_job

from hpml.errors import UserError
from hpml.sweep.ledger import Ledger, check_directory, clear_directory


def test_a_job_keeps_its_folder_whatever_its_name(tmp_path: Path) -> None:
    """Its name changes with the values that are swept; new jobs take no folder of another."""
    make_run(tmp_path, "0", fingerprint="a")
    make_run(tmp_path, "seed=1", fingerprint="b", status="failed")
    names = {"a": "0", "b": "seed=1", "c": "0-2", "d": "seed=1-2"}
    found = Ledger(tmp_path).directories({"a": "1", "b": "2", "c": "0", "d": "seed=1"})
    assert found == {identity: tmp_path / name for identity, name in names.items()}


def test_what_is_swept_belongs_to_a_jobs_identity(tmp_path: Path) -> None:
    """Also a key that changes nothing that is computed; else such keys do not matter."""
    overrides = ["timing.every_n_steps=10", "seed=0"]
    make_run(tmp_path, "0", fingerprint="a", overrides=overrides)
    swept = Ledger(tmp_path, ["timing.every_n_steps"])
    ten, fifty = (swept.identity("a", [f"timing.every_n_steps={n}"]) for n in (10, 50))
    assert swept.directories({ten: "x", fifty: "y"}) == {ten: tmp_path / "0", fifty: tmp_path / "y"}
    plain = Ledger(tmp_path, ["seed"])
    assert plain.identity("a", overrides) == plain.identity("a", []) == "a"


def test_another_completed_job_is_not_written_over(tmp_path: Path) -> None:
    """Also one that differs in its name alone, where that was swept."""
    make_run(tmp_path, "x=a_b", fingerprint="a", overrides=["logger=a/b"], config={})
    ledger = Ledger(tmp_path, ["logger"])
    job = make_job({}, overrides=("logger=a_b",), fingerprint="a", directory=tmp_path / "x=a_b")
    with pytest.raises(UserError, match="holds another completed job: give another"):
        ledger.completed([job], "error", lambda _: {})


def test_which_of_several_records_is_the_jobs(tmp_path: Path) -> None:
    """None of a sweep below, none that cannot be read; a completed one before one that failed."""
    make_run(tmp_path / "other", "seed=0", fingerprint="a")
    make_run(tmp_path, "broken", fingerprint="a")
    (tmp_path / "broken" / "record.json").write_text("{")
    assert Ledger(tmp_path).directories({"a": "x"}) == {"a": tmp_path / "x"}
    for name, status in (("1", "failed"), ("2", "completed"), ("3", "interrupted")):
        make_run(tmp_path, name, fingerprint="a", status=status)
    assert Ledger(tmp_path).directories({"a": "x"}) == {"a": tmp_path / "2"}


@pytest.mark.parametrize("left", ["record.json", "output.log", ".hydra/config.yaml"])
def test_what_an_unfinished_job_left_goes(tmp_path: Path, left: str) -> None:
    """Whatever else was in its folder; links are not followed."""
    folder, precious = tmp_path / "job", tmp_path / "mine" / "precious"
    for file in (folder / "checkpoints" / "last.ckpt", folder / left, precious):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (folder / "link").symlink_to(precious.parent)
    clear_directory(folder)
    assert list(folder.iterdir()) == []
    assert precious.exists()


def test_what_marks_a_job_goes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the record first: a clearing that is cut short leaves no job that looks complete."""
    for name in ("a", "record.json", "z"):
        (tmp_path / name).touch()
    unlinked = []
    monkeypatch.setattr(Path, "unlink", lambda path, **_: unlinked.append(path.name))
    clear_directory(tmp_path)
    assert (unlinked[0], unlinked[-1]) == ("record.json", "output.log")
    check_directory(tmp_path)


def test_what_is_nobodys_job_stays(tmp_path: Path) -> None:
    """A folder with something else in it, and a file; an empty folder is free."""
    check_directory(tmp_path)
    (tmp_path / "mine").touch()
    for taken in (tmp_path, tmp_path / "mine"):
        with pytest.raises(UserError, match=r"give another sweep\.name"):
            check_directory(taken)
    check_directory(tmp_path / "nothing")


def test_what_a_job_may_go_on_from_stays(tmp_path: Path) -> None:
    """Its checkpoints and curves, but not its record; with `resume=never` nothing does."""
    checkpoint = tmp_path / "checkpoints" / f"resume-0000000003-{'0' * 16}.ckpt"
    checkpoint.parent.mkdir()
    record, curves = tmp_path / "record.json", tmp_path / "events.out.tfevents.1"
    for file in (checkpoint, record, curves):
        file.write_text("{}")
    clear_directory(tmp_path, resume=None)
    assert (checkpoint.exists(), curves.exists(), record.exists()) == (True, True, False)
    record.write_text("{}")
    clear_directory(tmp_path, resume="never")
    assert list(tmp_path.iterdir()) == []
