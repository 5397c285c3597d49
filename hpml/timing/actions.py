"""Which phase each of Lightning's profiler actions belongs to.

Actions are named `[Owner]Name.hook`, `[Loop].action` or just `action`. They were read in the
sources of Lightning 2.6; a test runs a Trainer and compares.
"""

from dataclasses import dataclass

LOOP, LOGGING = "other/loop", "other/logging"
RANKS = "other/ranks"  # waiting for the other ranks, where the timers compare figures
BROADCAST = "other/lightning_broadcast"  # whether SIGTERM has come: of each step, over the ranks
DATA_START = "data/start"  # the loader's iterator, and an epoch's first batch
VALIDATION = "validation"

# By owner and hook; of the LightningModule, the strategy and the loop there is one each.
PHASE_OF = {
    "run_training_epoch": "data",  # until its first fetch it makes the loader's iterator
    "[_TrainingEpochLoop].train_dataloader_next": "data",
    "[LightningModule].train_dataloader": "data",
    "[LightningDataModule].train_dataloader": "data",
    "[LightningModule].on_before_batch_transfer": "transfer",
    "[LightningDataModule].on_before_batch_transfer": "transfer",
    "[Strategy].batch_to_device": "transfer",  # with the hooks for the transfer and after it
    "run_training_batch": "train/rest",
    "[Strategy].training_step": "train/forward",
    "[Strategy].backward": "train/backward",
    "[LightningModule].optimizer_step": "train/optimizer",
    "optimizer_step": "train/optimizer",  # with manual optimization
    "[LightningModule].on_validation_model_zero_grad": VALIDATION,
    "[LightningModule].on_validation_model_train": VALIDATION,
    "save_checkpoint": "other/save_checkpoint",
}
# Without these actions a phase cannot be told from the others.
NEEDED = {
    "data": {"[_TrainingEpochLoop].train_dataloader_next"},
    "transfer": {"[Strategy].batch_to_device"},
    "train": {"run_training_batch", "[Strategy].training_step"},
    "validation": {"[LightningModule].on_validation_model_eval", "[Strategy].on_validation_end"},
}
# Any of these tells that there was a validation.
OF_VALIDATION = {"[_EvaluationLoop].val_next", "[LightningModule].on_validation_start"}


@dataclass(frozen=True)
class Action:
    """An action's name taken apart: `[Callback]Timer{'x': 1}.on_fit_start`."""

    owner: str
    name: str
    hook: str

    @classmethod
    def parse(cls, action: str) -> "Action":
        """From the name that Lightning sends; the state key of a callback may hold dots."""
        before, _, hook = action.rpartition(".")
        owner, bracket, name = before.partition("]")
        return cls(owner + bracket, name, hook)

    @property
    def kind(self) -> str:
        """Owner and hook: a key of PHASE_OF."""
        return f"{self.owner}.{self.hook}" if self.owner else self.hook

    @property
    def phase(self) -> str | None:
        """Phase and part, as EpochTimes keeps them; None where the phase around it goes on."""
        if self.kind in PHASE_OF:
            return PHASE_OF[self.kind]
        if self.hook == "on_after_batch_transfer":
            return None
        if self.owner == "[Callback]" or (
            self.owner == "[LightningModule]"
            and (self.hook.startswith("on_") or self.hook == "lr_scheduler_step")
        ):
            return f"other/{self.name.partition('{')[0]}.{self.hook}"
        return None
