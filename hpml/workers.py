"""`python -m hpml.workers [overrides]`: finds the number of loading processes by measuring."""

import sys

from hpml import workers

if __name__ == "__main__":
    from hpml.worker_counts.command import main

    main()
else:  # to import this leaves the package's function `hpml.workers` where it was
    sys.modules[__name__] = workers  # type: ignore[assignment]
