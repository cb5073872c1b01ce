"""A net for pictures of 32 x 32 pixels that learns much in a short time.

    first 3x3 convolution, then three blocks: half the map, more channels, one residual

    block:  h = relu(bn(pool(conv(x)))),   y = h + relu(bn(conv(h)))

All that costs time is a 3x3 convolution with 64 channels or more on maps of at least 8 x 8, which
Winograd's form makes cheap. The norm stands behind the pooling, where there is a quarter as much to
norm, and few layers work on the full map. Kiso's own, after Page, "How to train your ResNet", 2018,
and Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024.
"""

from __future__ import annotations

from typing import Unpack

from kiso import nn
from kiso.models.base import Card, Common, Net, Size, net, reached, scaled, sides
from kiso.ops import Value
from kiso.text import tr

__all__ = ["FastBlock", "FastNet", "fastnet"]

CIFAR = (3, 32, 32)
STEM = 32
CHANNELS = (64, 256, 256)
SCALE = 0.125  # of the scores: large first scores would be learnt away for some epochs


class FastBlock(nn.Module):
    """h = relu(bn(pool(conv(x)))), y = h + relu(bn(conv(h))):  (N, C, H, W) -> (N, channels, H / 2,
    W / 2); without `pool` the map keeps its size."""

    def __init__(self, c: int, channels: int, pool: bool):
        self.conv1 = nn.Conv2d(c, channels, 3, padding=1, bias=False, init="he_normal")
        self.pool = nn.MaxPool2d(2) if pool else nn.Identity()
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False, init="he_normal")
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu2 = nn.ReLU()

    def forward(self, x: Value) -> Value:
        """(N, C, H, W) -> (N, channels, H / 2, W / 2)"""
        h = self.relu1(self.bn1(self.pool(self.conv1(x))))
        return h + self.relu2(self.bn2(self.conv2(h)))


class Scale(nn.Module):
    """y = factor * x, nothing to learn."""

    factor: float

    def __init__(self, factor: float):
        self.factor = factor

    def forward(self, x: Value) -> Value:
        """Any shape."""
        return x * self.factor


class FastNet(Net):
    """First convolution, three blocks, the largest value of each map, one dense layer.

    (N, in_channels, *input_size) -> (N, num_classes). Where a map is too small for a pooling, it is
    left out.
    """

    def __init__(self, num_classes: int, in_channels: int = 3, input_size: Size = 32,
                 width: float = 1.0):
        c, smallest = scaled(STEM, width), min(sides(input_size))
        self.conv1 = nn.Conv2d(in_channels, c, 3, padding=1, bias=False, init="he_normal")
        self.bn1 = nn.BatchNorm2d(c)
        self.relu = nn.ReLU()
        blocks: list[nn.Module] = []
        for n in CHANNELS:
            blocks.append(FastBlock(c, scaled(n, width), smallest >= 2))
            c, smallest = scaled(n, width), max(1, smallest // 2)
        self.blocks = nn.Sequential(*blocks)
        self.maxpool = nn.GlobalMaxPool()
        self.fc = nn.Linear(c, num_classes, bias=False)
        self.scale = Scale(SCALE)


def card(name: str) -> Card:
    """The net's card."""
    return Card(
        0, "Kiso; Page: How to train your ResNet, 2018; Jordan: 94% on CIFAR-10 in 3.29 seconds on "
        "a single GPU, 2024",
        tr("Classes of small photographs (CIFAR-10, 32x32, 10 classes), learnt in minutes."),
        tr("3x3 convolution with {stem} channels; three blocks of two 3x3 convolutions with batch "
           "norm and ReLU, {channels} channels, the first halving the map, the second with a "
           "shortcut; the largest value of each map, one dense layer.", stem=STEM,
           channels=", ".join(map(str, CHANNELS))), measured=reached("89.53", "cifar10", 24))


@net(card, CIFAR)
def fastnet(num_classes: int = 10, **options: Unpack[Common]) -> FastNet:
    """Seven 3x3 convolutions for pictures of 32 x 32 pixels."""
    return FastNet(num_classes, **options)
