from pathlib import Path

import pytest
from helpers.records import make_run
from helpers.sweeps import make_job

from hpml.errors import UserError
from hpml.sweep.ledger import Ledger, check_directory, clear_directory


def test_a_job_keeps_its_folder_whatever_its_name(tmp_path: Path) -> None:
    """With more values swept it has another one; new jobs never take a folder that is another's."""
    make_run(tmp_path, "0", fingerprint="a")
    make_run(tmp_path, "seed=1", fingerprint="b", status="failed")
    found = Ledger(tmp_path).directories({"a": "1", "b": "2", "c": "0", "d": "seed=1"})
    assert {identity: path.name for identity, path in found.items()} == {
        "a": "0",
        "b": "seed=1",
        "c": "0-2",
        "d": "seed=1-2",
    }


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


def test_only_a_sweeps_own_jobs_are_in_its_ledger(tmp_path: Path) -> None:
    """Not those of sweeps below it; nor what cannot be read."""
    make_run(tmp_path / "other", "seed=0", fingerprint="a")
    make_run(tmp_path, "broken", fingerprint="a")
    (tmp_path / "broken" / "record.json").write_text("{")
    assert Ledger(tmp_path).directories({"a": "x"}) == {"a": tmp_path / "x"}


def test_a_completed_job_goes_before_one_that_failed(tmp_path: Path) -> None:
    """Of two with one fingerprint."""
    for name, status in (("1", "failed"), ("2", "completed"), ("3", "interrupted")):
        make_run(tmp_path, name, fingerprint="a", status=status)
    assert Ledger(tmp_path).directories({"a": "x"}) == {"a": tmp_path / "2"}


@pytest.mark.parametrize("left", ["record.json", "output.log", ".hydra/config.yaml"])
def test_what_an_unfinished_job_left_goes(tmp_path: Path, left: str) -> None:
    """Whatever else was in its folder; links are not followed."""
    folder = tmp_path / "job"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "last.ckpt").touch()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious").touch()
    (folder / "link").symlink_to(tmp_path / "mine")
    (folder / left).parent.mkdir(exist_ok=True)
    (folder / left).touch()
    clear_directory(folder)
    assert list(folder.iterdir()) == []
    assert (tmp_path / "mine" / "precious").exists()


def test_what_marks_a_job_goes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the record first: a clearing that is cut short leaves no job that looks complete."""
    folder = tmp_path / "job"
    folder.mkdir()
    for name in ("a", "record.json", "z"):
        (folder / name).touch()
    unlinked = []
    monkeypatch.setattr(Path, "unlink", lambda path, **_: unlinked.append(path.name))
    clear_directory(folder)
    assert (unlinked[0], unlinked[-1]) == ("record.json", "output.log")
    check_directory(folder)


def test_what_is_nobodys_job_stays(tmp_path: Path) -> None:
    """A folder with something else in it, and a file; an empty folder is free."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine").touch()
    (tmp_path / "file").touch()
    for name in ("folder", "file"):
        with pytest.raises(UserError, match=r"give another sweep\.name"):
            check_directory(tmp_path / name)
    (tmp_path / "empty").mkdir()
    check_directory(tmp_path / "empty")
    check_directory(tmp_path / "nothing")


def test_what_a_job_may_go_on_from_stays(tmp_path: Path) -> None:
    """Its points and curves, but not its record; with `resume=never` nothing does."""
    folder = tmp_path / "job"
    point = folder / "checkpoints" / f"resume-0000000003-{'0' * 16}.ckpt"
    point.parent.mkdir(parents=True)
    for file in (point, folder / "record.json", folder / "events.out.tfevents.1"):
        file.write_text("{}")
    clear_directory(folder, resume=None)
    assert point.exists()
    assert (folder / "events.out.tfevents.1").exists()
    assert not (folder / "record.json").exists()
    (folder / "record.json").write_text("{}")
    clear_directory(folder, resume="never")
    assert list(folder.iterdir()) == []
