"""The answer of a search for workers, in words and as Python hands it back."""

from collections.abc import Iterator, Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any

from hpml.config.lab_advice import advised
from hpml.formatting import counted, duration_in_words, in_s, table
from hpml.statistics import Estimate
from hpml.worker_counts.counts_to_try import in_words
from hpml.worker_counts.search_result import EPOCH, FIGURES, LOADING, SPAN, SearchResult, seconds_of

# An interval this wide, as a part of the mean, tells more about the machine than about workers.
NOISY = 0.25
HEADINGS = ("loading alone", "end to end")
TIED = {LOADING: "tied_loading", EPOCH: "tied"}  # of a search's content


def lines(found: SearchResult, heading: str) -> list[str]:
    """A table; an asterisk marks the fastest, and what is tied with it."""
    told = [f"  {note}" for note in found.notes]
    if (apart := found.apart) is not None:
        floor = in_s(Estimate(apart.floor, None, 1))
        twice = f"the same twice in a round, with {in_words(found.twice)},"
        told.append(f"  {twice} differs by ± {floor}, as means over {apart.n} rounds")
    alike = alike_in_words(found.is_answered)
    marks = f"; * fastest, or {alike}" if found.rounds > 1 else "; one round"
    shown = [
        [cell if "*" in cell else f"{cell}  " for cell in row] for row in rows(found.as_dict())
    ]
    return [*table([[heading, *HEADINGS], *shown], ">>>"), f"  {caption(found.span)}{marks}", *told]


def caption(span: str) -> str:
    return f"seconds of {span}, without validation"


def per(span: str) -> str:
    """`an epoch`, behind a number of seconds; `for 1,000 steps`."""
    return span if span == SPAN else f"for {span}"


def rows(content: Mapping[str, Any]) -> list[list[str]]:
    """Of each setting the seconds of an epoch: loading alone, and end to end."""
    tied = {figure: set(map(str, content[key])) for figure, key in TIED.items()}
    return [
        [setting, *(in_s(Estimate(**times[f])) + "*" * (setting in tied[f]) for f in FIGURES)]
        for setting, times in content["settings"].items()
    ]


def recommended(found: SearchResult, now: int) -> int:
    """The fewest workers that are tied with the fastest end to end, where that is answered.

    Else the count that is set `now`, unless it failed; the fewest of the tied ones that are proven
    to beat it, if there are any.
    """
    if found.is_answered or now in found.failed:
        return int(min(found.tied))
    return int(min(found.beating(now), default=now))


def sentences(found: SearchResult, now: int, key: str) -> list[str]:
    """Both answers, and what the recommended count saves beside the one that is set `now`."""
    told = [_of_loading(found), _end_to_end(found)]
    if (noise := _noise(found)) > NOISY and not found.disturbed_by:
        told.append(
            f"that is known to ± {noise:.0%} only: other work on this machine? Search again "
            "when it is quiet"
        )
    best = recommended(found, now)
    if not found.is_answered:
        told.append(_unanswered(found, best, now, key))
    if now != best and now in found.settings:
        told.append(_beside(found, best, now, key))
    told += failures(found)
    if found.was_interrupted:
        told.append("interrupted: this is the answer so far")
    return told


def failures(found: SearchResult) -> list[str]:
    """What was dropped, and why."""
    return [f"{in_words(setting)} failed: {why}" for setting, why in found.failed.items()]


def _of_loading(found: SearchResult) -> str:
    best = found.best_loading
    as_fast = [count for count in found.tied_loading if count != best]
    seconds = f"{in_s(found.of(LOADING, best))} {per(found.span)}"
    return f"by loading alone {_workers(best)} fastest, {seconds}{_tied_with(as_fast)}"


def _end_to_end(found: SearchResult) -> str:
    """Which count is enough; where that is not answered, which one looks fastest."""
    fastest = found.best_training
    shown = min(found.tied) if found.is_answered else fastest
    tied = [count for count in found.tied if count not in (shown, fastest)]
    words = f"{_workers(shown)} " + (
        "fastest" if shown == fastest else f"enough: tied with {fastest}"
    )
    if not found.is_answered:
        words = f"{counted(shown, 'worker')} {'looks' if shown == 1 else 'look'} fastest"
    seconds = f"{in_s(found.of(EPOCH, shown))} {per(found.span)}"
    others = _tied_with(tied, alike_in_words(found.is_answered))
    return f"end to end {words}, {seconds} of training{others}"


def _noise(found: SearchResult) -> float:
    """Half the interval of the fastest, as a part of the mean."""
    epoch_s = found.of(EPOCH, found.best_training)
    return (epoch_s.half_width or 0.0) / epoch_s.mean


def _unanswered(found: SearchResult, best: int, now: int, key: str) -> str:
    """What is known all the same, and what would answer: more time, or a quiet machine."""
    told = "which are enough cannot be told"
    if found.rounds == 1:
        told = "one round is too few to tell a difference from chance"
    if best == now or now in found.failed:
        told += f": {'keep' if best == now else 'take'} {key}={best}"
    else:
        told += f", but {key}={best} is proven to beat {now}"
    if words := found.disturbed_by:
        return f"{told}; {words}: search again when the machine is quiet"
    if (needed_s := found.needed_s) is None:
        return f"{told}; a longer search may tell"
    return f"{told}; {duration_in_words(needed_s)} may tell{_asked(found, needed_s, key)}"


def _asked(found: SearchResult, needed_s: float, key: str) -> str:
    """What to give a search for that, where its end was one that is given."""
    if found.was_interrupted:
        return ""
    words, value = "budget_s={}", 10 * ceil(needed_s / 10)
    if key.startswith("data."):
        words = advised("workers.budget_s={}")
        if found.had_time:
            words = advised("workers.rounds={}")
            value = ceil(found.next_round * needed_s / found.took_s)
    return f" ({words.format(value)})"


def _beside(found: SearchResult, best: int, now: int, key: str) -> str:
    gain = found.saved((EPOCH, now), (EPOCH, best), seconds_of)
    if gain.half_width is None or abs(gain.mean) <= gain.half_width:
        return f"beside {key}={now} no difference could be told"
    share = gain.mean / found.of(EPOCH, now).mean
    saves = "saves" if gain.mean >= 0 else "costs"
    return f"beside {key}={now} that {saves} {in_s(abs(gain))} {per(found.span)} ({abs(share):.0%})"


def content_of(found: SearchResult, now: int, key: str, override: str) -> dict[str, Any]:
    """What `workers.json` holds of a search, beside one `now` of the `key`."""
    answers = {"recommended": recommended(found, now), "now": now, "override": override}
    return answers | found.as_dict() | {"sentences": sentences(found, now, key)}


def advice(content: Mapping[str, Any]) -> str:
    """What to type, or to write; what to keep where nothing else is proven."""
    is_kept = not content.get("answered", True) and content["recommended"] == content["now"]
    return f"{'keep' if is_kept else 'use'}: {content['override']}"


def _workers(count: int) -> str:
    return f"{counted(count, 'worker')} {'is' if count == 1 else 'are'}"


def alike_in_words(is_answered: bool) -> str:
    """What an asterisk marks beside the fastest."""
    return "tied with it" if is_answered else "not told apart from it"


def _tied_with(others: Sequence[int], words: str = "tied with it") -> str:
    return f"; {words}: {', '.join(map(str, others))}" if others else ""


class WorkersAnswer:
    """How many workers to take.

    `found` is all that `workers.json` holds, in `directory` where it was kept.
    """

    def __init__(self, directory: Path | None, found: dict[str, Any]) -> None:
        self.directory = directory
        self.found = found

    @property
    def recommended(self) -> int:
        """The fewest workers that are tied with the fastest end to end; the present number where
        that cannot be told.
        """
        return int(self.found["recommended"])

    @property
    def best_loading(self) -> int:
        """With how many the loader alone is fastest."""
        return int(self.found["best_loading"])

    @property
    def use(self) -> str:
        """What to type, or to write as an argument of the DataLoader."""
        return advice(self.found)

    @property
    def sentences(self) -> list[str]:
        return list(self.found["sentences"])

    @property
    def rows(self) -> list[list[str]]:
        """Of each number of workers the seconds of an epoch: loading alone, and end to end."""
        return rows(self.found)

    def __repr__(self) -> str:
        return "\n".join([*self.sentences, self.use])

    def _repr_html_(self) -> str:
        from hpml.report.page import cell  # and matplotlib
        from hpml.report.tables import Cell, Table

        values = {
            "sentences": [*self.sentences, self.use],
            "table": Table(["workers", *HEADINGS], [list(map(Cell, row)) for row in self.rows], 0),
            "note": f"{caption(self.found.get('span', SPAN))}; * fastest, or "
            + alike_in_words(self.found.get("answered", True)),
        }
        if self.directory is not None:
            values["path"] = str(self.directory)
        return cell(values, self._pictures())

    def _pictures(self) -> Iterator[Any]:
        from hpml.worker_counts.picture import picture

        yield picture(self.found)
