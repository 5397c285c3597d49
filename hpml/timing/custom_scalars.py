"""What TensorBoard's page Custom Scalars shows, in which order.

Losses come first there: its other pages are sorted by the names of groups. Lines of one run have
one colour, whatever their tags, so that each has a chart of its own.
"""

from hpml.records.phases import PHASES

# Charts by the beginnings of tags, as regular expressions, whatever a module calls them.
LEARNING = {
    "training loss": "(?!e?val|test).*loss",
    "validation loss": "e?val.*loss",
    "training accuracy": "(?!e?val|test).*acc",
    "validation accuracy": "e?val.*acc",
}
LAYOUT = {
    "Learning": {title: ["Multiline", [pattern]] for title, pattern in LEARNING.items()},
    "Where the epoch goes": {
        phase.title: ["Multiline", [f"time/{phase.key}$"]] for phase in PHASES
    },
}
