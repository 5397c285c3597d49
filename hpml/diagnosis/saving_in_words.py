"""What a trial saves, in words."""

from hpml.formatting import in_s
from hpml.statistics import Estimate


def at_most(saved: Estimate, whole_s: float = 0.0) -> str:
    """`2.26 ± 0.20 s (69%)`; where it may be nothing, what it is less than, if that is known."""
    half_s, shown = saved.half_width or 0.0, saved.mean
    if shown + half_s < 0:
        return f"none: takes {in_s(abs(saved))} more"
    words = in_s(saved)
    if half_s > 0 and abs(saved.mean) <= half_s:
        shown = saved.mean + half_s
        if shown >= whole_s > 0:
            return "not known"
        words = f"< {in_s(Estimate(shown, None, 1))}"
    return words + (f" ({shown / whole_s:.0%})" if whole_s else "")
