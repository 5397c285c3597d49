"""Debian's Chromium without a window, as the browser tests start it."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
NO_CHROMIUM = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
NEEDS_CHROMIUM = [pytest.mark.stress, NO_CHROMIUM]
QUIET = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
QUIET += ["--disable-sync", "--disable-background-networking", "--disable-component-update"]


def browse(
    address: str, profile: Path, *options: str, timeout_s: float = 180
) -> subprocess.CompletedProcess[str]:
    """Opens a page; `--dump-dom` prints it as it is after its scripts have run."""
    command = [str(CHROMIUM), *QUIET, f"--user-data-dir={profile}", *options, address]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s)


@contextmanager
def driven(address: str) -> Iterator[Chrome]:
    """A page in a browser that can be asked what is in it."""
    options = ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for option in (*QUIET, "--window-size=1600,1000"):
        options.add_argument(option)
    driver = Chrome(options, ChromeService(shutil.which("chromedriver")))
    try:
        driver.get(address)
        yield driver
    finally:
        driver.quit()
