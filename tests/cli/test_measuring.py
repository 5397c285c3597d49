"""How a command that measures begins."""

import logging

import pytest
from helpers.configurations import Compose

from hpml.cli import measuring


@pytest.mark.parametrize(("as_ranks", "looks", "level"), [(True, 0, "ERROR"), (False, 1, "INFO")])
def test_of_ranks_that_measure_together_the_first_speaks(
    as_ranks: bool,
    looks: int,
    level: str,
    compose: Compose,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The others are no other programs; a process that measures by itself looks for such."""
    log, looked = logging.getLogger("hpml"), list[str]()
    caplog.set_level(logging.INFO, "hpml")  # as it is set back
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(measuring, "warn_of_others", lambda: looked.append("at others"))
    measuring.begin_measuring(compose(), as_ranks)
    assert (len(looked), logging.getLevelName(log.level)) == (looks, level)
