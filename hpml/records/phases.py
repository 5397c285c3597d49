"""The phases of an epoch, and the keys of its times."""

PHASES = ("data", "transfer", "train", "validation", "other")
TIMES = ("epoch_s", *(f"{phase}_s" for phase in PHASES))
