"""The lab's results on one machine, read from its folder."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from hpml.formatting import counted
from hpml.lab.parts import COUNTED, DEVICES, DIAGNOSIS, NO_NORM, SUMMARY, TRAINING, WORKERS
from hpml.lab.tasks import LAB_FILE, command_for, read_result
from hpml.report.collect import Run, clean, collect
from hpml.system.files import read_json


class Machine:
    def __init__(self, folder: Path, lab: Path) -> None:
        self.folder = folder
        self.lab = lab
        self.state: dict[str, Any] = read_json(folder / LAB_FILE) or {}
        self.environment: dict[str, Any] = self.state.get("environment") or {}
        self.training, self.no_norm, self.other_devices = (
            collect([folder / task])[0] for task in (TRAINING, NO_NORM, DEVICES)
        )
        self.workers = read_result(folder, WORKERS)
        self.diagnosis = read_result(folder, DIAGNOSIS)
        self.has_norm = bool(self.state.get("has_norm", True))
        self.sgd = self.with_optimizer("sgd")  # which C1, C2, C5, C6 and C7 share

    @property
    def name(self) -> str:
        """`AMD EPYC, 2 cores`; its folder's where that is not known."""
        machine = self.environment
        if "cpu" not in machine:
            return clean(self.folder.name)
        gpus = list(dict.fromkeys(machine.get("accelerators") or []))
        cores = counted(machine.get("cpu_cores") or 0, "core")
        return clean(", ".join([str(machine.get("cpu")), cores, *gpus]))

    @property
    def hardware(self) -> str:
        """One line, as the lab prints it."""
        machine = self.environment
        memory = machine.get("memory_gib")
        parts = [self.name, f"{memory:.0f} GiB" if memory else "", str(machine.get("os", ""))]
        versions = [name for name in ("python", "torch", "lightning", "hpml") if name in machine]
        parts += [f"{name} {machine[name]}" for name in versions]
        hosts = self.state.get("hosts") or []
        parts += [f"hosts {', '.join(map(str, hosts))}"] if len(hosts) > 1 else []
        return clean("; ".join(filter(None, parts)))

    @property
    def cores_that_train(self) -> int | None:
        """How many; None where a GPU trains, or nobody knows."""
        on_cpu = self.environment.get("device") == "cpu"
        return self.environment.get("cpu_cores") if on_cpu else None

    @property
    def plans(self) -> list[dict[str, Any]]:
        """As they were made, one after the other; labs of earlier versions have none."""
        plans = self.state.get("plans")
        return plans if isinstance(plans, list) else []

    def left_out_of(self, part: str) -> float | None:
        """The budget of the last plan, in minutes, where a part did not fit into it."""
        last = self.plans[-1] if self.plans else {"left_out": {"parts": []}}
        return last["asked"]["budget_min"] if part in last["left_out"]["parts"] else None

    @property
    def shortened(self) -> str:
        """What makes the trainings shorter than the lab's."""
        limit = self.state.get("limit")
        whole = [pilot["epoch_steps"] for pilot in self.state.get("pilots", {}).values()]
        return f"epochs of {limit:,} of {whole[0]:,} batches" if limit and whole else ""

    @property
    def shortened_search(self) -> str:
        """What makes the search for workers shorter than it would be."""
        rounds, of_all = self.state.get("rounds") or (0, 0)
        words = f"at most {rounds} of {of_all} rounds of the search for workers"
        return words if rounds < of_all else ""

    def in_front(self, text: str, machines: Sequence["Machine"]) -> str:
        """A text with the machine's name before it, where there are several."""
        return f"{self.name}: {text}" if len(machines) > 1 else text

    def commands(self, task: str, part: str = "") -> list[str]:
        """The command lines of a task; of those that count, what a part's figures are from."""
        commands: dict[str, list[str]] = self.state.get("commands", {})
        of_part = [f"{SUMMARY}-{n}" for n in COUNTED.get(part, ()) if task == SUMMARY]
        keys = of_part or [name for name in commands if name.partition("-")[0] == task]
        of_task = [commands[key] for key in keys if key in commands]
        if task == WORKERS and not of_task and self.workers:  # made before the lab
            return [str(self.workers.get("command", ""))]
        return [*chain(*of_task)]

    def command_for(self, part: str, *more: str) -> str:
        """What runs a part of this lab, for a shell."""
        typed = self.state.get("typed", [])
        return command_for(typed, self.lab.name, f"lab.parts=[{part}]", *more)

    def again(self, part: str) -> str:
        """What runs a part again where it was disturbed."""
        return self.command_for(part, "lab.again=true")

    def with_optimizer(self, name: str) -> list[Run]:
        return [run for run in self.training if run.record.choices.get("optimizer") == name]

    def summary(self, name: str) -> dict[str, Any] | None:
        return read_result(self.folder, SUMMARY, f"{name}.json")
