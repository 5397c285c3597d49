"""The notebooks in a real kernel, and what a kernel is like after an interrupted cell."""

import threading
import time
from pathlib import Path
from typing import Any

import nbformat
import pytest
from helpers.configurations import QUICK, ROOT
from nbclient import NotebookClient
from nbconvert import HTMLExporter

EXAMPLES = ROOT / "examples"


def executed(name: str, folder: Path) -> Any:
    """A notebook with its outputs."""
    notebook = nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)
    client = NotebookClient(
        notebook, timeout=600, coalesce_streams=True, resources={"metadata": {"path": str(folder)}}
    )
    return client.execute()


def outputs(notebook: Any) -> list[Any]:
    """Of each cell of code."""
    return [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]


def is_rich(output: Any) -> bool:
    return "text/html" in output.get("data", {})


@pytest.mark.parametrize("name", ["own_trainer", "lab"])
def test_a_notebook_is_kept_without_outputs(name: str) -> None:
    """Times of some machine, and pictures, would change with each execution."""
    notebook = nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert not any(outputs(notebook))


@pytest.mark.stress
def test_ones_own_trainer_in_a_notebook(tmp_path: Path) -> None:
    """Cells show tables and pictures; a diagnosis leaves its line and its result, no boxes."""
    notebook = executed("own_trainer", tmp_path)
    *_, reported, diagnosed, again = outputs(notebook)
    for cell in (reported, diagnosed, again):
        assert len(cell) <= 3
        assert is_rich(cell[-1])
    assert "with loading free" in diagnosed[-1]["data"]["text/html"]
    assert "<svg" in HTMLExporter().from_notebook_node(notebook)[0]


@pytest.mark.stress
def test_the_lab_in_a_notebook(tmp_path: Path) -> None:
    """From the first cell to the last; what trains shows a table and a picture."""
    _, _, trained, searched, diagnosed, swept, without, *_ = outputs(executed("lab", tmp_path))
    for cell in (trained, searched, diagnosed, swept, without):
        assert is_rich(cell[-1])
        assert "<svg" in cell[-1]["data"]["text/html"]


@pytest.mark.stress
@pytest.mark.parametrize("command", ["train", "sweep"])
def test_an_interrupted_cell_leaves_the_kernel_usable(command: str, tmp_path: Path) -> None:
    """The record says interrupted, and the next cell trains as if nothing had been."""
    long = [*QUICK, "trainer.max_epochs=100000", "logger=none"]
    long += ["seed=0,1", "sweep.name=cut"] if command == "sweep" else ["run_dir=cut"]
    short = [*QUICK, "logger=none"]
    cells = [
        f"from hpml.api import {command}, train\n{command}(*{long!r})",
        f"import multiprocessing\nprint(train(*{short!r}).status)\n"
        "print(multiprocessing.active_children())",
    ]
    notebook = nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, cells)))
    path = {"metadata": {"path": str(tmp_path)}}
    client = NotebookClient(notebook, timeout=300, allow_errors=True, resources=path)
    ended = threading.Event()
    threading.Thread(target=_interrupt_once_begun, args=(client, tmp_path, ended)).start()
    try:
        client.execute()
    finally:
        ended.set()
    first, second = (cell.outputs for cell in notebook.cells)
    assert first[-1]["ename"] == "Stopped"
    assert first[-1]["traceback"] == ["interrupted"]
    printed = "".join(output.get("text", "") for output in second)
    assert printed.endswith("completed\n[]\n")
    record = next(tmp_path.rglob("cut/**/record.json"))
    assert '"status": "interrupted"' in record.read_text()


def _interrupt_once_begun(client: NotebookClient, folder: Path, ended: threading.Event) -> None:
    """Sends what the button of a notebook sends, when an epoch is in the record."""
    while not ended.is_set():
        records = [path.read_text() for path in folder.rglob("cut/**/record.json")]
        if any('"epoch": 0' in text for text in records):
            provisioner = client.km.provisioner  # type: ignore[union-attr]
            provisioner.process.send_signal(2)  # type: ignore[union-attr]
            return
        time.sleep(0.1)
