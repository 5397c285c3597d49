import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import hpml.models
from hpml.config.conf import find_conf
from hpml.models.counts import count_trainable, flops_per_sample
from hpml.models.networks import resnet18, small


def test_resnet18_as_for_small_images() -> None:
    """The stem neither strides nor pools."""
    assert count_trainable(resnet18(10)) == 11_173_962
    assert count_trainable(resnet18(10, norm=False)) == 11_164_362
    network = resnet18(10)
    seen = []
    network.layer4.register_forward_hook(lambda _, __, output: seen.append(output.shape))
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    assert seen == [(2, 512, 4, 4)]


@pytest.mark.parametrize(("init", "least", "most"), [("torch", 0, 0.6), ("torchvision", 2, 16)])
def test_the_two_initialisations(init: str, least: float, most: float) -> None:
    """Without normalisation, torch's default starts near 0.2 and torchvision's between 2 and 16."""
    torch.manual_seed(0)
    network = resnet18(10, norm=False, init=init)
    images, labels = torch.randn(16, 3, 32, 32), torch.randint(10, (16,))
    F.cross_entropy(network(images), labels).backward()
    assert least < nn.utils.get_total_norm([each.grad for each in network.parameters()]) < most


@pytest.mark.parametrize("name", hpml.models.__all__)
def test_each_network_does_without_normalisation(name: str) -> None:
    """Nothing of it is left, all else stays."""
    make = getattr(hpml.models, name)
    kinds = [{type(module) for module in make(10, norm=norm).modules()} for norm in (True, False)]
    assert kinds[0] - kinds[1] == {nn.BatchNorm2d}
    assert not list(make(10, norm=False).buffers())
    assert make(10, norm=False)(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    assert (find_conf() / "model" / f"{name}_no_norm.yaml").is_file()


@pytest.mark.parametrize("size", [8, 32, 33])
def test_small_is_small_and_takes_any_size(size: int) -> None:
    """Any image of at least 8×8; normalisation has 736 of its parameters."""
    assert count_trainable(small(10)) == 246_682
    assert count_trainable(small(10, norm=False)) == 245_946
    network = small(7)
    assert network(torch.zeros(3, 3, size, size)).shape == (3, 7)


def test_resnet18_takes_3_329_gflop_a_sample() -> None:
    """Counting changes nothing; of what is not trained only the forward pass counts."""
    network = resnet18(10)
    before, drawn = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    assert flops_per_sample(network, (3, 32, 32)) / 1e9 == pytest.approx(3.329, abs=5e-4)
    assert torch.equal(torch.get_rng_state(), drawn)
    torch.testing.assert_close(network.state_dict(), before, rtol=0, atol=0)
    assert all(parameter.grad is None for parameter in network.parameters())
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8))
    network[0].requires_grad_(False)
    assert flops_per_sample(network, (3, 8, 8)) == 2 * 6 * 6 * 8 * 3 * 3 * 3
    assert not any(parameter.is_meta for parameter in network.parameters())
