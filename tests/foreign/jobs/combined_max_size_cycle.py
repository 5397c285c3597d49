"""Two unlike loaders at once; the shorter one begins anew when it has ended."""

from combined_max_size import Several, loaders
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from plain import fit, job

SAMPLES = [190, 190]  # 150, and of the other 8, 8, 4 twice
make = job(Several, lambda: CombinedLoader(loaders(), "max_size_cycle"))

if __name__ == "__main__":
    fit(*make())
