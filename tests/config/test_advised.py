"""Advice that the lab's parts print: in the lab's keys."""

import re

import pytest
from omegaconf import OmegaConf

from hpml.config.advised import IN_THE_LAB, LAB, advised
from hpml.config.conf import find_conf


def test_the_lab_has_each_key_that_its_parts_advise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own, or with a plus another program's; elsewhere the advice is as it is written."""
    monkeypatch.delenv(LAB, raising=False)
    assert [advised(words) for words in IN_THE_LAB] == list(IN_THE_LAB)
    monkeypatch.setenv(LAB, "1")
    for words in map(advised, IN_THE_LAB):
        keys = re.findall(r"(\+?)(\w+)\.(\w+)", words)
        assert keys
        for plus, program, key in keys:
            assert (program == "lab") != bool(plus)
            assert key in OmegaConf.load(find_conf() / f"{program}.yaml")[program]
