"""ResNet: blocks that learn what to add to their input, so that depth does no harm.

A plain net of 56 layers trains worse than one of 20, though it could copy it: the degradation
problem. Where each block has a shortcut around it, depth helps again. Source: He, Zhang, Ren and
Sun, "Deep residual learning for image recognition", 2016; the plain twins are the paper's too.

Nets for 224 x 224 pixels have four stages and, where a stage changes the shape, a 1x1 convolution
as shortcut (option B); nets for 32 x 32 have three stages and shortcuts without parameters (option
A). Layers are called as in torchvision: `layer1.0.conv1`, `layer2.0.downsample.0`, `fc`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Unpack

import numpy as np

from kiso import nn, ops
from kiso.errors import ConfigError
from kiso.models.base import (
    Card,
    Common,
    Large,
    Net,
    Size,
    he_out,
    is_small,
    net,
    reached,
    scaled,
)
from kiso.nn.checks import choice
from kiso.ops import Value
from kiso.text import tr

__all__ = ["CIFAR", "BasicBlock", "Bottleneck", "LateBottleneck", "PlainBlock", "ResNet", "ZeroPad",
           "convolution", "plain18", "plain20", "plain32", "plain34", "plain44",
           "plain56", "plain110", "resnet18", "resnet20", "resnet32", "resnet34", "resnet44",
           "resnet50", "resnet56", "resnet101", "resnet110", "resnet152"]

CIFAR = (3, 32, 32)
SOURCE = "He, Zhang, Ren, Sun: Deep residual learning for image recognition, CVPR 2016"
# % error. Table 2 and 3, ten crops, top-1 on ImageNet (18 with shortcuts A, others B); table 6,
# CIFAR-10.
ERRORS = {"resnet18": 27.88, "resnet34": 24.52, "resnet50": 22.85, "resnet101": 21.75,
          "resnet152": 21.43, "plain18": 27.94, "plain34": 28.54, "resnet20": 8.75,
          "resnet32": 7.51, "resnet44": 7.17, "resnet56": 6.97, "resnet110": 6.43}
# % right on the test part, of which data, after how many epochs.
MEASURED = {"resnet20": ("90.39", "cifar10", 124), "resnet56": ("84.91", "cifar10", 15),
            "plain20": ("81.70", "cifar10", 15), "plain56": ("62.98", "cifar10", 15)}


class Options(Large, total=False):
    """shortcut: "A" pads with zeros, "B" is a 1x1 convolution where the shape changes.
    zero_gamma: each block starts as its shortcut alone (Goyal et al. 2017)."""

    shortcut: str
    zero_gamma: bool


class CifarOptions(Common, total=False):
    """As `Options`, for nets that are small anyway."""

    shortcut: str
    zero_gamma: bool


def convolution(c: int, channels: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """A convolution without bias that keeps the size, but for its stride."""
    return nn.Conv2d(c, channels, kernel, stride, padding=kernel // 2, bias=False, init=he_out)


class ZeroPad(nn.Module):
    """Shortcut A: every `stride`-th pixel, further channels 0; it has no parameters."""

    channels: int
    stride: int

    def __init__(self, channels: int, stride: int):
        self.channels = channels
        self.stride = stride

    def forward(self, x: Value) -> Value:
        """(N, C, H, W) -> (N, channels, H / stride, W / stride), rounded up"""
        x = x[:, :, ::self.stride, ::self.stride]
        return ops.pad(x, ((0, 0), (0, self.channels - ops.shape_of(x)[1]), (0, 0), (0, 0)))


class BasicBlock(nn.Module):
    """y = relu(bn(conv(relu(bn(conv(x))))) + shortcut(x)), both convolutions 3x3."""

    expansion: ClassVar[int] = 1

    def __init__(self, c: int, channels: int, stride: int):
        self.conv1 = convolution(c, channels, 3, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU()
        self.conv2 = convolution(channels, channels, 3)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample: nn.Module | None = None  # None: the input itself
        self.relu2 = nn.ReLU()

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        """The norm in front of the sum."""
        return self.bn2

    def forward(self, x: Value) -> Value:
        """(N, C, H, W) -> (N, channels, H / stride, W / stride)"""
        y = self.relu1(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu2(y + (x if self.downsample is None else self.downsample(x)))


class PlainBlock(BasicBlock):
    """The same without the shortcut: y = relu(bn(conv(relu(bn(conv(x))))))."""

    def forward(self, x: Value) -> Value:
        """(N, C, H, W) -> (N, channels, H / stride, W / stride)"""
        y = self.relu1(self.bn1(self.conv1(x)))
        return self.relu2(self.bn2(self.conv2(y)))


class Bottleneck(nn.Module):
    """1x1 to a quarter of the channels, 3x3, 1x1 back; the shortcut around all three."""

    expansion: ClassVar[int] = 4
    early: ClassVar[bool] = True  # the stride is that of the first 1x1

    def __init__(self, c: int, channels: int, stride: int):
        first, middle = (stride, 1) if self.early else (1, stride)
        self.conv1 = convolution(c, channels, 1, first)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU()
        self.conv2 = convolution(channels, channels, 3, middle)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu2 = nn.ReLU()
        self.conv3 = convolution(channels, channels * self.expansion, 1)
        self.bn3 = nn.BatchNorm2d(channels * self.expansion)
        self.downsample: nn.Module | None = None
        self.relu3 = nn.ReLU()

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        """The norm in front of the sum."""
        return self.bn3

    def forward(self, x: Value) -> Value:
        """(N, C, H, W) -> (N, 4 channels, H / stride, W / stride)"""
        y = self.relu1(self.bn1(self.conv1(x)))
        y = self.relu2(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu3(y + (x if self.downsample is None else self.downsample(x)))


class LateBottleneck(Bottleneck):
    """The stride in the 3x3, as torchvision has it ("version 1.5"): no pixel is passed over."""

    early = False


Block = type[BasicBlock] | type[Bottleneck]


class ResNet(Net):
    """A first convolution, stages of blocks (each but the first halves the map), the mean of each
    map, one dense layer.  (N, in_channels, H, W) -> (N, num_classes)

    `counts` are the blocks of each stage, `first` the channels of the first stage, twice as many in
    each next one. `stem`: 7x7 with stride 2 and a pooling; if not, or `small`, 3x3 with stride 1.
    """

    def __init__(self, block: Block, counts: Sequence[int], first: int, num_classes: int, *,
                 stem: bool, in_channels: int = 3, input_size: Size = 224, width: float = 1.0,
                 small: bool | None = None, shortcut: str = "B", zero_gamma: bool = False):
        choice("ResNet", "shortcut", shortcut, ("A", "B"))
        self.small = stem and is_small(input_size, small)
        large = stem and not self.small
        c = scaled(first, width)
        self.conv1 = convolution(in_channels, c, 7 if large else 3, 2 if large else 1)
        self.bn1 = nn.BatchNorm2d(c)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1) if large else nn.Identity()
        for i, count in enumerate(counts):
            channels, blocks = scaled(first * 2**i, width), list[nn.Module]()
            for k in range(count):
                stride = 2 if i and not k else 1
                blocks.append(_block(block(c, channels, stride), c,
                                     channels * block.expansion, stride, shortcut, zero_gamma))
                c = channels * block.expansion
            setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))
        self.avgpool = nn.GlobalAvgPool()
        self.fc = nn.Linear(c, num_classes)


def _block(block: BasicBlock | Bottleneck, c: int, out: int, stride: int, shortcut: str,
           zero_gamma: bool) -> nn.Module:
    """The block with its shortcut."""
    if isinstance(block, PlainBlock):
        return block
    if (c, 1) != (out, stride):
        block.downsample = ZeroPad(out, stride) if shortcut == "A" else nn.Sequential(
            convolution(c, out, 1, stride), nn.BatchNorm2d(out))
    if zero_gamma:
        block.last_norm.weight = nn.Parameter(np.zeros(out, np.float32))
    return block


def card(name: str) -> Card:
    """The card of the nets for ImageNet."""
    plain, depth = name.startswith("plain"), int(name.removeprefix("plain").removeprefix("resnet"))
    blocks = (tr("plain pairs of 3x3 convolutions, no shortcut") if plain else
              tr("residual blocks of two 3x3 convolutions") if depth < 50 else
              tr("bottleneck blocks: 1x1, 3x3, 1x1, four times the channels outside"))
    return Card(
        2016, SOURCE, tr("Classes of photographs (ImageNet, 1000 classes)."),
        tr("7x7 convolution with stride 2, 3x3 pooling, four stages of {blocks}; mean of each map, "
           "one dense layer.", blocks=blocks),
        tr("{error} % top-1 error on ImageNet (validation, ten crops)", error=ERRORS[name]),
        differences=(
            *[tr("a plain twin: torchvision has none")] * plain,
            *[tr("stride in the first 1x1 of a bottleneck, as in the paper; version=1.5 puts it "
                 "into the 3x3, which torchvision's weights need")] * (depth >= 50),
            *[tr("shortcut=A: shortcuts without parameters, with which the paper's figure was "
                 "measured")] * (name == "resnet18"),
            tr("small images (below {size} pixels): 3x3 with stride 1 and no pooling at the "
               "beginning", size=64)),
        recipe="resnet")


def cifar_card(name: str) -> Card:
    """The card of the nets for CIFAR-10."""
    plain = name.startswith("plain")
    blocks = (tr("plain pairs of 3x3 convolutions, no shortcut") if plain else
              tr("residual blocks of two 3x3 convolutions"))
    return Card(
        2016, SOURCE, tr("Classes of small photographs (CIFAR-10, 32x32, 10 classes)."),
        tr("3x3 convolution with 16 channels, three stages of {blocks} with 16, 32 and 64; mean of "
           "each map, one dense layer.", blocks=blocks),
        "" if plain else tr("{error} % error on CIFAR-10 (test)", error=ERRORS[name]),
        reached(*MEASURED[name]) if name in MEASURED else "",
        differences=(
            tr("torchvision has no such net"),
            *[tr("the paper shows a curve only: the deeper the plain net, the larger its error")]
            * plain,
            *[tr("shortcuts without parameters (option A)")] * (not plain)),
        recipe="resnet_cifar_deep" if name.endswith("110") else "resnet_cifar")


def _large(block: Block, counts: tuple[int, ...], classes: int, options: Options) -> ResNet:
    return ResNet(block, counts, 64, classes, stem=True, **options)


def _deep(counts: tuple[int, ...], classes: int, version: float, options: Options) -> ResNet:
    """version: 1 strides in a bottleneck's first 1x1, 1.5 in its 3x3."""
    if version not in (1, 1.5):
        raise ConfigError(tr("version is {version}; expected 1 (as in the paper) or 1.5 (as in "
                             "torchvision).", version=version))
    return _large(Bottleneck if version == 1 else LateBottleneck, counts, classes, options)


def _cifar(block: Block, depth: int, classes: int, options: CifarOptions) -> ResNet:
    options.setdefault("shortcut", "A")
    return ResNet(block, ((depth - 2) // 6,) * 3, 16, classes, stem=False, **options)


@net(card)
def resnet18(num_classes: int = 1000, **options: Unpack[Options]) -> ResNet:
    """ResNet-18: 8 blocks of two convolutions."""
    return _large(BasicBlock, (2, 2, 2, 2), num_classes, options)


@net(card)
def resnet34(num_classes: int = 1000, **options: Unpack[Options]) -> ResNet:
    """ResNet-34: 16 blocks of two convolutions."""
    return _large(BasicBlock, (3, 4, 6, 3), num_classes, options)


@net(card)
def resnet50(num_classes: int = 1000, *, version: float = 1,
              **options: Unpack[Options]) -> ResNet:
    """ResNet-50: 16 blocks of three convolutions."""
    return _deep((3, 4, 6, 3), num_classes, version, options)


@net(card)
def resnet101(num_classes: int = 1000, *, version: float = 1,
               **options: Unpack[Options]) -> ResNet:
    """ResNet-101: 33 blocks of three convolutions."""
    return _deep((3, 4, 23, 3), num_classes, version, options)


@net(card)
def resnet152(num_classes: int = 1000, *, version: float = 1,
               **options: Unpack[Options]) -> ResNet:
    """ResNet-152: 50 blocks of three convolutions."""
    return _deep((3, 8, 36, 3), num_classes, version, options)


@net(card)
def plain18(num_classes: int = 1000, **options: Unpack[Large]) -> ResNet:
    """ResNet-18 without shortcuts."""
    return _large(PlainBlock, (2, 2, 2, 2), num_classes, {**options})


@net(card)
def plain34(num_classes: int = 1000, **options: Unpack[Large]) -> ResNet:
    """ResNet-34 without shortcuts."""
    return _large(PlainBlock, (3, 4, 6, 3), num_classes, {**options})


@net(cifar_card, CIFAR)
def resnet20(num_classes: int = 10, **options: Unpack[CifarOptions]) -> ResNet:
    """ResNet-20 for 32 x 32 pixels: 9 blocks of two convolutions."""
    return _cifar(BasicBlock, 20, num_classes, options)


@net(cifar_card, CIFAR)
def resnet32(num_classes: int = 10, **options: Unpack[CifarOptions]) -> ResNet:
    """ResNet-32 for 32 x 32 pixels: 15 blocks of two convolutions."""
    return _cifar(BasicBlock, 32, num_classes, options)


@net(cifar_card, CIFAR)
def resnet44(num_classes: int = 10, **options: Unpack[CifarOptions]) -> ResNet:
    """ResNet-44 for 32 x 32 pixels: 21 blocks of two convolutions."""
    return _cifar(BasicBlock, 44, num_classes, options)


@net(cifar_card, CIFAR)
def resnet56(num_classes: int = 10, **options: Unpack[CifarOptions]) -> ResNet:
    """ResNet-56 for 32 x 32 pixels: 27 blocks of two convolutions."""
    return _cifar(BasicBlock, 56, num_classes, options)


@net(cifar_card, CIFAR)
def resnet110(num_classes: int = 10, **options: Unpack[CifarOptions]) -> ResNet:
    """ResNet-110 for 32 x 32 pixels: 54 blocks of two convolutions."""
    return _cifar(BasicBlock, 110, num_classes, options)


@net(cifar_card, CIFAR)
def plain20(num_classes: int = 10, **options: Unpack[Common]) -> ResNet:
    """ResNet-20 for 32 x 32 pixels without shortcuts."""
    return _cifar(PlainBlock, 20, num_classes, {**options})


@net(cifar_card, CIFAR)
def plain32(num_classes: int = 10, **options: Unpack[Common]) -> ResNet:
    """ResNet-32 for 32 x 32 pixels without shortcuts."""
    return _cifar(PlainBlock, 32, num_classes, {**options})


@net(cifar_card, CIFAR)
def plain44(num_classes: int = 10, **options: Unpack[Common]) -> ResNet:
    """ResNet-44 for 32 x 32 pixels without shortcuts."""
    return _cifar(PlainBlock, 44, num_classes, {**options})


@net(cifar_card, CIFAR)
def plain56(num_classes: int = 10, **options: Unpack[Common]) -> ResNet:
    """ResNet-56 for 32 x 32 pixels without shortcuts."""
    return _cifar(PlainBlock, 56, num_classes, {**options})


@net(cifar_card, CIFAR)
def plain110(num_classes: int = 10, **options: Unpack[Common]) -> ResNet:
    """ResNet-110 for 32 x 32 pixels without shortcuts."""
    return _cifar(PlainBlock, 110, num_classes, {**options})
