"""The door from the command to torch and Lightning: jobs are diagnosed side by side."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from omegaconf import DictConfig

from hpml.config import command_line
from hpml.diagnosis.experiment import experiment_of
from hpml.diagnosis.experiment import run as run_experiments
from hpml.diagnosis.page import write_page
from hpml.diagnosis.wording import Diagnosis, compare
from hpml.report.page import keep
from hpml.system import environment
from hpml.system.other_programs import warn_of_others
from hpml.training.build import end_processes
from hpml.trials.profile import profile

log = logging.getLogger("hpml")


Job = tuple[DictConfig, Sequence[str]]  # and its overrides


def run(jobs: Mapping[str, Job], file: Path) -> dict[str, Diagnosis]:
    """Diagnoses one or two jobs, by name; keeps what they show, with a profile of the first one."""
    with ExitStack() as stack:
        stack.callback(end_processes)
        experiments = {}
        for name, (cfg, overrides) in jobs.items():
            experiments[name] = experiment_of(cfg, overrides, log.info)
            stack.enter_context(experiments[name].subject.agreement)
            stack.callback(experiments[name].subject.close)
        every = list(experiments.values())
        subject = every[0].subject
        if environment.is_one_of_several() and subject.agreement.rank == 0:  # all have begun
            warn_of_others(subject.witness)
        diagnoses = dict(zip(experiments, run_experiments(every), strict=True))
        for name, diagnosis in diagnoses.items():
            log.info("\n".join([*([f"\n{name}"] if name else []), *diagnosis.lines]))
        sentences: list[str] = []
        if len(diagnoses) > 1:
            (a, first), (b, second) = diagnoses.items()
            sentences = compare(first, second, (a, b))
            log.info("\n".join(["", *sentences]))
        content = {
            "command": command_line.typed(),
            "environment": environment.describe(subject.device.type),
            "diagnoses": {name: diagnosis.as_dict() for name, diagnosis in diagnoses.items()},
            "comparison": sentences,
        }
        if subject.agreement.rank == 0:
            keep(content, file, write_page, log.info)
        if kind := next(iter(jobs.values()))[0].trainer.profiler:
            for profiled in profile(subject, kind, file.parent.resolve()):
                log.info(f"{kind} profile: {profiled}")
        return diagnoses
