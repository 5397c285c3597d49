"""`python -m hpml.tune [overrides]`: finds what makes a training faster."""

import sys

from hpml import tune

if __name__ == "__main__":
    from hpml.tuning.command import main

    main()
else:  # to import this leaves the package's function `hpml.tune` where it was
    sys.modules[__name__] = tune  # type: ignore[assignment]
