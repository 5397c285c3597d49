"""`python -m hpml.diagnose [overrides]`: proves where the time of a training goes."""

import sys

from hpml import diagnose

if __name__ == "__main__":
    from hpml.diagnosis.command import main

    main()
else:  # to import this leaves the package's function `hpml.diagnose` where it was
    sys.modules[__name__] = diagnose  # type: ignore[assignment]
