"""Which phase each of Lightning's profiler actions belongs to.

Actions are named `[Owner]Name.hook`, `[Loop].action` or just `action`. They were read in the
sources of Lightning 2.6; a test runs a Trainer and compares.
"""

from dataclasses import dataclass

LOOP, LOGGING = "other/loop", "other/logging"
RANKS = "other/ranks"  # waiting for the other ranks, where the timers compare figures
BROADCAST = "other/lightning_broadcast"  # whether SIGTERM has come: of each step, over the ranks
BUFFERS = "train/buffers"  # of the module, which DDP sends to the other ranks before a forward pass
DATA_START = "data/start"  # the loader's iterator, and an epoch's first batch
VALIDATION = "validation"
VALIDATION_END = "validation/end"  # of several ranks, after the last batch: they may wait there

# By owner and hook; of the LightningModule, the strategy and the loop there is one each.
PHASE_OF = {
    "run_training_epoch": "data",  # until its first fetch it makes the loader's iterator
    "setup_train_dataloader": "data",  # the loader's iterator, too; not sent by Lightning 2.6
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
    "[LightningModule].on_validation_model_eval": VALIDATION,
    "[LightningModule].on_validation_end": VALIDATION,
    "[LightningModule].on_validation_model_train": VALIDATION,
    "save_checkpoint": "other/save_checkpoint",
}
_BATCH_ENDS = {"[LightningModule].on_train_batch_end"}
_VALIDATION_BEGINS = {"[_EvaluationLoop].val_next", "[LightningModule].on_validation_start"}
MODULE_VALIDATED = "[LightningModule].on_validation_end"  # counts as seen once it has ended well
# Without these actions a phase cannot be told from the others. Each is missing only where one of
# those beside it has come, which come after it: a batch that fails has sent neither.
NEEDED = {
    "data": {"[_TrainingEpochLoop].train_dataloader_next": _BATCH_ENDS},
    "transfer": {"[Strategy].batch_to_device": _BATCH_ENDS},
    "train": {"run_training_batch": _BATCH_ENDS, "[Strategy].training_step": _BATCH_ENDS},
    "validation": {
        "[LightningModule].on_validation_model_eval": _VALIDATION_BEGINS,
        "[Strategy].on_validation_end": {MODULE_VALIDATED},
    },
}
# What a hook may do for the loop that called it. Any other action inside a hook is of a run that it
# has started on its own: a search for a learning rate, a validation, another fit.
OF_A_HOOK = {
    *("save_checkpoint", "on_save_checkpoint", "on_before_zero_grad"),
    *("on_before_backward", "on_after_backward", "on_before_optimizer_step"),
}


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
    def is_hook(self) -> bool:
        """Whether it is a method of the user's, which may do anything: also start a run."""
        return self.phase is not None and self.kind not in PHASE_OF

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
