"""What identifies a run: its configuration, and its sources."""

from hpml.config.fingerprint import NOT_IN_A_RUN, PACKAGE, fingerprint


def test_what_is_left_out_of_the_code_is_there() -> None:
    """A room that moves would come into the fingerprints of all runs in silence."""
    assert all((PACKAGE / name).exists() for name in NOT_IN_A_RUN)


def test_any_value_has_a_fingerprint() -> None:
    """A wrong one is refused where its class is made, not here."""
    ours, wrong = ({"model": {"_target_": target}} for target in ("hpml.models.small", ["x"]))
    assert fingerprint(ours) != fingerprint(wrong)
