"""A progress bar of rich's, which keeps a live display."""

from lightning.pytorch.callbacks import RichProgressBar
from plain import fit, job

SAMPLES = [44, 44]
make = job(own=lambda: [RichProgressBar()], enable_progress_bar=True)

if __name__ == "__main__":
    fit(*make())
