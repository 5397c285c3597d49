"""The live windows of a fit, kept in bounded memory."""

from collections.abc import Mapping, Sequence

from hpml.records.phases import PHASES

MOST_ROWS = 200  # an even number
COLUMNS = ("steps", "samples", *(phase.key for phase in PHASES))
Row = dict[str, float | None]


class Windows:
    """Sums of windows one after the other; where they are too many, two neighbours become one."""

    def __init__(self) -> None:
        self._rows: list[Row] = []
        self._windows_a_row = 1
        self._in_last = 1  # windows in the last row

    def add(self, window: Mapping[str, float | None]) -> None:
        """Keeps a window's sums: COLUMNS, of which None is not known."""
        row = {name: window.get(name) for name in COLUMNS}
        if self._rows and self._in_last < self._windows_a_row:
            self._rows[-1] = _joined(self._rows[-1], row)
            self._in_last += 1
            return
        if len(self._rows) == MOST_ROWS:
            self._rows = list(map(_joined, self._rows[::2], self._rows[1::2]))
            self._windows_a_row *= 2
        self._rows.append(row)
        self._in_last = 1

    def resume(self, columns: Mapping[str, Sequence[float | None]] | None) -> None:
        """Continues what `columns` gave in another process."""
        for values in zip(*(columns or {}).values(), strict=True):
            self.add(dict(zip(columns or {}, values, strict=True)))

    @property
    def columns(self) -> dict[str, list[float | None]] | None:
        """The record's `windows`; None where there is none."""
        rows = self._rows
        return {name: [_short(row[name]) for row in rows] for name in COLUMNS} if rows else None


def _joined(first: Row, second: Row) -> Row:
    pairs = ((name, first[name], second[name]) for name in COLUMNS)
    return {name: None if a is None or b is None else a + b for name, a, b in pairs}


def _short(value: float | None) -> float | None:
    """To a microsecond: the file is read by people too."""
    return value if value is None or isinstance(value, int) else round(value, 6)
