"""The command that shows curves, by how many files there are and how many may be open."""

import resource
from pathlib import Path

import pytest

from hpml.system.tensorboard import command

SLOW = " --load_fast=false"
NO_LIMIT = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("files", "limit", "more"),
    [
        (1, 1024, ""),
        (960, 1024, ""),
        (961, 1024, SLOW),
        (961, 1_048_576, SLOW),  # it may be typed in another shell
        (961, NO_LIMIT, SLOW),
        (192, 256, ""),  # of macOS
        (193, 256, SLOW),
    ],
)
def test_it_holds_for_the_number_of_files(
    files: int, limit: int, more: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that was resumed has several."""
    for number in range(files):
        run = tmp_path / f"seed={number // 2}"
        run.mkdir(exist_ok=True)
        (run / f"events.out.tfevents.1.host.2.{number}").touch()
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (limit, NO_LIMIT))
    shown = command(tmp_path, Path("outputs/sweeps/a b"))
    assert shown == f"tensorboard --logdir 'outputs/sweeps/a b'{more}"
