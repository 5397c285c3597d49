"""A sweep's curves in TensorBoard, seen by a browser."""

import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from conftest import TINY

pytestmark = pytest.mark.stress

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
TAGS = ("val/accuracy", "time/epoch_s")
QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
]


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
def test_a_browser_shows_every_run_and_metric(tmp_path: Path) -> None:
    """`tensorboard --logdir outputs` lists the runs by their overrides, and draws the curves."""
    command = [sys.executable, "-m", "hpml.train", "-m", *TINY, "optimizer=sgd,adam"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}/"
    server = subprocess.Popen(
        [sys.executable, "-m", "tensorboard.main", "--logdir", "outputs", "--port", str(port)],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(200):
            try:
                urllib.request.urlopen(address + "data/runs", timeout=5)
                break
            except OSError:
                time.sleep(0.2)
        # A group of curves is folded until one looks for it.
        pages = [_seen(address, tag, tmp_path) for tag in TAGS]
    finally:
        server.terminate()
        server.wait()
    for tag, page in zip(TAGS, pages, strict=True):
        assert f'title="{tag}"' in page
        for run in ("optimizer=sgd", "optimizer=adam"):
            assert run in page


def _seen(address: str, tag: str, folder: Path) -> str:
    """The page once the card of a tag is drawn; a busy machine needs more than one look."""
    page = ""
    for attempt in range(5):
        profile = folder / f"browser-{attempt}-{tag.replace('/', '-')}"
        page = subprocess.run(
            [
                str(CHROMIUM),
                *QUIET,
                f"--user-data-dir={profile}",
                "--virtual-time-budget=30000",
                "--dump-dom",
                f"{address}?tagFilter={tag}#timeseries",
            ],
            capture_output=True,
            text=True,
            timeout=180,
        ).stdout
        if f'title="{tag}"' in page:
            break
    return page
