"""`python -m hpml.data [overrides]`: fetches a data set and checks every image, ahead of time."""

from omegaconf import DictConfig

from hpml.cli.program import run_hydra
from hpml.config.checks import check


def main() -> None:
    run_hydra(job, config_name="fetch")


def job(cfg: DictConfig) -> None:
    """Checks the configuration, then the data. Raises UserError."""
    check(cfg)
    from hpml.data.fetch import fetch

    fetch(cfg)


if __name__ == "__main__":
    main()
