"""A net for pictures of 32 x 32 pixels that learns much in a short time.

    whitened 2x2 patches, GELU, then three blocks: half the map, more channels, one residual

    block:  h = gelu(bn(pool(conv(x)))),   y = h + gelu(bn(conv(h)))

All that costs time is a 3x3 convolution with 64 channels or more on maps of at least 4 x 4, which
Winograd's form makes cheap. The norm stands behind the pooling, where there is a quarter as much to
norm, and the only layer on the full map is not learnt: it needs no backward pass. Three things save
epochs: whitened patches (`nn.Whiten2d`), filters that pass their input on in the beginning
(`passing_on`), and norms that have a shift but no scale, learnt fast (the recipe's `factors`).
Kiso's own, after Page, "How to train your ResNet", 2018, and Jordan, "94% on CIFAR-10 in 3.29
seconds on a single GPU", 2024.
"""

from __future__ import annotations

from typing import Unpack

import numpy as np

from kiso import nn
from kiso.models.base import Card, Common, Net, Size, net, reached, scaled, sides
from kiso.nn.init import fans
from kiso.ops import Array, Shape, Value
from kiso.text import tr

__all__ = ["FastBlock", "FastNet", "fastnet", "passing_on"]

CIFAR = (3, 32, 32)
CHANNELS = (64, 256, 256)
SCALE = 1 / 9  # of the scores: large first scores would be learnt away for some epochs
EPS = 5e-4  # in whitening: pictures have variance 1
MOMENTUM = 0.4  # of the running statistics: a run has few steps


def passing_on(shape: Shape, rng: np.random.Generator) -> Array:
    """First weights (out, in, k, k): as many filters as there are channels pass one of them on, as
    PyTorch's `dirac_`; the others are U(-a, a), a = 1 / sqrt(fan_in). Signals and gradients go
    through all layers from the first step on.  Jordan 2024."""
    a = fans(shape)[0] ** -0.5
    w = nn.init.uniform(shape, rng, low=-a, high=a)
    passed = np.arange(min(shape[:2]))
    w[passed] = 0
    w[passed, passed, shape[2] // 2, shape[3] // 2] = 1
    return w


class Shift(nn.BatchNorm2d):
    """Batch norm that learns a shift alone; its scale stays 1: the next convolution has one."""

    def __init__(self, num_features: int):
        super().__init__(num_features, momentum=MOMENTUM)
        assert self.weight is not None
        self.weight.requires_grad = False


class FastBlock(nn.Module):
    """h = gelu(bn(pool(conv(x)))), y = h + gelu(bn(conv(h))):  (N, C, H, W) -> (N, channels, H / 2,
    W / 2), rounded up; without `pool` the map keeps its size."""

    def __init__(self, c: int, channels: int, pool: bool):
        self.conv1 = nn.Conv2d(c, channels, 3, padding=1, bias=False, init=passing_on)
        self.pool = nn.MaxPool2d(2, ceil_mode=True) if pool else nn.Identity()
        self.bn1 = Shift(channels)
        self.gelu1 = nn.GELU()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False, init=passing_on)
        self.bn2 = Shift(channels)
        self.gelu2 = nn.GELU()

    def forward(self, x: Value) -> Value:
        """(N, C, H, W) -> (N, channels, H / 2, W / 2)"""
        h = self.gelu1(self.bn1(self.pool(self.conv1(x))))
        return h + self.gelu2(self.bn2(self.conv2(h)))


class Scale(nn.Module):
    """y = factor * x, nothing to learn."""

    factor: float

    def __init__(self, factor: float):
        self.factor = factor

    def forward(self, x: Value) -> Value:
        """Any shape."""
        return x * self.factor


class FastNet(Net):
    """Whitened patches, three blocks, the largest value of each map, one dense layer.

    (N, in_channels, *input_size) -> (N, num_classes). Where a map is too small for a pooling, it is
    left out.
    """

    def __init__(self, num_classes: int, in_channels: int = 3, input_size: Size = 32,
                 width: float = 1.0):
        self.whiten = nn.Whiten2d(in_channels, eps=EPS)
        self.gelu = nn.GELU()
        c, smallest = 8 * in_channels, min(sides(input_size)) - 1
        blocks: list[nn.Module] = []
        for n in CHANNELS:
            blocks.append(FastBlock(c, scaled(n, width), smallest >= 2))
            c, smallest = scaled(n, width), (smallest + 1) // 2
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
        tr("Whitened 2x2 patches, not learnt; three blocks of two 3x3 convolutions with batch norm "
           "and GELU, {channels} channels, the first halving the map, the second with a shortcut; "
           "the largest value of each map, one dense layer.",
           channels=", ".join(map(str, CHANNELS))), measured=reached("90.64", "cifar10", 12))


@net(card, CIFAR)
def fastnet(num_classes: int = 10, **options: Unpack[Common]) -> FastNet:
    """Six 3x3 convolutions for pictures of 32 x 32 pixels, behind whitened patches."""
    return FastNet(num_classes, **options)
