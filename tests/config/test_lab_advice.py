"""Advice that the lab's parts print: in the lab's keys."""

import re

import pytest
from omegaconf import OmegaConf

from hpml.config.conf import find_conf
from hpml.config.lab_advice import IN_THE_LAB, LAB, advised, of_the_lab


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


def test_a_kept_sentence_advises_as_the_lab_does() -> None:
    """Once; a figure stays, and a sentence of the lab's own is left alone."""
    asked = "Search again when it is quiet, or with workers.budget_s=90"
    labs = "Search again when it is quiet, or with +workers.budget_s=90 under another lab.name"
    assert of_the_lab(asked) == labs
    assert of_the_lab(labs) == labs
    assert of_the_lab("2 workers fastest, 3.1 s an epoch") == "2 workers fastest, 3.1 s an epoch"
