"""What identifies a run: its sources, and its configuration, also by names of earlier versions."""

from typing import Any

import pytest
from helpers.configurations import Compose
from omegaconf import OmegaConf

from hpml.callbacks import RuntimeEstimator
from hpml.config.conf import resolve
from hpml.config.fingerprint import NOT_IN_A_RUN, difference, fingerprint
from hpml.config.instantiate import instantiate_target
from hpml.errors import PACKAGE
from hpml.models import resnet18, small

NOW = "hpml.callbacks.RuntimeEstimator"


@pytest.mark.parametrize(
    ("key", "earlier", "now", "expected"),
    [
        ("model", "hpml.model.small", "hpml.models.small", small(10)),
        ("model", "hpml.model.resnet18", "hpml.models.resnet18", resnet18(10)),
        ("callbacks.mine", "hpml.callbacks.Forecast", NOW, RuntimeEstimator()),
    ],
)
def test_earlier_names(compose: Compose, key: str, earlier: str, now: str, expected: Any) -> None:
    """They make the same, and the run is still the same one."""
    fingerprints = {fingerprint(resolve(compose()))}
    for name in (earlier, now):
        model, mine = {"_target_": name, "num_classes": 10}, {"mine": {"_target_": name}}
        cfg = compose(model=model) if key == "model" else compose(callbacks=mine)
        made = instantiate_target(OmegaConf.select(cfg, key), key)
        assert type(made) is type(expected)
        assert key != "model" or str(made) == str(expected)  # layer by layer
        fingerprints.add(fingerprint(resolve(cfg)))
    assert len(fingerprints) == 2


def test_another_option_is_named_without_its_keys() -> None:
    """By the word that chooses it; what is no option's stands with both values."""
    before = {"model._target_": "hpml.models.resnet18", "model.norm": True, "seed": 1, "models": 2}
    now = {"model._target_": "hpml.models.small", "seed": 1, "models": 3}
    assert difference(before, now) == "model=resnet18 (now small), models=2 (now 3)"
    assert difference(now, now) == ""


def test_what_is_left_out_of_the_code_is_there() -> None:
    """A room that moves would come into the fingerprints of all runs in silence."""
    assert all((PACKAGE / name).exists() for name in NOT_IN_A_RUN)


def test_any_value_has_a_fingerprint() -> None:
    """A wrong one is refused where its class is made, not here."""
    ours, wrong = ({"model": {"_target_": target}} for target in ("hpml.models.small", ["x"]))
    assert fingerprint(ours) != fingerprint(wrong)
