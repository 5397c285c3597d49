"""What a user may do wrong with the timers."""

import lightning as L
import pytest

from hpml.callbacks import phase_timers
from hpml.errors import UserError


def test_a_list_in_a_list_is_refused() -> None:
    """In one sentence that shows what to write, when the Trainer is made or at its fit."""
    trainer_of = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False}
    with pytest.raises(UserError, match=r"give callbacks=\[\*phase_timers\(\)\]"):
        L.Trainer(callbacks=[phase_timers()], **trainer_of)  # type: ignore[list-item]
    assert len([*phase_timers()]) == 3
