"""Records in little memory say what whole ones say."""

from typing import Any

from helpers.configurations import Compose

from hpml.config.conf import resolve
from hpml.config.fingerprint import identifying
from hpml.report.lean_record import Common, Leaves


def test_what_identifies_a_run_is_what_its_fingerprint_is_made_of(compose: Compose) -> None:
    """Also where groups are shared, name the run's folder, or mean another thing for a model."""
    plain = resolve(compose())
    own: list[dict[str, Any]] = [
        *({"run_dir": run, "mine": {"file": f"{run}/x", "of": run}} for run in ("a", "b", "a")),
        *({"model": plain["model"] | {"_target_": f"hpml.model{s}.small"}} for s in ("", "s")),
        *({"model": plain["model"] | {"norm": norm}} for norm in (True, False)),
        *({"mine": {}, "a.b": {"c": n}, "a": {"d": n}} for n in (1, 2)),
        {"run_dir": "cpu", "device": "cpu"},
    ]
    common = Common()
    for changes in own:
        config = plain | changes
        shared = {name: common.one(group) for name, group in config.items()}
        assert {**Leaves(shared, common)} == identifying(config)
