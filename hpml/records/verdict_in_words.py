"""The verdict of a record, in words."""

from collections.abc import Mapping


def in_words(verdict: Mapping[str, str]) -> tuple[str, str]:
    """A verdict as two lines to print: what is likely and why; what to try."""
    likely = "" if verdict["kind"] in ("inconclusive", "disturbed") else "likely "
    return f"{likely}{verdict['kind']}: {verdict['evidence']}", verdict["advice"]
