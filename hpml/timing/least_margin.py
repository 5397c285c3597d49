"""The margin from which on a cost is told from another one, or from none."""

# A part of the time or the epoch; what differs by less is not told apart, however steady it is.
LEAST_MARGIN = 0.05
