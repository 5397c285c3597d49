"""The launcher of `-m`: all jobs checked before the first, each run as a command of its own."""

import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, configure_log, setup_globals
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf, flag_override

from hpml.checkpointing import resume_choice
from hpml.cli.program import users_environment
from hpml.config.checks import checked, refuse_lists
from hpml.config.command_line import as_override, options, program
from hpml.config.conf import resolve
from hpml.config.fingerprint import code_of, fingerprint, key_of, targets
from hpml.errors import UserError
from hpml.formatting import counted
from hpml.records.run_record import RunRecord
from hpml.sweep.composing import Composer
from hpml.sweep.cost_model import CostModel, cost_key
from hpml.sweep.directory import SweepDirectory
from hpml.sweep.job_process import kill_processes_of
from hpml.sweep.jobs import Job, in_order, job_names, setting, varying_keys
from hpml.sweep.ledger import Ledger, check_directory
from hpml.sweep.reruns import RERUN, OnDisturbance, disturbance, settle_all
from hpml.sweep.runner import HowToRun, JobRunner, Runner
from hpml.sweep.sweeper import FailedJob, job_return, searches, swept_keys
from hpml.system import exit_codes
from hpml.system.environment import JOBS_AT_ONCE, SWEPT, probe_devices, visible_gpus

log = logging.getLogger("hpml")

# Hydra's own keys that a job is not given: they are about the sweep, or set for each job.
NOT_FOR_JOBS = (
    *("hydra.mode", "hydra.run.dir", "hydra.sweep.", "hydra.job.num"),
    *("hydra/launcher", "hydra.launcher", "hydra/sweeper", "hydra.sweeper"),
)
SHOWN = 20


class SweepLauncher:
    """Runs each job of a sweep as a command line of its own, one after the other.

    The directory of the sweep is its ledger: a job whose record is complete there does not run
    again. However a job dies, its record says so, and the others run.

    A launcher for another cluster derives from it, as `slurm/launcher.py` does. It gets its name
    in `hydra_plugins/hpml_launcher` and its keys in `conf/hydra/launcher/`.
    """

    def __init__(self, config: DictConfig, hydra_context: HydraContext) -> None:
        self.config = config
        self.directory = Path(str(config.hydra.sweep.dir))
        self._composer = Composer(hydra_context.config_loader, config)
        self._sweep_directory = SweepDirectory.among(hydra_context.callbacks.callbacks)
        self._searches = searches(config)
        self._seen: dict[tuple[str, ...], None] = {}  # a sweeper may come in batches
        with flag_override(config, "readonly", False):  # what `-m` adds is the sweep's alone
            config.hydra.overrides.hydra = self._of_hydra("hydra.mode")

    def launch(self, job_overrides: Sequence[Sequence[str]], first_number: int) -> list[JobReturn]:
        """Checks all jobs, runs those that are not complete, and returns what `monitor` names.

        To a sweeper that searches, a failed job is one, as `job_return` has it. Raises UserError
        before the first job, and RunInterrupted after a signal, when the running job has ended in
        order.
        """
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        self._seen |= dict.fromkeys(map(tuple, job_overrides))
        jobs, done, waiting, runner = self._plan(job_overrides, first_number)
        directory = self._sweep_directory
        if self.config.sweep.dry_run:
            directory.leave_as_it_was()
            if self._searches:
                log.info("and those that the sweeper asks for when it knows how these ended")
                sys.exit(exit_codes.COMPLETED)
            return []
        self._run(runner, waiting)
        earlier = {job: RunRecord.read(at) for job, at in done.items()}
        for job, record in earlier.items():
            self._note_disturbed(job, record)
        records = runner.records | earlier
        returns = [job_return(job, records.get(job), self._searches) for job in jobs]
        directory.values += sum(not isinstance(each, FailedJob) for each in returns)
        return returns

    def _plan(
        self, job_overrides: Sequence[Sequence[str]], first_number: int
    ) -> tuple[list[Job], dict[Job, Path], list[Job], JobRunner]:
        """A job for each of the overrides, and of these the directories of those that are complete,
        the others, and what will run them.
        """
        sweep = self.config.sweep
        swept = varying_keys(list(self._seen), swept_keys(self.config))
        for key in swept:
            if key.partition(".")[0] in ("sweep", "output_dir"):
                raise UserError(f"{key}: is one for the whole sweep; start one for each value")
        if not sweep.dry_run:
            self._end_leftovers()
        ledger = Ledger(self.directory, swept)
        every = self._jobs(job_overrides, first_number, ledger, swept)
        jobs = self._present(list(dict.fromkeys(every)))
        done = ledger.completed(jobs, sweep.on_code_change, self._config_of)
        on_disturbance = OnDisturbance(sweep.on_disturbance, sweep.max_wait_s, sweep.max_reruns)
        done = {job: at for job, at in done.items() if not on_disturbance.runs_again(job)}
        waiting = [job for job in in_order(jobs, sweep.order) if job not in done]
        for job in waiting:
            check_directory(job.directory)
        cost_model = CostModel()
        cost_model.learn_from_earlier(Path(str(self.config.output_dir)).expanduser())
        for_all = {SWEPT: ",".join(swept), **users_environment()}
        slots = [{**slot, **for_all} for slot in self._slots(waiting)]
        how = HowToRun(
            *(self._command, self._config_of, slots, sweep.timeout_s, sweep.fail_fast),
            on_disturbance=on_disturbance,
        )
        complete = f", {len(done)} of them complete" if done else ""
        expected = self._expected(waiting, cost_model, len(slots))
        log.info(f"sweep {self.directory}: {counted(len(jobs), 'job')}{complete}{expected}")
        if sweep.dry_run:
            for job in waiting[:SHOWN]:
                log.info(f"  {job.name}")
            if len(waiting) > SHOWN:
                log.info(f"  … and {len(waiting) - SHOWN} more")
        return every, done, waiting, self._runner(how, cost_model, first_number + len(done))

    def _runner(self, how: HowToRun, cost_model: CostModel, done: int) -> JobRunner:
        return Runner(how, cost_model, done)

    def _run(self, runner: JobRunner, waiting: Sequence[Job]) -> None:
        directory = self._sweep_directory
        directory.has_begun = True
        try:
            runner.run(waiting)
        finally:
            directory.failed_jobs += [job.name for job in runner.failed]
            for job, record in runner.records.items():
                self._note_disturbed(job, record)
        if runner.failed and self.config.sweep.fail_fast:
            sys.exit(directory.conclude(self.config))

    def _note_disturbed(self, job: Job, record: RunRecord) -> None:
        if record.status != "completed":
            return
        if (seen := disturbance(record)) is not None:
            self._sweep_directory.disturbed_jobs[job.name] = seen

    def _end_leftovers(self) -> None:
        """Ends the jobs of a launcher that was killed."""
        kill_processes_of(self.directory)
        settle_all(self.directory)

    def _jobs(
        self,
        job_overrides: Sequence[Sequence[str]],
        first_number: int,
        ledger: Ledger,
        swept: Sequence[str],
    ) -> list[Job]:
        """A job for each of the overrides; a sweeper that searches may ask for one twice."""
        if not job_overrides:
            raise UserError("the sweep has no jobs: one of its ranges is empty")
        # with those of the batches before, whose names are taken
        names = dict(zip(self._seen, job_names(list(self._seen), swept), strict=True))
        code_once = cache(code_of)  # half the work, and the same for nearly all jobs
        jobs: list[Job] = []
        for offset in self._composer.by_kind(job_overrides):
            overrides = job_overrides[offset]
            name = names[tuple(overrides)]
            try:
                refuse_lists(overrides, sweeps=True)
                config = checked(self._composer.compose(overrides, first_number + offset))
                resume_choice.check(config["resume"], config["evaluate"])
            except UserError as error:
                begun = (
                    "the sweep ends" if self._sweep_directory.has_begun else "no job was started"
                )
                raise UserError(f"{error} (job {name}; {begun})") from error
            max_epochs = config["trainer"]["max_epochs"] or 0
            jobs.append(
                Job(
                    number=first_number + offset,
                    name=name,
                    overrides=tuple(overrides),
                    setting=setting(overrides),
                    directory=Path(),  # which all of them together decide
                    fingerprint=fingerprint(config),
                    code_fingerprint=code_once(targets(config)),
                    cost_key=cost_key(config),
                    device=config["device"],
                    processes=config["trainer"]["devices"],
                    epochs=max_epochs if max_epochs > 0 else None,
                    monitor=config["monitor"],
                    would_sweep=HydraConfig.get().mode == RunMode.MULTIRUN,
                )
            )
        jobs.sort(key=attrgetter("number"))
        identities = [ledger.identity(job.fingerprint, job.overrides) for job in jobs]
        by_identity = dict(zip(identities, jobs, strict=True))
        if len(by_identity) < len(jobs) and not self._searches:
            raise UserError("two jobs of the sweep are the same; give each value once")
        directories = ledger.directories({i: job.name for i, job in by_identity.items()})
        placed = {i: replace(job, directory=directories[i]) for i, job in by_identity.items()}
        return [placed[identity] for identity in identities]

    def _config_of(self, job: Job) -> dict[str, Any]:
        config = resolve(self._composer.compose(job.overrides, job.number))
        return config | {"run_dir": str(job.directory.resolve())}

    def _present(self, jobs: list[Job]) -> list[Job]:
        """The jobs without those for a device that is not here, if the sweep wants that."""
        if not self.config.sweep.skip_missing_devices:
            return jobs
        there = {"auto", "cpu", *probe_devices()}
        for job in jobs:
            if job.device not in there:
                log.info(f"skipped: {job.name}: PyTorch sees no such device here")
        if present := [job for job in jobs if job.device in there]:
            return present
        raise UserError("sweep.skip_missing_devices=true: none of the devices is here")

    def _slots(self, jobs: Sequence[Job]) -> list[Mapping[str, str]]:
        """The environment of each job that runs at a time: one, or one on each GPU."""
        if self.config.sweep.parallel is None:
            return [{}]
        if self.config.sweep.on_disturbance == RERUN:
            jobs_beside = "the jobs disturb each other"
            raise UserError(f"sweep.on_disturbance=rerun: not with sweep.parallel: {jobs_beside}")
        for job in jobs:
            if job.device in ("cpu", "mps"):
                raise UserError(f"sweep.parallel=gpus: {job.name} has device={job.device}")
            if job.processes not in (1, "1"):
                raise UserError(
                    f"sweep.parallel=gpus: a job has one GPU, but {job.name} asks for "
                    f"trainer.devices={job.processes}"
                )
        gpus = visible_gpus()[: max(1, len(jobs))]
        if not gpus:
            raise UserError("sweep.parallel=gpus: PyTorch sees no GPU here")
        return [{"CUDA_VISIBLE_DEVICES": gpu, JOBS_AT_ONCE: str(len(gpus))} for gpu in gpus]

    def _expected(self, waiting: Sequence[Job], cost_model: CostModel, at_once: int) -> str:
        """How long the jobs take, where it is known."""
        cost = cost_model.in_words(waiting, at_once)
        if cost is not None:
            return f"; {cost} for those to come, as earlier runs here say"
        return "; how long they take shows after the first" if waiting else ""

    def _of_hydra(self, *left_out: str) -> list[str]:
        """Overrides of Hydra's own keys, without those whose keys begin so."""
        words: Any = OmegaConf.to_container(self.config.hydra.overrides.hydra, resolve=False)
        return [word for word in words if not key_of(word).startswith(left_out)]

    def _command(self, job: Job) -> list[str]:
        """A single run's command line; Lightning starts it again in each of several processes."""
        of_hydra = self._of_hydra(*NOT_FOR_JOBS)
        mine = [word for word in job.overrides if key_of(word) != "sweep.name"]
        one_run = ["hydra.mode=RUN"] if job.would_sweep else []
        return [
            *(sys.executable, *program(), *options(sys.argv[1:]), *of_hydra, *mine, *one_run),
            f"hydra.job.num={job.number}",
            as_override("hydra.run.dir", str(job.directory)),
            as_override("sweep.name", str(self.config.sweep.name)),
        ]
