"""Two hosts with a link between them, fast and slow: who is named, what the exchange costs."""

from pathlib import Path
from statistics import fmean

import pytest
from helpers.two_hosts import fit_on_two_hosts, possible

pytestmark = [
    pytest.mark.stress,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not possible(), reason="no network namespaces for users here"),
]


def test_a_slow_link_is_told_and_its_cost_predicted(tmp_path: Path) -> None:
    """Both hosts are named; without the exchange an epoch takes what it does on a fast link.

    That the timers predict, and it is so where DDP exchanges nothing over the slow link.
    """
    slow = fit_on_two_hosts(tmp_path / "slow", "400mbit")
    silent = fit_on_two_hosts(tmp_path / "silent", "400mbit", no_sync=True)
    fast = fit_on_two_hosts(tmp_path / "fast")
    for record in (slow, fast):
        assert [place["host"] for place in record["environment"]["ranks"]] == ["a", "b"]
        assert record["epochs"][-1]["ranks"]["communication"]["bytes"] == 4 * 4 * (512 * 512 + 512)
    assert slow["verdict"]["kind"] == "communication-bound"
    assert fast["verdict"]["kind"] != "communication-bound"
    later = slow["epochs"][1:]
    talks = [epoch["ranks"]["communication"] for epoch in later]
    exposed_s = fmean(talk["exposed_s"] for talk in talks)
    predicted_s = fmean(epoch["time"]["epoch_s"] for epoch in later) - exposed_s
    hidden = fast["epochs"][1:]
    measured_s = fmean(
        epoch["time"]["epoch_s"] - epoch["ranks"]["communication"]["exposed_s"] for epoch in hidden
    )
    print(
        f"slow {predicted_s + exposed_s:.3f} predicted {predicted_s:.3f} measured {measured_s:.3f}"
    )
    print([talk["bytes_per_s"] / 1e6 for talk in talks], slow["verdict"], fast["verdict"])
    without_s = fmean(epoch["time"]["epoch_s"] for epoch in silent["epochs"][1:])
    print(f"by no_sync {without_s:.3f}, fast as it is", [e["time"]["epoch_s"] for e in hidden])
    assert silent["verdict"]["kind"] != "communication-bound"
    assert predicted_s == pytest.approx(measured_s, rel=0.1)
    assert without_s == pytest.approx(measured_s, rel=0.1)
    assert fmean(talk["bytes_per_s"] for talk in talks) < 50e6  # 400 Mbit
