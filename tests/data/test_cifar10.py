import functools
import hashlib
import http.server
import io
import re
import tarfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from helpers.configurations import TESTS
from helpers.pipelines import set_up
from helpers.programs import Program
from torchvision.datasets import CIFAR10

from hpml.data import Cifar10
from hpml.errors import DataError

make_data = functools.partial(set_up, Cifar10)


class Server(http.server.ThreadingHTTPServer):
    """Of an archive; counts who asks for it."""

    downloads = 0

    def process_request(self, *request: Any) -> None:
        self.downloads += 1
        super().process_request(*request)


def cost_of_a_download(server: Server, folder: Path) -> int:
    """The requests of one download, of which torchvision makes one only to follow redirects."""
    make_data(root=folder)
    requests, server.downloads = server.downloads, 0
    return requests


@contextmanager
def refused(message: str) -> Iterator[None]:
    """In one line."""
    with pytest.raises(DataError, match=message) as caught:
        yield
    assert "\n" not in str(caught.value)


@pytest.fixture
def server(cifar10_archive: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Serves the archive on this machine, at the address that torchvision is told."""
    handler, folder = http.server.SimpleHTTPRequestHandler, str(cifar10_archive.parent)
    with Server(("127.0.0.1", 0), functools.partial(handler, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/{cifar10_archive.name}"
        monkeypatch.setattr(CIFAR10, "url", url)
        yield server
        server.shutdown()


def test_it_downloads_checks_and_reads(server: Server, tmp_path: Path) -> None:
    """From the network to batches, through torchvision's own download and md5."""
    data = make_data(root=tmp_path / "data")
    assert data.num_classes == 10
    assert (len(data.loaded.train), len(data.loaded.test)) == (20, 10)
    original = CIFAR10(str(tmp_path / "data"), train=True)
    fetched = data.loaded.train.fetch(np.arange(20)).transpose(0, 2, 3, 1)
    assert (fetched == original.data).all()
    assert next(iter(data.train_dataloader()))[0].shape == (4, 3, 32, 32)


@pytest.mark.slow
def test_it_downloads_once(server: Server, tmp_path: Path) -> None:
    """What is there and intact is not fetched again; threads, and processes, share a lock."""
    one = cost_of_a_download(server, tmp_path / "first")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: make_data(root=tmp_path / "data"), range(4)))
    assert server.downloads == one
    server.downloads, program = 0, tmp_path / "program.py"
    names = ("url", "tgz_md5", "meta", "train_list", "test_list")
    facts = {name: getattr(CIFAR10, name) for name in names}
    program.write_text(f"""
from torchvision.datasets import CIFAR10
for name, value in {facts!r}.items():
    setattr(CIFAR10, name, value)
from helpers.pipelines import set_up
from hpml.data import Cifar10
set_up(Cifar10, root={str(tmp_path / "others")!r})
""")
    variables = {"PYTHONPATH": str(TESTS)}
    for started in [Program([str(program)], tmp_path, variables) for _ in range(2)]:
        _, errors = started.communicate()
        assert started.returncode == 0, errors
    assert server.downloads == one


@pytest.mark.parametrize(
    ("kind", "name", "target"),
    [
        (tarfile.REGTYPE, "cifar-10-batches-py/../../escaped", ""),
        (tarfile.REGTYPE, "{folder}/escaped", ""),
        (tarfile.SYMTYPE, "cifar-10-batches-py/out", "{folder}"),
        (tarfile.SYMTYPE, "cifar-10-batches-py/in", "data_batch_1"),
        (tarfile.LNKTYPE, "cifar-10-batches-py/out", "../secret"),
        (tarfile.FIFOTYPE, "cifar-10-batches-py/pipe", ""),
    ],
)
def test_an_archive_that_leaves_its_folder_is_refused(
    server: Server, cifar10_archive: Path, tmp_path: Path, kind: bytes, name: str, target: str
) -> None:
    """In a line that names the member, whatever the md5 sum says; nothing of it is written."""
    (tmp_path / "secret").write_text("mine")
    member = tarfile.TarInfo(name.format(folder=tmp_path))
    member.type, member.linkname = kind, target.format(folder=tmp_path)
    through = tarfile.TarInfo(f"{member.name}/escaped")  # what would be written through a link
    with tarfile.open(cifar10_archive) as honest, tarfile.open(tmp_path / "new", "w:gz") as evil:
        for info in honest:
            evil.addfile(info, honest.extractfile(info))
        for info in [member] if kind == tarfile.REGTYPE else [member, through]:
            evil.addfile(info, io.BytesIO())
    (tmp_path / "new").rename(cifar10_archive)
    CIFAR10.tgz_md5 = hashlib.md5(cifar10_archive.read_bytes()).hexdigest()
    folder = tmp_path / "data"
    with refused(f"cifar-10-python.tar.gz: refused: it holds .*{re.escape(repr(member.name))}"):
        make_data(root=folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "secret", "server"]
    assert {path.name for path in folder.iterdir()} <= {CIFAR10.filename, ".cifar10.lock"}


def test_a_damaged_folder_or_archive(server: Server, tmp_path: Path, cifar10_archive: Path) -> None:
    """It is unpacked anew; an archive with another md5 sum than the original is refused."""
    cost_of_a_download(server, tmp_path)
    file = tmp_path / "cifar-10-batches-py" / "data_batch_3"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    make_data(root=tmp_path)
    assert file.read_bytes() == whole
    assert server.downloads == 0  # the archive was there still
    cifar10_archive.write_bytes(cifar10_archive.read_bytes()[:-7])
    with refused("no intact CIFAR-10 there; remove .*tar.gz"):
        make_data(root=tmp_path / "data")


def test_no_fetch(tmp_path: Path, cifar10_archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`data.download=false` uses what is there, or says it is not; offline, what to do."""
    with pytest.raises(DataError, match="there is no such folder"):
        make_data(root=tmp_path / "data", download=False)
    with pytest.raises(DataError, match=r"give data.download=true"):
        make_data(root=tmp_path, download=False)
    monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/cifar-10-python.tar.gz")
    with refused("data.root=.*python -m hpml.data"):
        make_data(root=tmp_path / "data")


def test_a_readonly_folder(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a cluster keeps it read-only and intact, neither lock nor download is asked for."""
    cost_of_a_download(server, tmp_path)
    monkeypatch.setattr(FileLock, "acquire", lambda *_, **__: pytest.fail("a lock"))
    make_data(root=tmp_path)
    assert server.downloads == 0
