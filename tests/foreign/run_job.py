"""`python run_job.py JOB FOLDER`: a job in a process of its own, which may start more of them."""

import os
import pickle
import sys
from pathlib import Path

from helpers.foreign import plain_and_timed

if __name__ == "__main__":
    name, folder = sys.argv[1], Path(sys.argv[2])
    outcomes = plain_and_timed(name, folder)
    if os.environ.get("LOCAL_RANK", "0") == "0":
        (folder / "outcomes").write_bytes(pickle.dumps(outcomes))
