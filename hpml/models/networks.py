"""The networks: ResNet-18 for small images and a small one, with or without normalisation."""

from typing import Literal

from torch import nn
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
    norm_layer = nn.BatchNorm2d if norm else nn.Identity
    network = resnet.resnet18(num_classes=num_classes, norm_layer=norm_layer)
    network.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
    network.maxpool = nn.Identity()
    if init == "torch":
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.reset_parameters()
    else:
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    return network


def small(num_classes: int, width: int = 16, norm: bool = True) -> nn.Module:
    """Five 3×3 convolutions, of which the middle three halve the image.

    With 10 classes it has 246,682 parameters, 245,946 without normalisation.

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
                nn.BatchNorm2d(outputs) if norm else nn.Identity(),
                nn.ReLU(inplace=True),
            )
            for inputs, outputs, stride in channels
        ),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(ends[-1], num_classes),
    )
