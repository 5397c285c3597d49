"""What was trained on what, beside what the lab asks for."""

from typing import Any

from hpml.lab.parts import DEVICES, NO_NORM, PARTS, SUMMARY, TRAINING
from hpml.lab.report.machine import Machine
from hpml.report.collect import clean

# What the lab asks for, by what `model` and `data` call it, and in words.
ASKED = {"model": ("resnet18", "ResNet-18"), "data": ("cifar10", "CIFAR-10")}
EPOCHS = 5


def is_as_asked(machine: Machine, *groups: str) -> bool:
    """Whether a machine's network or data are those that the lab asks for; by default both."""
    return all(_chosen(machine, group) == ASKED[group][0] for group in groups or ASKED)


def has_whole_epochs(machine: Machine) -> bool:
    """Whether an epoch is all of the data in the lab's batches."""
    settings = _settings(machine)
    usual = settings.get("data.batch_size", 128) == 128 and not settings.get("data.train_samples")
    return usual and not machine.state.get("limit")


def instead_of_asked(machine: Machine, part: str) -> str:
    """What stands in for what a part asks for, in a sentence; nothing where nothing does.

    To what is counted the network alone matters, to trainings the number of epochs too.
    """
    task = PARTS[part].task
    groups = ["model"] if task == SUMMARY else [*ASKED]
    ours = {group: _chosen(machine, group) for group in groups}
    trains = task in (TRAINING, NO_NORM, DEVICES)
    epochs = _settings(machine).get("trainer.max_epochs", EPOCHS) if trains else EPOCHS
    samples = _settings(machine).get("data.train_samples") if ours.get("data") else None
    named = [group for group in groups if ours[group]]
    if epochs == EPOCHS and not samples and is_as_asked(machine, *named):
        return ""
    if isinstance(samples, int):
        ours["data"] = f"{samples:,} images of {ours['data']}"
    asked, own = (
        " on ".join(names) for names in ([ASKED[g][1] for g in groups], filter(None, ours.values()))
    )
    if epochs != EPOCHS:
        asked, own = f"{asked} for {EPOCHS} epochs", f"{own} for {epochs}"
    return f"Asked is {asked}; this is {own}."


def _chosen(machine: Machine, group: str) -> str:
    """The option of a group; the last part of its `_target_` before anything was trained."""
    for run in [*machine.training, *machine.no_norm, *machine.other_devices]:
        if group in run.record.choices:
            return clean(run.record.choices[group]).removesuffix("_no_norm")
    target = _settings(machine).get(f"{group}._target_")
    return clean(str(target or "")).rpartition(".")[2].lower()


def _settings(machine: Machine) -> dict[str, Any]:
    """Of the trainings, by dotted keys."""
    settings = machine.state.get("settings")
    return settings if isinstance(settings, dict) else {}
