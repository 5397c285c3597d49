"""TensorBoard's server, started by a command as hpml prints it."""

import json
import resource
import shlex
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def served(command: str, folder: Path, open_files: int | None = None) -> Iterator[str]:
    """The address at which a server answers that is started in a folder; it reloads each second.

    `open_files` is the limit of its process.
    """
    program, *words = shlex.split(command)
    assert program == "tensorboard"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    own = ["--port", str(port), "--reload_interval", "1"]
    address = f"http://127.0.0.1:{port}/"

    def limit() -> None:
        if open_files is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, open_files))

    server = subprocess.Popen(
        [sys.executable, "-m", "tensorboard.main", *words, *own],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=limit,
    )
    try:
        for _ in range(200):
            try:
                ask(address, "data/runs")
                break
            except OSError:
                time.sleep(0.2)
        yield address
    finally:
        server.terminate()
        server.wait()


def ask(address: str, path: str, **query: str) -> Any:
    """What the server answers, from JSON."""
    with urllib.request.urlopen(f"{address}{path}?{urllib.parse.urlencode(query)}") as answer:
        return json.load(answer)
