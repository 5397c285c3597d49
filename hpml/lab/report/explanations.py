"""Why figures are what they are: sentences that hold whichever way they fall."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from omegaconf import OmegaConf

from hpml.config.conf import find_conf
from hpml.diagnosis.trial_figures import AS_IT_IS, CAUSES, Figures, difference, is_sure
from hpml.formatting import in_s
from hpml.records.phases import INPUT
from hpml.report.collect import Run
from hpml.report.ranking import Ranked
from hpml.statistics import Estimate
from hpml.timing.least_margin import LEAST_MARGIN
from hpml.trials.pace import Pace

RATE = "optimizer.lr"
OFF_BY = 10  # times as large or as small a rate is as the usual one, to be called unusual
SHARED = (
    "Workers load on the {cores} cores that train: while all of these are busy, more workers save "
    "no time, they only take it from training."
)
# Adam divides each step by the gradient's own size. Source: Kingma and Ba, arXiv:1412.6980, 2.1.
OF_ADAM = "Adam's steps are about as long as the rate, however small the gradients get"


def what_workers_can_save(
    settings: Mapping[str, Mapping[str, Any]], cores: int | None
) -> Iterator[str]:
    """What loading takes of an epoch without workers; nothing where none were tried.

    `settings` are those of a search; `cores` are there where workers share them with training.
    """
    if "0" not in settings:
        return
    loading_s, epoch_s = (Estimate(**settings["0"][figure]) for figure in ("loading_s", "epoch_s"))
    share = min(1.0, loading_s.mean / epoch_s.mean)
    yield (
        f"Without workers loading alone takes {in_s(loading_s)}, {share:.1%} of the time of an "
        f"epoch ({in_s(epoch_s)}): that is about the most that workers can save."
    )
    fewest_s = min(of["epoch_s"]["mean"] for of in settings.values())
    if cores and fewest_s > (1 - LEAST_MARGIN) * epoch_s.mean:
        yield SHARED.format(cores=cores)


def more_workers_help(diagnoses: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether the second of two numbers of workers, the larger one, is told to be faster.

    As the comparison of the two diagnoses tells it.
    """
    few, many = (_figures_of(of) for of in diagnoses.values())
    whole, *_ = difference(few, many)
    return whole.mean > 0 and is_sure(whole, max(few.floor_s, many.floor_s))


def why_workers_differ(
    diagnoses: Mapping[str, Mapping[str, Any]], cores: int | None
) -> Iterator[str]:
    """What more workers can save, and what they take; `cores` where they share them with training.

    Of two numbers of workers the first is the smaller one.
    """
    (few, first), (many, second) = diagnoses.items()
    waited_s, whole_s = Estimate(**first["waited_s"]), first["epoch_s"][AS_IT_IS]["mean"]
    yield (
        f"With {few} an epoch waits {in_s(waited_s)} for data, {waited_s.mean / whole_s:.1%} of "
        f"it: that is the most that more workers can save. With {many} it waits "
        f"{in_s(Estimate(**second['waited_s']))}."
    )
    if cores and not more_workers_help(diagnoses):
        free = first["epoch_s"].get(CAUSES[INPUT])
        without = (
            f" With loading free an epoch would take {in_s(Estimate(**free))}." if free else ""
        )
        yield SHARED.format(cores=cores) + without


def _figures_of(diagnosis: Mapping[str, Any]) -> Figures:
    """Those that a result was made of."""
    each = diagnosis["paces"].items()
    paces = {trial: [Pace(**pace) for pace in of_rounds] for trial, of_rounds in each}
    return Figures(paces, diagnosis["epoch_steps"], ended_early=diagnosis["ended_early"])


def why_last(ranks: Sequence[Ranked]) -> str:
    """Whether the rate may be why an optimizer is last; nothing where it is near the usual one."""
    name = ranks[-1].setting.values.get("optimizer", "")
    rate, usual = rate_of(ranks[-1].setting.completed), usual_rate(name)
    if rate is None or usual is None or usual / OFF_BY < rate < usual * OFF_BY:
        return ""
    times = rate / usual
    size = f"{times:,.3g} times" if times > 1 else f"1/{1 / times:,.3g} of"
    steps = f" {OF_ADAM}." if name.startswith("adam") and times > 1 else ""
    return (
        f"The rate is a likely cause: {rate:g} is {size} {name}'s usual one, {usual:g}.{steps} One "
        "rate for all compares the rates as much as the optimizers."
    )


def rate_of(runs: Sequence[Run]) -> float | None:
    """The learning rate of all of some runs; None where they have several, or none."""
    rates = {run.leaves.get(RATE) for run in runs}
    rate = rates.pop() if len(rates) == 1 else None
    return float(rate) if isinstance(rate, int | float) and rate > 0 else None


def usual_rate(optimizer: str) -> float | None:
    """The rate that an optimizer's option has; None where the option has none of its own."""
    file = find_conf() / "optimizer" / f"{optimizer}.yaml"
    if not optimizer.isidentifier() or not file.is_file():
        return None
    rate = OmegaConf.select(OmegaConf.load(file), "lr")
    return None if rate is None else float(rate)
