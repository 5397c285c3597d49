import re
from pathlib import Path

import pytest
import torch
from helpers.configurations import TESTS
from helpers.pipelines import batches, make_data, same
from helpers.programs import run_program


@pytest.mark.parametrize("encoded", ["none", "jpeg"])
def test_all_pipelines_give_the_same_bits(encoded: str) -> None:
    """per_sample, batched and device differ in speed alone."""
    reference = batches(make_data(pipeline="batched", encoded=encoded))
    assert len(reference) == 10
    assert reference[0][0].dtype == torch.float32
    assert reference[0][0].shape == (16, 3, 12, 12)
    for pipeline in ("per_sample", "device"):
        assert same(reference, batches(make_data(pipeline=pipeline, encoded=encoded)))


@pytest.mark.parametrize("persistent_workers", [True, False])
@pytest.mark.parametrize("pipeline", ["per_sample", "batched"])
def test_workers_change_nothing(pipeline: str, persistent_workers: bool) -> None:
    """0, 1, 2 and 4 workers give the same batches over epochs, whether or not they live on."""
    reference = batches(make_data(pipeline=pipeline))
    for num_workers in (1, 2, 4):
        lives_on = {"num_workers": num_workers, "persistent_workers": persistent_workers}
        assert same(reference, batches(make_data(pipeline=pipeline, **lives_on))), num_workers


@pytest.mark.slow
def test_spawned_workers_give_the_same_batches(tmp_path: Path) -> None:
    """Where processes are spawned, as on macOS and Windows, nothing differs."""
    program = tmp_path / "program.py"
    program.write_text("""
import multiprocessing
if __name__ == "__main__":
    from helpers.pipelines import batches, make_data, same
    reference = batches(make_data())
    multiprocessing.set_start_method("spawn")
    assert same(reference, batches(make_data(num_workers=2, persistent_workers=True)))
    print("the same")
""")
    done = run_program([str(program)], tmp_path, PYTHONPATH=str(TESTS))
    assert done.stdout.strip() == "the same", done.stderr


def test_what_seeds_change() -> None:
    """Other order and crops of the same samples; nothing is drawn from torch's global stream."""
    data = batches(make_data())
    assert not same(data[:5], data[5:])
    assert not same(data, batches(make_data(seed=1)))
    one, other = (make_data(seed=seed, val_split=0.5) for seed in (0, 1))
    assert (one.train.indices == other.train.indices).all()
    torch.manual_seed(0)
    before = torch.get_rng_state()
    batches(make_data(num_workers=1))
    assert torch.equal(before, torch.get_rng_state())


def test_validation_is_not_augmented() -> None:
    """It has its own order, without crop or flip; `augment=False` shuffles and nothing else."""
    for pipeline in ("per_sample", "batched", "device"):
        data = make_data(val_split=0.25, pipeline=pipeline)
        assert (len(data.train), len(data.val)) == (60, 20)
        assert not set(data.train.indices) & set(data.val.indices)
        images = torch.cat([data.on_after_batch_transfer(b, 0)[0] for b in data.val_dataloader()])
        pixels = data.val.source.fetch(data.val.indices)
        expected = (torch.from_numpy(pixels).float() / 255 - 0.5) / 0.25
        assert torch.equal(images, expected)
    data = make_data(augment=False)
    seen = torch.cat([images for images, _ in batches(data, epochs=1)])
    pixels = torch.from_numpy(data.train.source.fetch(data.train.indices)).float()
    expected = (pixels / 255 - 0.5) / 0.25
    assert torch.equal(seen.flatten(1).sort(dim=0).values, expected.flatten(1).sort(dim=0).values)


def test_too_many_workers_are_one_line(tmp_path: Path) -> None:
    """Of torch's paragraph and Lightning's hints nothing is left."""
    program = tmp_path / "program.py"
    program.write_text("""
import logging
from helpers.pipelines import batches, make_data
logging.basicConfig(format="%(message)s")
batches(make_data(num_workers=9, train_samples=16), epochs=1)
""")
    done = run_program([str(program)], tmp_path, PYTHONPATH=str(TESTS))
    assert re.fullmatch(r"warning: data.num_workers=9 on \d+ usable cores\n", done.stderr)
