"""DenseNet: every layer sees the maps of all layers before it, and adds a few of its own.

    x_k = [x_{k-1}, layer_k(x_{k-1})]      joined along the channels, `growth` new ones each

Source: Huang, Liu, van der Maaten and Weinberger, "Densely connected convolutional networks", 2017;
these are its DenseNet-BC. Layers are called as in torchvision:
`features.denseblock1.denselayer1.conv1`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from kiso import nn, ops
from kiso.models.base import Card, Chain, Large, Net, Size, is_small, net, scaled
from kiso.ops import Value
from kiso.text import tr

__all__ = ["DenseLayer", "DenseNet", "densenet121", "densenet169", "densenet201"]

ERRORS = {121: "25.02", 169: "23.80", 201: "22.58"}  # % top-1, table 3, one crop
GROWTH = 32
BOTTLENECK = 4  # a 1x1 brings the many channels to so many times the growth


class DenseLayer(Chain):
    """y = [x, conv3x3(relu(bn(conv1x1(relu(bn(x))))))]:  (N, C, H, W) -> (N, C + growth, H, W)"""

    def __init__(self, c: int, growth: int):
        self.norm1 = nn.BatchNorm2d(c)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(c, BOTTLENECK * growth, 1, bias=False, init="he_normal")
        self.norm2 = nn.BatchNorm2d(BOTTLENECK * growth)
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(BOTTLENECK * growth, growth, 3, padding=1, bias=False,
                               init="he_normal")

    def forward(self, x: Value) -> Value:
        """(N, C, H, W) -> (N, C + growth, H, W)"""
        return ops.concat([x, super().forward(x)], 1)


class DenseBlock(Chain):
    """Layers `denselayer1`, `denselayer2`, ..."""

    def __init__(self, layers: int, c: int, growth: int):
        for i in range(layers):
            setattr(self, f"denselayer{i + 1}", DenseLayer(c + i * growth, growth))


class Transition(Chain):
    """Half the channels by a 1x1 convolution, half the map by a mean."""

    def __init__(self, c: int):
        self.norm = nn.BatchNorm2d(c)
        self.relu = nn.ReLU()
        self.conv = nn.Conv2d(c, c // 2, 1, bias=False, init="he_normal")
        self.pool = nn.AvgPool2d(2)


class Features(Chain):
    """All of a DenseNet up to its last norm; `channels` come out."""

    channels: int

    def __init__(self, counts: Sequence[int], in_channels: int, width: float, small: bool):
        growth = scaled(GROWTH, width)
        c = 2 * growth
        kernel, stride = (3, 1) if small else (7, 2)
        self.conv0 = nn.Conv2d(in_channels, c, kernel, stride, padding=kernel // 2, bias=False,
                               init="he_normal")
        self.norm0 = nn.BatchNorm2d(c)
        self.relu0 = nn.ReLU()
        self.pool0 = nn.Identity() if small else nn.MaxPool2d(3, 2, 1)
        for i, layers in enumerate(counts):
            if i:
                setattr(self, f"transition{i}", Transition(c))
                c //= 2
            setattr(self, f"denseblock{i + 1}", DenseBlock(layers, c, growth))
            c += layers * growth
        self.norm5 = nn.BatchNorm2d(c)
        self.channels = c


class DenseNet(Net):
    """First convolution, dense blocks with transitions between, mean of each map, one dense
    layer.  (N, in_channels, H, W) -> (N, num_classes)

    `counts` are the layers of each block. `small`: the first convolution is 3x3 with stride 1, and
    no pooling follows.
    """

    def __init__(self, counts: Sequence[int], num_classes: int, in_channels: int = 3,
                 input_size: Size = 224, width: float = 1.0, small: bool | None = None):
        self.small = is_small(input_size, small)
        self.features = Features(counts, in_channels, width, self.small)
        self.relu = nn.ReLU()
        self.avgpool = nn.GlobalAvgPool()
        self.classifier = nn.Linear(self.features.channels, num_classes)


def card(name: str) -> Card:
    """The family's card."""
    depth = int(name.removeprefix("densenet"))
    return Card(
        2017, "Huang, Liu, van der Maaten, Weinberger: Densely connected convolutional networks, "
        "CVPR 2017",
        tr("Classes of photographs (ImageNet, 1000 classes)."),
        tr("7x7 convolution with stride 2, 3x3 pooling, four blocks of 1x1 and 3x3 convolutions "
           "whose every layer adds {growth} channels to all before; between blocks half the "
           "channels and half the map.", growth=GROWTH),
        tr("{error} % top-1 error on ImageNet (validation, one crop)", error=ERRORS[depth]),
        differences=(
            tr("small images (below {size} pixels): 3x3 with stride 1 and no pooling at the "
               "beginning", size=64),), recipe="densenet")


@net(card)
def densenet121(num_classes: int = 1000, **options: Unpack[Large]) -> DenseNet:
    """DenseNet-121: blocks of 6, 12, 24 and 16 layers."""
    return DenseNet((6, 12, 24, 16), num_classes, **options)


@net(card)
def densenet169(num_classes: int = 1000, **options: Unpack[Large]) -> DenseNet:
    """DenseNet-169: blocks of 6, 12, 32 and 32 layers."""
    return DenseNet((6, 12, 32, 32), num_classes, **options)


@net(card)
def densenet201(num_classes: int = 1000, **options: Unpack[Large]) -> DenseNet:
    """DenseNet-201: blocks of 6, 12, 48 and 32 layers."""
    return DenseNet((6, 12, 48, 32), num_classes, **options)
