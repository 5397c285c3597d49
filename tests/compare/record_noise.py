"""Records what this machine's noise does to one and the same training, for the simulations.

    python tests/compare/record_noise.py quiet [SECONDS]

writes `noise_quiet.json` beside this file: milliseconds of each step, in their order, and what part
of it others took. `busy` is the same while other programs run.
"""

import json
import sys
import time
from datetime import date
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from helpers.gated_job import BATCH, Autoencoder, Rows
from torch.utils.data import DataLoader

from hpml.system.between_readings import between
from hpml.system.environment import cpu_name, usable_cores
from hpml.system.kernel_readings import Witness

# About 25 ms on one core, a third of it waiting for data.
BASE_MS, WIDTH, DEPTH = 8.0, 256, 40
WARM_UP = 50  # steps


def record(name: str, seconds: float) -> Path:
    torch.set_num_threads(1)
    module = Autoencoder(WIDTH, DEPTH, log_ms=0.0)
    optimizer = module.configure_optimizers()
    loader = DataLoader(Rows(BASE_MS), batch_size=BATCH)
    witness, steps = Witness(), []
    until_s = time.perf_counter() + seconds
    while time.perf_counter() < until_s:
        batches = iter(loader)
        for _ in range(len(loader)):
            before = witness.read()
            optimizer.zero_grad()
            module.training_step(next(batches), 0).backward()
            optimizer.step()
            steps.append(between(before, witness.read()))
    counted = steps[WARM_UP:]
    about = {"cpu": cpu_name(), "cores": usable_cores(), "date": str(date.today())}
    step_ms = [round(1e3 * each.wall_s, 1) for each in counted]
    lost = [round(each.share, 2) for each in counted]
    file = Path(__file__).with_name(f"noise_{name}.json")
    file.write_text(json.dumps({"machine": about, "step_ms": step_ms, "lost": lost}) + "\n")
    return file


if __name__ == "__main__":
    print(record(sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 120.0))
