"""The subject of a configuration's own job."""

from omegaconf import DictConfig

from hpml.training.build import build_trainer
from hpml.training.prepare import prepare
from hpml.trials.subject import Subject


def subject_of(cfg: DictConfig) -> Subject:
    """What `hpml.train` would train, ready for trials.

    Raises UserError for wrong input, and whatever classes of the user's own raise.
    """
    job = prepare(cfg)
    return Subject(build_trainer(job.cfg), job.module, job.data)
