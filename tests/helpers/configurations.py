"""Configurations that tests share."""

from collections.abc import Callable
from pathlib import Path

from omegaconf import DictConfig

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
Compose = Callable[..., DictConfig]

TINY = (
    "data=synthetic",
    "model=small",
    "device=cpu",
    "data.train_samples=96",
    "data.test_samples=32",
    "data.batch_size=32",
    "trainer.max_epochs=2",
    "callbacks=none",
)
