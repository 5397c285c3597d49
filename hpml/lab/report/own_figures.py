"""The lab's own figures, for the table beside the published ones."""

from collections.abc import Iterator, Sequence

from hpml.formatting import decimals, range_in_words
from hpml.lab.report import published
from hpml.lab.report.machine import Machine
from hpml.report.collect import Run
from hpml.statistics import estimate


def own_figures(machines: Sequence[Machine]) -> dict[str, str]:
    """This lab's figures beside the published ones; of several machines those with a GPU first."""
    ordered = sorted(machines, key=lambda machine: machine.environment.get("device") == "cpu")
    own: dict[str, str] = {}
    for machine in ordered:
        for key, text in _of_machine(machine):
            own.setdefault(key, text)
    return own


def _of_machine(machine: Machine) -> Iterator[tuple[str, str]]:
    if machine.workers is not None:
        yield published.BEST_WORKERS, str(machine.workers["recommended"])
    runs = [run for run in [*machine.sgd, *machine.other_devices] if run.completed]
    for key, of_cpu in ((published.EPOCH_CPU_S, True), (published.EPOCH_GPU_S, False)):
        of = [run for run in runs if (run.record.environment.get("device") == "cpu") == of_cpu]
        if times := estimate([t for run in of if (t := run.measures["epoch_s"]) is not None]):
            yield key, f"{times.mean:.{decimals(times.mean)}f}"
    for name in published.OPTIMIZERS:
        of_name = [run for run in machine.training if run.record.choices.get("optimizer") == name]
        yield from _of_training(name, of_name)
    yield from _of_training(published.NO_NORM, machine.no_norm)
    of = [run for run in machine.sgd if run.completed]
    if waits := estimate([w for run in of if (w := run.measures["data_s"]) is not None]):
        yield published.DATA_S, f"{waits.mean:.{decimals(waits.mean)}f}"
    if facts := machine.summary("sgd"):
        yield published.CONV_LAYERS, str(facts["conv_layers"])
        yield published.LINEAR_INPUTS, str(facts["linear_in_features"] or "none")
        yield published.PARAMETERS, f"{facts['trainable_parameters']:,}"
    for key, name in (
        (published.GRADIENTS_SGD, "no_norm_sgd"),
        (published.GRADIENTS_ADAM, "no_norm_adam"),
    ):
        if facts := machine.summary(name):
            yield published.PARAMETERS_NO_NORM, f"{facts['trainable_parameters']:,}"
            if counts := list((facts.get("nonzero_by_seed") or {}).values()):
                yield key, range_in_words(counts)


def _of_training(name: str, runs: Sequence[Run]) -> Iterator[tuple[str, str]]:
    completed = [run for run in runs if run.completed]
    times = estimate([t for run in completed if (t := run.measures["epoch_s"]) is not None])
    if times:
        yield name + published.EPOCH_S, f"{times.mean:.{decimals(times.mean)}f}"
    for figure, metric, spec in (
        (published.LOSS, "train/loss", ".4f"),
        (published.ACCURACY, "train/accuracy", ".2%"),
    ):
        values = [v for run in completed if (v := run.record.last_metric(metric)) is not None]
        if known := estimate(values):
            yield name + figure, f"{known.mean:{spec}}"
