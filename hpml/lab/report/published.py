"""Figures that others have published for the same lab, and what was wrong with them."""

import json
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from hpml.formatting import decimals
from hpml.report.tables import NOTHING, Cell, Table

OPTIMIZERS = ("sgd", "nesterov", "adagrad", "adadelta", "adam")
BEST_WORKERS = "best_workers"
EPOCH_CPU_S, EPOCH_GPU_S, DATA_S = "epoch_cpu_s", "epoch_gpu_s", "data_s"
# Behind an optimizer's name, or behind NO_NORM, they make a key: `sgd_loss`, `no_norm_loss`.
EPOCH_S, LOSS, ACCURACY = "_epoch_s", "_loss", "_accuracy"
NO_NORM = "no_norm"
CONV_LAYERS, LINEAR_INPUTS = "conv_layers", "linear_inputs"
PARAMETERS, PARAMETERS_NO_NORM = "parameters", "parameters_no_norm"
GRADIENTS_SGD, GRADIENTS_ADAM = "gradients_sgd", "gradients_adam"
OF_TRAINING = {EPOCH_S: "epoch s", LOSS: "loss", ACCURACY: "accuracy"}
ROWS = {
    BEST_WORKERS: "best number of workers",
    EPOCH_CPU_S: "epoch on the CPU, s",
    EPOCH_GPU_S: "epoch on a GPU, s",
    DATA_S: "waiting for data in an epoch, s",
    **{
        name + figure: f"{name}: {title}"
        for name in OPTIMIZERS
        for figure, title in OF_TRAINING.items()
    },
    **{NO_NORM + figure: f"without norm: {title}" for figure, title in OF_TRAINING.items()},
    CONV_LAYERS: "convolutions",
    LINEAR_INPUTS: "inputs of the last linear layer",
    PARAMETERS: "parameters",
    PARAMETERS_NO_NORM: "parameters without norm",
    GRADIENTS_SGD: "gradients that are not zero, SGD",
    GRADIENTS_ADAM: "gradients that are not zero, Adam",
}


def published_table(own: Mapping[str, str]) -> Table:
    """This run beside the two submissions; `own` has a text for each key of ROWS it knows.

    Raises ValueError for a key that is not in ROWS.
    """
    unknown = sorted(own.keys() - ROWS.keys())
    if unknown:
        raise ValueError(f"own: there is no row {unknown[0]!r}; rows are {', '.join(ROWS)}")
    published = _read()
    columns = (own, _of_a(published["A"]), _of_b(published["B"]))
    rows = [
        [
            Cell(title, place),
            *(_cell(column.get(key)) for column in columns),
            _cell(published["wrong"].get(key, "")),
        ]
        for place, (key, title) in enumerate(ROWS.items())
    ]
    headings = ["figure", "this run", "submission A", "submission B", "what was wrong"]
    return Table(headings, rows, len(headings))


def published_caption() -> str:
    """Where the published figures are from, and on what they were measured."""
    published = _read()
    machines = (f"{name}: {machine}" for name, machine in published["hardware"].items())
    told = [published["source"].rstrip("."), *machines]
    told.append(
        "the seconds of A's epochs are means over all five; loss and accuracy are the fifth's"
    )
    return ". ".join(line[0].upper() + line[1:] for line in told) + "."


def published_gradients() -> tuple[int, dict[str, int]]:
    """The parameters of B's network without normalisation; by optimizer, its gradients not zero."""
    found = _read()["B"]
    counts = {"SGD": found["q3_nonzero_gradients_sgd"], "Adam": found["q4_nonzero_gradients_adam"]}
    return found["q3_trainable_parameters_without_norm"], counts


def _read() -> dict[str, Any]:
    file = Path(__file__).with_name("published.json")
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def _of_a(found: dict[str, Any]) -> dict[str, str]:
    epoch_s, data_s = found["c5_epoch_s"], found["c5_data_s_per_epoch"]
    return {
        BEST_WORKERS: str(found["c3_best_workers"]),
        EPOCH_CPU_S: _seconds(epoch_s["cpu"]),
        EPOCH_GPU_S: _seconds(epoch_s["gpu"]),
        DATA_S: f"{data_s['gpu']} (GPU), {data_s['cpu']} (CPU)",
        **{name + EPOCH_S: _seconds(times) for name, times in found["c6_epoch_s"].items()},
        NO_NORM + EPOCH_S: _seconds(found["c7_epoch_s_without_norm"]),
    }


def _of_b(found: dict[str, Any]) -> dict[str, str]:
    best, epoch_s = found["c3_best_workers"], found["c5_epoch_s"]
    texts = {
        BEST_WORKERS: str(best),
        EPOCH_CPU_S: _seconds([epoch_s["cpu"]]),
        EPOCH_GPU_S: _seconds([epoch_s["gpu"]]),
        DATA_S: f"{found['c3_data_loading_s_by_workers'][str(best)]} ({best} workers)",
        CONV_LAYERS: f"{found['q1_conv_layers']}",
        LINEAR_INPUTS: f"{found['q2_last_linear_in_features']}",
        PARAMETERS_NO_NORM: f"{found['q3_trainable_parameters_without_norm']:,}",
        GRADIENTS_SGD: f"{found['q3_nonzero_gradients_sgd']:,}",
        GRADIENTS_ADAM: f"{found['q4_nonzero_gradients_adam']:,}",
    }
    for name, run in (*found["c6"].items(), (NO_NORM, found["c7_without_norm"])):
        if "epoch_s" in run:
            texts[name + EPOCH_S] = _seconds([run["epoch_s"]])
        texts[name + LOSS] = f"{run['loss'][-1]:.4f}"
        texts[name + ACCURACY] = f"{run['accuracy'][-1]:.2%}"
    return texts


def _seconds(times: list[float]) -> str:
    mean_s = fmean(times)
    return f"{mean_s:.{decimals(mean_s)}f}"


def _cell(text: str | None) -> Cell:
    return Cell(NOTHING) if text is None else Cell(text, text)
