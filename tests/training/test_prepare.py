"""A job is prepared once, and is then what a run trains."""

from pathlib import Path

import pytest
import torch
from helpers.configurations import QUICK, Compose
from helpers.trained import trained

from hpml.system.threads import waiting
from hpml.train import train
from hpml.training.prepare import prepare


def test_it_gives_what_a_run_trains(tmp_path: Path) -> None:
    """The first weights and every batch, bit for bit."""
    run = trained(tmp_path, *QUICK, "trainer.max_epochs=1")
    job = prepare(run.cfg)
    weights = dict(job.module.state_dict())
    torch.testing.assert_close(weights, run.first_weights, rtol=0, atol=0)
    batches = [job.data.on_after_batch_transfer(b, 0) for b in job.data.train_dataloader()]
    torch.testing.assert_close(batches, run.batches, rtol=0, atol=0)
    assert job.names == {"data": "synthetic", "model": "small", "optimizer": "sgd"}
    assert (job.sizes["train"], job.sizes["test"]) == (96, 32)
    assert (job.device, job.is_ours) == ("cpu", True)


@pytest.mark.parametrize("has_bfloat16", [True, False])
def test_auto_device(compose: Compose, monkeypatch: pytest.MonkeyPatch, has_bfloat16: bool) -> None:
    """`auto` becomes a value that suits the device, the record has it, other values stay."""
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_bfloat16)
    cfg = compose(*QUICK, "experiment=fast", "compile=false", "trainer.max_steps=1")
    job = prepare(cfg)
    precision = "bf16-mixed" if has_bfloat16 else None
    ours = {"cpu.threads": torch.get_num_threads(), "cpu.wait": waiting()}
    assert job.chosen == {"trainer.precision": precision, "data.pipeline": "batched", **ours}
    assert job.cfg.trainer.precision == precision
    assert (job.cfg.compile, job.cfg.data.pipeline) == (False, "batched")
    assert (cfg.trainer.precision, cfg.data.pipeline) == ("auto", "auto")
    record = train(cfg)
    assert record.chosen == job.chosen
    assert record.config["trainer"]["precision"] == "auto"


def test_what_has_no_effect_is_named(compose: Compose, caplog: pytest.LogCaptureFixture) -> None:
    """Once, before anything is loaded."""
    prepare(compose(*QUICK, "data.pin_memory=true", "+own=foo"))
    pinned, own = sorted(record.getMessage() for record in caplog.records)
    assert own == "warning: own=foo has no effect: nothing in hpml reads it"
    assert pinned.startswith("warning: data.pin_memory=true has no")


def test_the_last_experiment_is_the_one_that_is_chosen(compose: Compose) -> None:
    """Hydra takes the last of several overrides; a list is one."""
    job = prepare(compose(*QUICK))
    chosen = {"experiment=cifar26 seed=1 experiment=demo": ("demo",), "optimizer=sgd": ()}
    chosen |= {"+experiment=[demo,fast]": ("demo", "fast")}
    assert {words: job.facts(words.split()).experiments for words in chosen} == chosen
