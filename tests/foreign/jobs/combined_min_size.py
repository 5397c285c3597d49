"""Two unlike loaders at once, in a list, until the shorter one has ended."""

from combined_max_size import Several, loaders
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from plain import fit, job

SAMPLES = [104, 104]  # 20, and three times 28
make = job(Several, lambda: CombinedLoader([*loaders().values()], "min_size"))

if __name__ == "__main__":
    fit(*make())
