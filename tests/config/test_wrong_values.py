"""Wrong input of many kinds, each with the one line that answers it; none is composed twice."""

from collections.abc import Callable
from functools import cache

import pytest
from helpers.configurations import composed
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from hpml.config.checks import check, unused_keys
from hpml.errors import UserError

PARSER = OverridesParser.create()
PIXELS = "pixels are between 0 and 1: divide what is of 0 to 255 by 255"
BETAS = "a list of 2, each a number of at least 0 and below 1"
COLOURS = "a list of 3, each an integer of at least 0 and below 256 or null"
BATCHES = "a number of at least 0, above 1 a whole one"
INTERVAL = "a part of an epoch, above 0 and below 1, a whole number of batches, a time, or null"
# what is given, with the options that it needs, and what is said of it: an error
REFUSED = {
    # another type
    "data.batch_size=64.0": "give an integer of at least 1",
    "data.num_workers=auto": "give an integer of at least 0",
    "data.mean=0.5": f"give a list of 3, each a number of at least 0 and at most 1; {PIXELS}",
    "data.background=white": f"give {COLOURS}",
    "data.train_samples=0.5": "give an integer of at least 1 or null",
    "data.root=null": "give a text",
    "seed=abc": "give an integer of at least 0 and below 4294967296",
    "timing.sync=1": "give true or false",
    "optimizer=adam optimizer.betas=0.9": f"give {BETAS}",
    "model=small model.num_classes=ten": "give an integer of at least 2 or null",
    "trainer.devices=1.5": "give an integer of at least 1, or -1 for all",
    "trainer.fast_dev_run=0.5": "give true, false or an integer of at least 1",
    # out of range
    "data.val_split=10": "give a number of at least 0 and below 1",
    "data.image_size=4": "give an integer of at least 8 or null",
    "data.timeout_s=0": "give a number above 0 or null",
    "data.background=[0,0,256]": f"give {COLOURS}",
    "optimizer.lr=0": "give a number above 0 and below 3e+38",
    "optimizer.momentum=1": "give a number of at least 0 and below 1",
    "label_smoothing=1.0": "give a number of at least 0 and below 1",
    "trainer.devices=0": "give an integer of at least 1, or -1 for all",
    "trainer.limit_val_batches=1.5": f"give {BATCHES} or null",
    "trainer.overfit_batches=-1": f"give {BATCHES}",
    "trainer.val_check_interval=1.5": f"give {INTERVAL}",
    "trainer.val_check_interval=0": f"give {INTERVAL}",
    "cpu.threads=0": "give an integer of at least 1 or auto",
    "checkpoint.every_s=0": "give a number above 0 or null",
    "sweep.timeout_s=-5": "give a number above 0 or null",
    "scheduler=one_cycle scheduler.pct_start=1": "give a number above 0 and below 1",
    # a name that is none, or mistyped
    "device=cuda": "give one of auto, cpu, gpu, mps",
    "data.exif=rotate": "give one of apply, ignore",
    "cpu.wait=sleep": "give one of auto, brief, passive, spin",
    "sweep.order=random": "give one of auto, interleaved, given",
    "sweep.on_disturbance=ignore": "give one of mark, wait, rerun",
    "trainer.profiler=fast": "give one of simple, advanced, pytorch or null",
    "trainer.gradient_clip_algorithm=l2": "give one of norm, value or null",
    "scheduler=cosine scheduler.interval=batch": "give one of epoch, step",
    "data=synthetic data.encoded=png": "give one of none, jpeg",
}
# what contradicts, or has no effect: a warning
WARNED = {
    "trainer.max_epochs=2 trainer.min_epochs=5": "trainer.min_epochs=5 has no effect beyond "
    "trainer.max_epochs=2",
    "trainer.max_steps=10 trainer.min_steps=20": "trainer.min_steps=20 has no effect beyond "
    "trainer.max_steps=10",
    "trainer.max_epochs=5 trainer.check_val_every_n_epoch=10": (
        "trainer.check_val_every_n_epoch=10: no epoch of 5 is validated"
    ),
    "data.val_split=0.1 trainer.limit_val_batches=0": "data.val_split=0.1 only takes samples from "
    "training: trainer.limit_val_batches=0",
}
GROUPS = ("data", "model", "optimizer", "scheduler")


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], DictConfig]:
    """A configuration with some words: the options composed, the values set in a copy."""

    @cache
    def of_options(*options: str) -> DictConfig:
        words = [f"{name}={option}" for name, option in (word.split("=") for word in options)]
        return composed(tmp_path_factory.getbasetemp() / "run", "data=image_folder", *words)

    def configured(line: str) -> DictConfig:
        words = [PARSER.parse_override(word) for word in line.split()]
        options = [word.input_line for word in words if word.key_or_group in GROUPS]
        cfg = of_options(*options).copy()
        for word in words[len(options) :]:
            OmegaConf.update(cfg, word.key_or_group, word.value())
        return cfg

    return configured


@pytest.mark.parametrize(("line", "answer"), REFUSED.items())
def test_a_wrong_value_has_its_line(
    given: Callable[[str], DictConfig], line: str, answer: str
) -> None:
    """The key, the value and what is allowed, before anything is imported or read."""
    with pytest.raises(UserError) as caught:
        check(given(line))
    key, _, value = line.split()[-1].partition("=")
    assert str(caught.value).replace(", ", ",") == f"{key}={value}: {answer}".replace(", ", ",")


@pytest.mark.parametrize(("line", "sentence"), WARNED.items())
def test_what_contradicts_has_its_line(
    given: Callable[[str], DictConfig], line: str, sentence: str
) -> None:
    """A run can go by it, but not as it reads; without its last word nothing is said."""
    cfg = given(line)
    check(cfg)
    assert sentence in unused_keys(cfg)
    assert not [*unused_keys(given(line.rpartition(" ")[0]))]
