"""The launcher of `-m`: checks all jobs before the first, names their folders, shows a table."""

import logging
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus, configure_log, setup_globals
from omegaconf import DictConfig

from hpml.config import check, has_curves, refuse_lists
from hpml.errors import UserError
from hpml.interrupt import Interrupted

log = logging.getLogger("hpml")


class SweepLauncher(BasicLauncher):
    """Runs a sweep's jobs one after the other; a failed one does not keep the next from running.

    Raises UserError before the first job if any of them has a value that is not allowed, and ends
    the program with exit code 1 after the last if one has failed. Each
    job's folder is named by what varies (`optimizer=adam,seed=1`).
    """

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Checks all, runs all, and prints the table of what is in the sweep's folder."""
        from hpml.report.sweep_table import print_table

        assert self.hydra_context is not None
        assert self.config is not None
        if not job_overrides:
            raise UserError("the sweep has no jobs: one of its ranges is empty")
        names = job_names(job_overrides, initial_job_idx)
        directory = Path(str(self.config.hydra.sweep.dir))
        curves = ""
        for name, overrides in zip(names, job_overrides, strict=True):
            loader = self.hydra_context.config_loader
            job = loader.load_sweep_config(self.config, list(overrides))
            if has_curves(job):
                curves = f"; curves: tensorboard --logdir {shlex.quote(str(directory))}"
            try:
                refuse_lists(overrides)
                check(job)
                _one_process(job)
            except UserError as error:
                raise UserError(f"{error} (job {name}; no job was started)") from error
        results: list[JobReturn] = []
        for offset, (name, overrides) in enumerate(zip(names, job_overrides, strict=True)):
            setup_globals()
            configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
            log.info(f"\njob {offset + 1} of {len(names)}: {name}")
            in_its_folder = [*overrides, f"hydra.sweep.subdir='{name}'"]
            try:
                results += super().launch([in_its_folder], initial_job_idx + offset)
            except Interrupted:
                print_table([directory])
                raise
            except OSError as error:  # of the files that Hydra writes, on a full disk say
                log.error(f"failed: {error.filename or directory}: {error.strerror}")  # noqa: TRY400
                results.append(JobReturn(status=JobStatus.FAILED))
        print_table([directory])
        log.info(f"sweep: {directory}{curves}")
        failed = [
            name
            for name, result in zip(names, results, strict=True)
            if result.status == JobStatus.FAILED
        ]
        if failed:
            # Returned, Hydra would raise the first failure and keep silent about the others.
            log.error(f"failed: {len(failed)} of {len(names)} jobs: {', '.join(failed)}")
            sys.exit(1)
        return results


def _one_process(job: DictConfig) -> None:
    """Refuses several processes: Lightning would start the whole sweep again in each of them."""
    for key, most in (("devices", (1, "1", "auto", [0], "0,")), ("num_nodes", (1,))):
        if job.trainer.get(key, 1) not in most:
            raise UserError(
                f"trainer.{key}={job.trainer[key]}: a sweep's jobs train in one process each; "
                "run this one alone, without -m"
            )


def job_names(job_overrides: Sequence[Sequence[str]], first_index: int) -> list[str]:
    """The name of each job's folder: the overrides in which the jobs differ.

    A job's number where nothing varies, or where the names would not tell the jobs apart.
    """
    jobs = [
        {
            override.key_or_group: override.input_line or ""
            for override in OverridesParser.create().parse_overrides(list(overrides))
        }
        for overrides in job_overrides
    ]
    keys = list(dict.fromkeys(key for job in jobs for key in job))
    varying = [key for key in keys if len({job.get(key) for job in jobs}) > 1]
    names = [_as_folder(",".join(job[key] for key in varying if key in job)) for job in jobs]
    if "" in names or len(set(names)) < len(names):
        return [str(first_index + offset) for offset in range(len(jobs))]
    return names


def _as_folder(name: str) -> str:
    """A name with nothing in it that a folder's name cannot hold on some system, nor too long."""
    return re.sub(r"[^A-Za-z0-9=,.+\[\]~-]", "_", name)[:200]
