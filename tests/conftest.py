"""What each process of the tests begins with; the one that hands them out has no need of torch."""

import gc
import os
import signal

import pytest

# Two tests at a time: threads of each that wait for a core make all of them many times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# What other programs take of this machine is no part of a test, here and in what a test starts.
os.environ.setdefault("HPML_PROC", "/nowhere")
# A shell has what it starts in the background ignore Ctrl-C, and all that this starts again.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """Where tests run, there are their fixtures: torch takes seconds to import."""
    if config.getoption("dist", "no") == "no":
        config.pluginmanager.import_plugin("helpers.fixtures")


def pytest_collection_finish() -> None:
    """What is imported by now is no garbage: it takes 0.2 s to look through."""
    gc.freeze()
