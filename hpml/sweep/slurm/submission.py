"""The submission of a sweep's jobs to SLURM: the parameters that it may have, and the array."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hpml.errors import UserError, first_line


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """Raises UserError for parameters of hydra-submitit-launcher that a sweep cannot have."""
    for key in ("nodes", "tasks_per_node"):
        if parameters[key] != 1:
            raise UserError(
                f"hydra.launcher.{key}={parameters[key]}: a job of a sweep is one task, which "
                "starts the processes of trainer.devices itself"
            )
    leasts = {"timeout_min": 1, "array_parallelism": 1, "max_num_timeout": 0, "signal_delay_s": 1}
    for key, least in leasts.items():
        value, most_s = parameters[key], 60 * parameters["timeout_min"] - 1
        if value < least or (key == "signal_delay_s" and value > most_s):
            end = f" and at most {most_s}, the job's time" if key == "signal_delay_s" else ""
            raise UserError(f"hydra.launcher.{key}={value}: must be at least {least}{end}")


def submitting(parameters: Mapping[str, Any]) -> Callable[[Sequence[Any]], list[str]]:
    """A function that submits calls as one array, by the parameters of hydra-submitit-launcher.

    Raises UserError where the extra is missing, and what submitit or sbatch says of them.
    """
    try:
        import submitit
        from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf
    except ImportError as error:
        raise UserError("hydra/launcher=slurm: pip install 'hpml[slurm]'") from error
    general = BaseQueueConf.__dataclass_fields__.keys()
    settings = {
        key if key in general else f"slurm_{key}": value
        for key, value in parameters.items()
        if value is not None and key not in ("submitit_folder", "max_num_timeout")
    }
    folder, timeouts = parameters["submitit_folder"], parameters["max_num_timeout"]
    try:
        executor = submitit.AutoExecutor(folder, cluster="slurm", slurm_max_num_timeout=timeouts)
        executor.update_parameters(**settings)
    except (RuntimeError, ValueError, NameError) as error:
        raise UserError(f"hydra/launcher=slurm: {error}") from error

    def submit(calls: Sequence[Any]) -> list[str]:
        try:
            with executor.batch():
                jobs = [executor.submit(call) for call in calls]
        except submitit.core.utils.FailedJobError as error:  # sbatch said no
            message = first_line(error).removeprefix("sbatch: error: ")
            raise UserError(f"hydra.launcher: {message}") from error
        return [job.job_id for job in jobs]

    return submit
