"""How long training waits for its batches."""

from typing import ClassVar

from hpml.callbacks.phase_timer import PhaseTimer


class DataLoadTimer(PhaseTimer):
    """Times the loading of data, on any Trainer.

    | key, once an epoch | what |
    | --- | --- |
    | `time/data_s` | the loop waited for the next batch: the loader's `next` and later `iter`s |
    | `time/transfer_s` | the batch's way to the device, with the hooks before and after it |

    What workers load while the loop is busy costs it nothing, and is not counted.
    """

    times: ClassVar = ("data_s", "transfer_s")
