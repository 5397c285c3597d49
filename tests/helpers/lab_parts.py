"""The lab's program within a test's process: what it starts is written, not run."""

import itertools
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hydra.core.global_hydra import GlobalHydra

from helpers.labs import FACTS, keep, search_result
from helpers.records import MACHINE, make_run
from hpml.cli.program import run_hydra
from hpml.config.fingerprint import key_of
from hpml.lab import __main__ as lab
from hpml.lab.pilot import Pilot
from hpml.lab.tasks import Task
from hpml.records.run_record import RunRecord
from hpml.sweep.reruns import MARK, OnDisturbance

HERE = MACHINE | {"cpu": "AMD EPYC"}
RESULTS = {
    "workers": search_result({0: 3, 1: 2, 2: 1, 3: 2, 4: 3}),
    "diagnosis": {"diagnoses": {}, "comparison": ["they differ"]},
    "summary": FACTS,
}


@dataclass
class Parts:
    """Stands for what the lab starts: each part writes what the real one would."""

    lab: Path
    monkeypatch: pytest.MonkeyPatch
    started: list[str] = field(default_factory=list)  # the keys of the tasks
    trained: list[str] = field(default_factory=list)  # `OPTIMIZER on DEVICE, WORKERS, LIMIT`
    commands: dict[str, dict[str, str]] = field(default_factory=dict)
    ends: dict[str, Any] = field(default_factory=dict)  # by key an exception, or False for failure
    environment: dict[str, Any] = field(default_factory=lambda: HERE)
    step_s: float = 0.01
    clock: float = 0.0  # seconds, for the lab
    took_s: dict[str, float] = field(default_factory=dict)  # by task

    def run_program(self, *words: str) -> int:
        """The program within this process; its exit code."""
        self.monkeypatch.setattr("sys.argv", ["lab", *words])
        self.started.clear()
        self.trained.clear()
        try:
            run_hydra(lab.job, config_name="lab", sweeps=False)
        except SystemExit as ended:
            return int(ended.code or 0)
        finally:
            GlobalHydra.instance().clear()
        return 0

    def start(self, *words: str) -> int:
        """Starts the lab of the name `l`, as after any other one; its exit code."""
        return self.run_program("data=synthetic", "lab.name=l", *words)

    @property
    def report(self) -> str:
        return (self.lab / "report.md").read_text()

    @property
    def state(self) -> dict[str, Any]:
        return json.loads(self.file("lab.json").read_text())

    def file(self, name: str) -> Path:
        """The only one of that name in the machines' folders."""
        (file,) = self.lab.glob(f"*/{name}")
        return file

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """In place of `run_in_fresh_process`: neither a process nor a measurement."""
        if function.__name__ == "describe":
            return self.environment
        if function.__name__ == "pilot":
            self.started.append(f"pilot {arguments[0]['device']}")
            environment = self.environment | {"device": arguments[0]["device"]}
            return Pilot(self.step_s, 1.0, 0.1, 0.1, 100, environment)
        if "encoded" in arguments[0]["data"]:  # synthetic data take a second
            self.clock += self.took_s.get("look_at_data", 0.0)
            return None
        return function(*arguments)

    def run(self, task: Task, folder: Path) -> bool:
        """In place of a command."""
        self.started.append(task.key)
        values = {key_of(word): word.partition("=")[2] for word in task.words}
        self.commands[task.key] = values
        self.clock += self.took_s.get(task.name, 0.0)
        end = self.ends.get(task.key)
        if isinstance(end, BaseException):
            raise end
        if end is False:
            return False
        if task.result is not None:
            keep(task.result, RESULTS[task.name])
            return True
        of_each = (values[key].split(",") for key in ("optimizer", "seed", "device"))
        for optimizer, seed, device in itertools.product(*of_each):
            name = f"optimizer={optimizer},seed={seed},device={device}"
            directory, policy = folder / task.name / name, values.get("sweep.on_disturbance", MARK)
            repeats = OnDisturbance(policy).repeats
            if not directory.exists() or repeats(RunRecord.read(directory)):
                shutil.rmtree(directory, ignore_errors=True)
                config = {"seed": int(seed), "device": device, "monitor": "train/accuracy"}
                choices = {"optimizer": optimizer, "model": "resnet18", "data": "synthetic"}
                of_run = {"config": config, "choices": choices, "environment": self.environment}
                make_run(folder / task.name, name, **of_run)
                given = values["data.num_workers"], values.get("trainer.limit_train_batches")
                self.trained.append(f"{optimizer} on {device}, {given[0]}, {given[1]}")
        return True
