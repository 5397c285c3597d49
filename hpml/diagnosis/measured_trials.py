"""What the trials of a job have shown so far, kept where the experiment looks for it."""

from collections.abc import Iterable, Mapping
from operator import attrgetter

from hpml.diagnosis.interventions import ESSENTIAL
from hpml.diagnosis.wording import TITLES
from hpml.system.interference import Interference
from hpml.trials.interference_watch import watched
from hpml.trials.pace import Pace
from hpml.trials.rounds import Candidate, Measurements, StoppingRule, run_rounds
from hpml.trials.subject import Subject


class Measured:
    """The trials of one subject."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.paces: dict[str, list[Pace]] = {}  # of each trial, one a round that counts
        self.seen: dict[str, Interference | None] = {}  # what others took from each trial
        self.notes: list[str] = []
        self.dropped: set[str] = set()

    def drop(self, name: str, reason: str) -> None:
        """Notes that the module or a callback needs what a trial takes out."""
        self.paces.pop(name, None)
        if name in self.dropped:
            return
        self.dropped.add(name)
        title = TITLES.get(name, name.replace("_", " "))
        self.notes.append(f"the trial {title} could not be run ({reason})")

    def note(self, sentences: Iterable[str]) -> None:
        """Keeps what is to be told beside the figures."""
        self.notes += sentences


Key = tuple[Measured, str]  # a trial of a job


def measure(
    candidates: Mapping[Key, Candidate[Pace]], stop: StoppingRule
) -> Measurements[Key, Pace]:
    """Runs trials of some jobs in rounds; each keeps its own, also of rounds that are interrupted.

    Ranks stop with the first one.
    """
    optional = [key for key in candidates if key[1] not in ESSENTIAL]
    first = next(iter(candidates))[0].subject
    witness, agreement = first.witness, first.agreement
    for owner, _ in candidates:  # each looks at its workers before they end
        owner.subject.witness = witness
    watch = watched(witness, attrgetter("waiting_share"), agreement.every)
    together = agreement.decided(stop)
    measured: Measurements[Key, Pace] = Measurements()
    try:
        run_rounds(candidates, together, optional=optional, measured=measured, watch=watch)
    finally:
        keep(measured)
    return measured


def keep(measured: Measurements[Key, Pace]) -> None:
    """Has each job hold what its trials have shown so far."""
    for key in measured.by_name:
        owner, name = key
        owner.paces[name] = list(measured.kept(key).values())
        owner.seen[name] = measured.taken_from(key)
    for (owner, name), reason in measured.failures.items():
        owner.drop(name, reason)
