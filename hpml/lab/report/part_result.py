"""The results of one part of the lab: what its section of the page shows."""

from dataclasses import dataclass, field

from hpml.report.tables import Table


@dataclass(frozen=True, kw_only=True)
class PartResult:
    """The results of one part on one machine, or on all of them together."""

    tables: list[tuple[Table, str]] = field(default_factory=list)  # each with its caption
    pictures: list[dict[str, str]] = field(default_factory=list)  # of `save`, of names of their own
    code: str = ""  # lines of a program, to be shown as they are
    answer: list[str] = field(default_factory=list)
