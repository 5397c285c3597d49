"""Two hosts with a link between them, fast and slow: who is named, what the exchange costs."""

import json
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

    `no_sync` over the slow link predicts that within a tenth, with what the exchange takes there
    or without it, for a whole fit and in a diagnosis of both hosts; on a quiet machine, for these
    are runs of different minutes. The timers tell most of it, and no more: beside sending,
    computing is slower on the same cores, and Lightning's question takes its time too.
    """
    slow = fit_on_two_hosts(tmp_path / "slow", "200mbit", diagnosed=True)
    silent = fit_on_two_hosts(tmp_path / "silent", "200mbit", no_sync=True)
    fast = fit_on_two_hosts(tmp_path / "fast")
    for record in (slow, fast):
        assert [place["host"] for place in record["environment"]["ranks"]] == ["a", "b"]
        assert record["epochs"][-1]["ranks"]["communication"]["bytes"] == 4 * 4 * (512 * 512 + 512)
    later, hidden, silenced = (record["epochs"][1:] for record in (slow, fast, silent))
    talks = [epoch["ranks"]["communication"] for epoch in later]
    slow_s, fast_s, silent_s = (
        fmean(epoch["time"]["epoch_s"] for epoch in epochs) for epochs in (later, hidden, silenced)
    )
    exposed_s = fmean(talk["exposed_s"] for talk in talks)
    left_s = fmean(epoch["ranks"]["communication"]["exposed_s"] for epoch in hidden)
    print(f"slow {slow_s:.3f}, of it exchanging {exposed_s:.3f}; by no_sync {silent_s:.3f}")
    print(f"fast {fast_s:.3f}, without what is left of the exchange {fast_s - left_s:.3f}")
    found = json.loads((tmp_path / "slow" / "diagnosis.json").read_text())
    free_s = found["epoch_s"]["communication_free"]["mean"]
    print(f"diagnosed: {free_s:.3f}", found["verdict"]["evidence"])
    print([talk["bytes_per_s"] / 1e6 for talk in talks])
    print(*(record["verdict"]["evidence"] for record in (slow, silent, fast)), sep="\n")
    assert slow["verdict"]["kind"] == "communication-bound"
    assert "communication-bound" not in (fast["verdict"]["kind"], silent["verdict"]["kind"])
    # the fast link takes something too, of the cores above all
    assert 0.9 * (fast_s - left_s) < silent_s < 1.1 * fast_s
    assert [place["host"] for place in found["ranks"]["places"]] == ["a", "b"]
    assert next(iter(found["saved_s"])) == "communication"
    assert 0.9 * (fast_s - left_s) < free_s < 1.1 * fast_s
    assert 0.75 < exposed_s / (slow_s - (fast_s - left_s)) < 1.1
    assert fmean(talk["bytes_per_s"] for talk in talks) < 25e6  # 200 Mbit
