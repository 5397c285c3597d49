"""What happens to the fits of a program that is watched, and what is said at its end."""

import atexit
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from functools import wraps
from inspect import signature
from pathlib import Path
from types import ModuleType
from typing import Any

from hpml.errors import UserError
from hpml.records.run_record import FILE_NAME
from hpml.system import exit_codes
from hpml.system.environment import is_one_of_several, rank
from hpml.system.files import read_json
from hpml.system.signals import RunInterrupted
from hpml.watch.import_hook import ChangingFinder
from hpml.watch.program import Program
from hpml.watch.stderr_lines import Lines

# What can be done with a fit instead of running it, and seconds that it may take: each is an option
# of the command.
MEASURES = {"diagnose": 40.0, "tune": 180.0}
FOLDER = Path("outputs", "watch")
# Under each of Lightning's names: where Trainer is, and what starts the script for other ranks.
TRAINERS = ("lightning.pytorch.trainer.trainer", "pytorch_lightning.trainer.trainer")
LAUNCHERS = (
    "lightning.fabric.strategies.launchers.subprocess_script",
    "lightning_fabric.strategies.launchers.subprocess_script",
)
COMMANDS = ("_basic_subprocess_cmd", "_hydra_subprocess_cmd")


class Watch:
    """Puts timers into each fit of a program's Trainers, or measures the first fit instead.

    `measure` is one of MEASURES, or None; `budget_s` None for the seconds that stand there; `also`
    and `resume` as for `hpml.tune`. What it has to say goes to the process's own stderr.
    """

    def __init__(
        self,
        program: Program,
        measure: str | None,
        budget_s: float | None = None,
        also: Sequence[str] = (),
        resume: str | None = None,
    ) -> None:
        self.program = program
        self.say = Lines(program.folder)
        self.record = program.folder / FOLDER / program.name
        self._measure = measure
        self._budget_s = budget_s
        self._also, self._resume = also, resume
        self._begun_s, self._pid = time.time(), os.getpid()
        self._fits = 0
        self._measuring = self._measured = self._left = self._failed = False
        self._others_begin_it = is_one_of_several()
        self._starts_ranks = True  # watched, where Lightning starts the script for them

    def begin(self) -> None:
        """Before the program runs; it need not have imported Lightning, and may never do so."""
        changes = dict.fromkeys(TRAINERS, self._watch_trainer)
        ChangingFinder(changes | dict.fromkeys(LAUNCHERS, self._watch_launcher)).install()
        atexit.register(self._conclude)

    def _watch_trainer(self, module: ModuleType) -> None:
        run = module.Trainer.fit

        @wraps(run)
        def fit(trainer: Any, *arguments: Any, **keywords: Any) -> Any:
            if self._measured:  # the program has caught the exit
                sys.exit(exit_codes.COMPLETED)
            from hpml.watch.timers import measure_fit, timers_for  # and torch

            if self._measure and not self._measuring and not _searches(trainer):
                given = signature(run).bind(trainer, *arguments, **keywords).arguments
                self._end_by_measuring(measure_fit, trainer, given)
            timers = self._timers(timers_for, trainer)
            trainer.callbacks[:0] = timers
            try:
                return run(trainer, *arguments, **keywords)
            except BaseException as error:
                self._failed = isinstance(error, Exception)
                # the traceback is the program's own
                error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next
                raise
            finally:
                trainer.callbacks[:] = [each for each in trainer.callbacks if each not in timers]

        module.Trainer.fit = fit

    def _watch_launcher(self, module: ModuleType) -> None:
        """Other ranks are watched too, or measured: this one's wait for theirs."""
        options = self._options(self._measure) if self._measure else []
        for name in COMMANDS:
            if hasattr(module, name):
                setattr(module, name, _watched(getattr(module, name), options))
            else:
                self._starts_ranks = False

    def _timers(self, timers_for: Callable[..., Sequence[Any]], trainer: Any) -> Sequence[Any]:
        self._fits += 1
        launcher = trainer.strategy.launcher
        if trainer.world_size > 1 and not self._starts_ranks and hasattr(launcher, "procs"):
            self._leave("its other processes cannot be watched with this version of Lightning")
            return ()
        timers = timers_for(trainer, self.record, self.say)
        if not timers and not self._measuring:
            self._leave("its Trainer has timers of its own")
        return timers

    def _leave(self, reason: str) -> None:
        if rank() == 0 and not self._left:
            self.say(f"{self.program.words[0]}: left as it is, because {reason}")
        self._left = True

    def _end_by_measuring(
        self, measure_fit: Callable[..., None], trainer: Any, given: dict[str, Any]
    ) -> None:
        """Ends the program, with exit code 0, 2 for what cannot be measured, 130 for Ctrl-C."""
        self._measuring = True
        data = given.get("datamodule")
        data = given.get("train_dataloaders") if data is None else data
        assert self._measure is not None
        budget_s = self._budget_s or MEASURES[self._measure]
        settings: Any = {"budget_s": budget_s, "folder": self.record, "say": self.say}
        settings |= {
            "validation": given.get("val_dataloaders"),
            "also": self._also,
            "resume": self._resume,
        }
        settings["command"] = self.program.command(*self._options(self._measure))
        try:
            measure_fit(self._measure, trainer, given["model"], data, **settings)
        except UserError as error:
            if rank() == 0:
                self.say(f"error: {error}")
            sys.exit(exit_codes.WRONG_INPUT)
        except (KeyboardInterrupt, RunInterrupted):
            if rank() == 0:
                self.say("interrupted: there is no answer yet")
            sys.exit(exit_codes.INTERRUPTED)
        self._measured = True
        sys.exit(exit_codes.COMPLETED)

    def _conclude(self) -> None:
        if os.getpid() == self._pid and rank() == 0 and (line := self._last_line()):
            self.say(line)

    def _last_line(self) -> str | None:
        """What to run next; or that nothing was timed, and why."""
        name = self.program.words[0]
        if self._measuring:  # and if that has failed, it has said so
            if not self._measured:
                return None
            tunes = self._measure == "diagnose"
            if self._others_begin_it:  # by torchrun say: how nobody here knows
                return (
                    "next: begin it as before, with --tune instead of --diagnose" if tunes else None
                )
            command = self.program.command(*(["--tune"] if tunes else []))
            return f"{'next' if tunes else 'after a change'}: {command}"
        if not self._fits:
            if any(module in sys.modules for module in TRAINERS):
                return f"{name}: nothing was timed, because it called no Trainer.fit"
            return f"{name}: nothing was timed, because it has not imported Lightning's Trainer"
        if self._failed:
            return None
        if not (records := self._records()):
            return (
                None if self._left else f"{name}: nothing was timed, because no epoch was trained"
            )
        epochs = [epoch for record in records for epoch in record["epochs"]]
        if any(epoch.get("ranks") for epoch in epochs):
            return None  # it has to be begun as this was
        verdicts = [(record.get("verdict") or {}).get("kind") for record in records]
        again = verdicts[-1] == "disturbed"
        return f"next: {self.program.command(*([] if again else ['--diagnose']))}"

    def _options(self, measure: str) -> list[str]:
        """Those that have the first fit measured."""
        budget = [] if self._budget_s is None else [f"--budget-s={self._budget_s:g}"]
        also = [f"--also={name}" for name in self._also]
        resume = [] if self._resume is None else [f"--resume={self._resume}"]
        return [f"--{measure}", *also, *resume, *budget]

    def _records(self) -> list[dict[str, Any]]:
        """Those that the program has left, also from processes that it has started."""
        own = re.compile(re.escape(self.record.name) + r"(-\d+)?")
        files = [
            file
            for file in self.record.parent.glob(f"*/{FILE_NAME}")
            if own.fullmatch(file.parent.name) and file.stat().st_mtime >= self._begun_s - 1
        ]
        files.sort(key=lambda file: file.stat().st_mtime)
        records = [read_json(file, "epochs") for file in files]
        return [record for record in records if record is not None and record["epochs"]]


def _watched(command: Callable[..., Any], options: Sequence[str]) -> Callable[..., Any]:
    """A function of Lightning's that gives a rank's command line, perhaps with its folder."""

    @wraps(command)
    def watched(*arguments: Any, **keywords: Any) -> Any:
        given = command(*arguments, **keywords)
        (python, *words), *folder = given if isinstance(given, tuple) else (given,)
        words = [python, "-m", "hpml.watch", *options, *words]
        return (words, *folder) if folder else words

    return watched


def _searches(trainer: Any) -> bool:
    """Whether a Tuner has called fit, for its search only."""
    return any(getattr(callback, "_early_exit", False) for callback in trainer.callbacks)
