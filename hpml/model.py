"""The networks: ResNet-18 for small images, with or without normalisation, and a small one."""

import copy
import re
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import resnet

Init = Literal["torch", "torchvision"]


def resnet18(num_classes: int, norm: bool = True, init: Init = "torch") -> nn.Module:
    """torchvision's ResNet-18 with a stem for small images: 3×3, stride 1, no max-pool.

    Takes float images of shape (N, 3, H, W), H and W at least 8, and gives logits of shape
    (N, num_classes). With 10 classes it has 11,173,962 parameters, 11,164,362 without
    normalisation.

    `init="torch"` draws each layer's weights from torch's default for it, as the widely copied
    CIFAR networks do; `init="torchvision"` from Kaiming's normal distribution over the fan-out.
    They differ much without normalisation: the gradient's norm at the start is about 0.2 with
    the first, 4 to 8 with the second.

    Source: He et al., Deep Residual Learning for Image Recognition, arXiv:1512.03385.
    """
    network = resnet.resnet18(
        num_classes=num_classes, norm_layer=nn.BatchNorm2d if norm else _no_norm
    )
    network.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
    network.maxpool = nn.Identity()
    if init == "torch":
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.reset_parameters()
    else:
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    return network


def _no_norm(channels: int) -> nn.Module:
    return nn.Identity()


def small(num_classes: int, width: int = 16) -> nn.Module:
    """Five 3×3 convolutions, of which the middle three halve the image; 246,682 parameters.

    Takes float images of shape (N, 3, H, W) and gives logits of shape (N, num_classes). The first
    layer has `width` channels. A step is so cheap on a CPU (about 13 MFLOP a 32×32 sample forward)
    that loading can matter; with a width of 4 it does.
    """
    ends = [width * factor for factor in (1, 2, 4, 8, 8)]
    channels = zip([3, *ends], ends, (1, 2, 2, 2, 1), strict=False)
    return nn.Sequential(
        *(
            nn.Sequential(
                nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(inplace=True),
            )
            for inputs, outputs, stride in channels
        ),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(ends[-1], num_classes),
    )


def describe(module: nn.Module, name: str) -> dict[str, Any]:
    """The record's `model`: what is counted without running the network."""
    return {
        "name": name,
        "conv_layers": sum(count_convolutions(module)),
        "linear_in_features": last_linear_inputs(module),
        "trainable_parameters": count_trainable(module),
        "gradients": None,
        "flops_per_sample": None,
    }


# `python -m hpml.summary` prints the next four as they stand here.
def count_convolutions(network: nn.Module) -> tuple[int, int]:
    """Convolutions on the main path, and on shortcuts, which are told by their names."""
    convolution = nn.modules.conv._ConvNd
    names = [name for name, layer in network.named_modules() if isinstance(layer, convolution)]
    shortcuts = [name for name in names if re.search("downsample|shortcut|skip", name)]
    return len(names) - len(shortcuts), len(shortcuts)


def last_linear_inputs(network: nn.Module) -> int | None:
    """Input features of the last linear layer, if there is one."""
    inputs = [layer.in_features for layer in network.modules() if isinstance(layer, nn.Linear)]
    return inputs[-1] if inputs else None


def count_trainable(network: nn.Module) -> int:
    """Elements of the parameters that are trained; those of a lazy layer once they are made."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return sum(parameter.numel() for parameter in trained if not is_lazy(parameter))


def count_gradients(network: nn.Module) -> tuple[int, int]:
    """After a backward pass: elements of the gradients, and how many of them are not zero."""
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    return sum(g.numel() for g in gradients), sum(int(g.count_nonzero()) for g in gradients)


def flops_per_sample(network: nn.Module, image_shape: tuple[int, int, int]) -> float:
    """Floating-point operations of one sample's forward and backward pass, by torch's counter.

    A copy of the network runs on torch's meta device: nothing is computed, and no state changes.
    """
    tensors = [one for one in (*network.parameters(), *network.buffers()) if not is_lazy(one)]
    # to copy their values takes half of the time, of a ResNet-18
    on_meta = copy.deepcopy(network, {id(one): _on_meta(one) for one in tensors}).to("meta")
    images = torch.empty(2, *image_shape, device="meta")  # normalisation wants more than one
    with torch.random.fork_rng(devices=[]), FlopCounterMode(display=False) as counter:
        on_meta(images).sum().backward()
    return counter.get_total_flops() / 2


def _on_meta(tensor: torch.Tensor) -> torch.Tensor:
    """A parameter or a buffer without its values."""
    without_values = tensor.detach().to("meta")
    if not isinstance(tensor, nn.Parameter):
        return without_values
    return nn.Parameter(without_values, tensor.requires_grad)
