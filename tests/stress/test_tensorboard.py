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
        browser = [str(CHROMIUM), *QUIET, f"--user-data-dir={tmp_path / 'browser'}"]
        page = subprocess.run(
            [*browser, "--virtual-time-budget=30000", "--dump-dom", address + "#timeseries"],
            capture_output=True,
            text=True,
            timeout=180,
        ).stdout
    finally:
        server.terminate()
        server.wait()
    for shown in ("optimizer=sgd", "optimizer=adam", "val/accuracy", "time/epoch_s"):
        assert shown in page, shown
