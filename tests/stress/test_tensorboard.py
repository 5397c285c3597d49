"""A sweep in TensorBoard, seen by a browser."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.chromium import NEEDS_CHROMIUM, browse, driven
from helpers.configurations import TINY
from helpers.programs import run_program
from helpers.tensorboard import served

from hpml.records.run_record import RunRecord
from hpml.report.collect import Run

pytestmark = NEEDS_CHROMIUM

# The texts of the page, also those in its parts' own trees.
WORDS = """
const words = [];
const visit = node => {
  const text = node.nodeType === Node.TEXT_NODE ? node.textContent.trim() : "";
  if (text && !node.parentElement?.matches("style, script")) words.push(text);
  if (node.shadowRoot) visit(node.shadowRoot);
  node.childNodes.forEach(visit);
};
visit(document.body);
return words;
"""
TAGS = ("val/accuracy", "time/epoch_s")


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which two optimizers were swept."""
    folder = tmp_path_factory.mktemp("sweep")
    done = run_program(["-m", "hpml.train", "-m", *TINY, "optimizer=sgd,adam"], folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def address(sweep: Path) -> Iterator[str]:
    """Where `tensorboard --logdir outputs` answers."""
    with served("tensorboard --logdir outputs", sweep) as address:
        yield address


@pytest.mark.parametrize("tag", TAGS)
def test_a_browser_shows_every_run_and_metric(address: str, tmp_path: Path, tag: str) -> None:
    """The runs by their overrides, and the curves; a group is folded until one looks for it."""
    page = seen(f"{address}?tagFilter={tag}#timeseries", f'title="{tag}"', tmp_path)
    assert f'title="{tag}"' in page
    for run in ("optimizer=sgd", "optimizer=adam"):
        assert run in page


def test_hparams_has_a_row_for_each_run(address: str, sweep: Path) -> None:
    """With its final accuracy and the mean time of its epochs, as in the report; no placeholder."""
    with driven(f"{address}#hparams") as driver:
        for _ in range(100):
            words = driver.execute_script(WORDS)
            if "val/accuracy" in words and "adam" in words:
                break
            time.sleep(0.3)
        driver.save_screenshot(sweep / "hparams.png")
    shown = [float(word) for word in words if re.fullmatch(r"\d+\.\d+(e-\d+)?", word)]
    for file in sweep.rglob("record.json"):
        record = RunRecord.read(file)
        optimizer = record.choices["optimizer"]
        assert optimizer in words  # it varies, so it is among the few columns that are shown
        assert len({word for word in words if word.endswith(f"/optimizer={optimizer}")}) == 1
        mean_s = Run(file.parent, record).figure("epoch_s")
        for value in (record.last_metric("val/accuracy"), mean_s):
            assert any(figure == pytest.approx(value, rel=2e-3) for figure in shown)
    assert not [word for word in words if word.startswith("-1")]


def seen(address: str, expected: str, folder: Path) -> str:
    """The page once it holds what is expected; a busy machine needs more than one look."""
    page = ""
    for attempt in range(5):
        options = ("--virtual-time-budget=30000", "--dump-dom")
        page = browse(address, folder / f"profile-{attempt}", *options).stdout
        if expected in page:
            break
    return page
