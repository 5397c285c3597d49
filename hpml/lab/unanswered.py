"""Searches and diagnoses that others on the machine left without an answer."""

from collections.abc import Mapping
from typing import Any

from hpml.worker_counts import answer_in_doubt as of_search

DISTURBED = "disturbed"  # the kind of a verdict that there is none


def disturbed_by(result: Mapping[str, Any]) -> str:
    """What left a search or a diagnosis without an answer, in words; nothing where it has one."""
    diagnoses = result.get("diagnoses") or {}
    verdicts = ((name, of["verdict"]) for name, of in diagnoses.items())
    words = (f"{name}: {verdict['evidence']}" for name, verdict in verdicts if is_none(verdict))
    return next(words, "") or of_search.disturbed_by(result)


def is_none(verdict: Mapping[str, str]) -> bool:
    return verdict["kind"] == DISTURBED
