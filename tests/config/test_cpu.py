"""How many threads compute, and how they wait, by configuration, environment and cores."""

from typing import Any

import pytest
import torch
from helpers.configurations import Compose

from hpml.config import cpu
from hpml.config.conf import resolve
from hpml.config.fingerprint import fingerprint


@pytest.mark.parametrize(
    ("wait", "before", "after"),
    [
        ("auto", {}, "brief"),
        ("auto", {"OMP_WAIT_POLICY": "ACTIVE"}, "spin"),  # what the user says counts
        ("auto", {"GOMP_SPINCOUNT": "0"}, "passive"),
        ("spin", {"OMP_WAIT_POLICY": "PASSIVE"}, "spin"),
        ("brief", {"OMP_WAIT_POLICY": "PASSIVE"}, "brief"),
        ("passive", {"GOMP_SPINCOUNT": "100000"}, "passive"),
    ],
)
def test_how_threads_wait(compose: Compose, wait: str, before: dict[str, str], after: str) -> None:
    """Briefly by themselves, as the user's environment has it, or as they are told."""
    variables = dict(before)
    cpu.set_waiting(compose(f"cpu.wait={wait}"), variables)
    assert cpu.waiting(variables) == after


@pytest.mark.parametrize(
    ("override", "ranks", "threads", "chosen"),
    [
        ("cpu.threads=auto", 1, 4, 4),  # a quota of four of the machine's cores
        ("cpu.threads=auto", 2, 2, 2),
        ("cpu.threads=3", 1, 3, None),
    ],
)
def test_threads(
    compose: Compose,
    monkeypatch: pytest.MonkeyPatch,
    override: str,
    ranks: int,
    threads: int,
    chosen: int | None,
) -> None:
    """No more than the cores that a run may use, or as many as it is told."""
    monkeypatch.setattr(cpu, "usable_cores", lambda: 4)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(8)
        found: dict[str, Any] = cpu.set_threads(compose(override), ranks)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert found.get("cpu.threads") == chosen


def test_runs_of_before_are_the_same_runs(compose: Compose) -> None:
    """A configuration that never had these keys has the fingerprint of their defaults."""
    config = resolve(compose())
    without = {key: value for key, value in config.items() if key != "cpu"}
    assert fingerprint(config) == fingerprint(without)
    assert fingerprint(resolve(compose("cpu.threads=1"))) != fingerprint(config)


def test_wrong_numbers_of_threads(compose: Compose) -> None:
    """One line that says what is allowed."""
    from hpml.config.checks import check
    from hpml.errors import UserError

    with pytest.raises(UserError, match=r"cpu.threads=0: give an integer of at least 1 or auto"):
        check(compose("cpu.threads=0"))


def test_a_torch_that_is_here_has_read_its_environment(
    compose: Compose, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is set that would have no effect, and nobody is told that it had."""
    for name in cpu.READ_ONCE:
        monkeypatch.delenv(name, raising=False)
    cpu.set_waiting(compose())
    assert (cpu.waiting(), caplog.messages) == ("spin", [])
    cpu.set_waiting(compose("cpu.wait=passive"))
    assert cpu.waiting() == "spin"
    assert "cpu.wait=passive has no effect: torch is imported already" in caplog.text
