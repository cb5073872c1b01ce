"""ResNets with the activation first: norm and ReLU stand before each convolution, and nothing
stands on the shortcut, so that a signal passes unchanged from any block to any other.

Sources: He, Zhang, Ren and Sun, "Identity mappings in deep residual networks", 2016; Zagoruyko and
Komodakis, "Wide residual networks", 2016, which are the same with more channels and less depth.

    x1 = relu(bn(x));  y = x + conv(relu(bn(conv(x1))))

Where a block changes the shape, its shortcut is a 1x1 convolution of x1 without norm (option B), or
zero channels (option A). The first block's activation stands behind the first convolution, the last
one before the mean of each map.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Unpack

from kiso import nn
from kiso.errors import ConfigError
from kiso.models.base import Card, Common, Large, Net, Size, is_small, net, scaled
from kiso.models.resnet import CIFAR, ZeroPad, convolution
from kiso.nn.checks import count, number
from kiso.ops import Value
from kiso.text import tr

__all__ = ["PreActBlock", "PreActBottleneck", "PreActResNet", "preact_resnet18", "preact_resnet20",
           "preact_resnet32", "preact_resnet34", "preact_resnet44", "preact_resnet50",
           "preact_resnet56", "preact_resnet101", "preact_resnet110", "preact_resnet152",
           "preact_resnet164", "preact_resnet200", "preact_resnet1001", "wide_resnet"]

# % error. Tables 2 and 4, CIFAR-10; table 5, top-1 on ImageNet, one crop of 320 pixels.
ERRORS = {"preact_resnet110": 6.37, "preact_resnet164": 5.46, "preact_resnet1001": 4.92,
          "preact_resnet152": 21.1, "preact_resnet200": 20.7}


class PreActBlock(nn.Module):
    """Two 3x3 convolutions, norm and ReLU before each; the first block's come activated."""

    expansion: ClassVar[int] = 1

    def __init__(self, c: int, channels: int, stride: int, dropout: float, active: bool):
        self.bn1 = nn.Identity() if active else nn.BatchNorm2d(c)
        self.relu1 = nn.Identity() if active else nn.ReLU()
        self.conv1 = convolution(c, channels, 3, stride)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu2 = nn.ReLU()
        self.dropout = nn.Dropout(dropout) if dropout else None
        self.conv2 = convolution(channels, channels, 3)
        self.downsample: nn.Module | None = None  # None: the input itself

    def residual(self, x: Value) -> Value:
        """What is added, from the activated input."""
        y = self.relu2(self.bn2(self.conv1(x)))
        return self.conv2(y if self.dropout is None else self.dropout(y))

    def forward(self, x: Value) -> Value:
        """(N, C, H, W) -> (N, channels, H / stride, W / stride)"""
        active = self.relu1(self.bn1(x))
        return self.residual(active) + (x if self.downsample is None else self.downsample(active))


class PreActBottleneck(PreActBlock):
    """1x1 to a quarter of the channels, 3x3, 1x1 back, norm and ReLU before each."""

    expansion = 4

    def __init__(self, c: int, channels: int, stride: int, dropout: float, active: bool):
        super().__init__(c, channels, stride, dropout, active)
        self.conv1 = convolution(c, channels, 1, stride)
        self.bn3 = nn.BatchNorm2d(channels)
        self.relu3 = nn.ReLU()
        self.conv3 = convolution(channels, channels * self.expansion, 1)

    def residual(self, x: Value) -> Value:
        """What is added, from the activated input."""
        return self.conv3(self.relu3(self.bn3(super().residual(x))))


class PreActResNet(Net):
    """First convolution, stages of blocks (each but the first halves the map), last activation,
    mean of each map, one dense layer.  (N, in_channels, H, W) -> (N, num_classes)

    `channels` are those of the first convolution and of each stage. `stem`: 7x7 with stride 2 and a
    pooling; if not, or `small`, 3x3 with stride 1.
    """

    def __init__(self, block: type[PreActBlock], counts: Sequence[int], channels: Sequence[int],
                 num_classes: int, *, stem: bool, shortcut: str = "B", in_channels: int = 3,
                 input_size: Size = 224, width: float = 1.0, small: bool | None = None,
                 dropout: float = 0.0):
        self.small = stem and is_small(input_size, small)
        large = stem and not self.small
        c, *widths = (scaled(n, width) for n in channels)
        self.conv1 = convolution(in_channels, c, 7 if large else 3, 2 if large else 1)
        self.bn1 = nn.BatchNorm2d(c)
        self.relu1 = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1) if large else nn.Identity()
        for i, (number_of, inner) in enumerate(zip(counts, widths, strict=True)):
            blocks, out = list[PreActBlock](), inner * block.expansion
            for k in range(number_of):
                stride = 2 if i and not k else 1
                blocks.append(block(c, inner, stride, dropout, active=not i and not k))
                if (c, 1) != (out, stride):
                    blocks[k].downsample = (ZeroPad(out, stride) if shortcut == "A" else
                                            convolution(c, out, 1, stride))
                c = out
            setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))
        self.bn2 = nn.BatchNorm2d(c)
        self.relu2 = nn.ReLU()
        self.avgpool = nn.GlobalAvgPool()
        self.fc = nn.Linear(c, num_classes)


def card(name: str) -> Card:
    """The card of the nets of He et al."""
    depth = int(name.removeprefix("preact_resnet"))
    large = depth in (18, 34, 50, 101, 152, 200)
    deep = depth >= 50 and (large or depth > 110)
    blocks = (tr("bottleneck blocks: 1x1, 3x3, 1x1, four times the channels outside") if deep else
              tr("residual blocks of two 3x3 convolutions"))
    figure = ""
    if name in ERRORS:
        figure = (tr("{error} % top-1 error on ImageNet (validation, one crop of 320 pixels)",
                     error=ERRORS[name]) if large else
                  tr("{error} % error on CIFAR-10 (test)", error=ERRORS[name]))
    return Card(
        2016, "He, Zhang, Ren, Sun: Identity mappings in deep residual networks, ECCV 2016",
        tr("Classes of photographs (ImageNet, 1000 classes).") if large else
        tr("Classes of small photographs (CIFAR-10, 32x32, 10 classes)."),
        tr("As a ResNet ({blocks}), but with norm and ReLU before each convolution and nothing on "
           "the shortcut.", blocks=blocks), figure,
        differences=(
            tr("torchvision has no such net"),
            *[tr("stride in the first 1x1 of a bottleneck, as in the authors' code")] * deep,
            *[tr("small images (below {size} pixels): 3x3 with stride 1 and no pooling at the "
                 "beginning", size=64)] * large,
            *[tr("shortcuts without parameters (option A)")] * (not large and not deep)),
        recipe="resnet" if large else "preact_resnet")


def wide_card(name: str) -> Card:
    """The card of wide ResNets."""
    return Card(
        2016, "Zagoruyko, Komodakis: Wide residual networks, BMVC 2016",
        tr("Classes of small photographs (CIFAR-10, 32x32, 10 classes)."),
        tr("As a pre-activation ResNet of three stages, with k times as many channels; depth "
           "layers, 6 n + 4."),
        tr("{error} % error on CIFAR-10 (test); with dropout=0.3: {other} %", error="4.00",
           other="3.89"),
        differences=(tr("torchvision's wide nets are other ones: bottlenecks for ImageNet"),),
        recipe="wide_resnet")


def _large(block: type[PreActBlock], counts: tuple[int, ...], classes: int, options: Large
           ) -> PreActResNet:
    return PreActResNet(block, counts, (64, 64, 128, 256, 512), classes, stem=True, **options)


def _cifar(block: type[PreActBlock], depth: int, classes: int, options: Common) -> PreActResNet:
    deep = block is PreActBottleneck
    blocks = (depth - 2) // (9 if deep else 6)
    return PreActResNet(block, (blocks,) * 3, (16, 16, 32, 64), classes, stem=False,
                        shortcut="B" if deep else "A", **options)


@net(card)
def preact_resnet18(num_classes: int = 1000, **options: Unpack[Large]) -> PreActResNet:
    """Pre-activation ResNet-18."""
    return _large(PreActBlock, (2, 2, 2, 2), num_classes, options)


@net(card)
def preact_resnet34(num_classes: int = 1000, **options: Unpack[Large]) -> PreActResNet:
    """Pre-activation ResNet-34."""
    return _large(PreActBlock, (3, 4, 6, 3), num_classes, options)


@net(card)
def preact_resnet50(num_classes: int = 1000, **options: Unpack[Large]) -> PreActResNet:
    """Pre-activation ResNet-50."""
    return _large(PreActBottleneck, (3, 4, 6, 3), num_classes, options)


@net(card)
def preact_resnet101(num_classes: int = 1000, **options: Unpack[Large]) -> PreActResNet:
    """Pre-activation ResNet-101."""
    return _large(PreActBottleneck, (3, 4, 23, 3), num_classes, options)


@net(card)
def preact_resnet152(num_classes: int = 1000, **options: Unpack[Large]) -> PreActResNet:
    """Pre-activation ResNet-152."""
    return _large(PreActBottleneck, (3, 8, 36, 3), num_classes, options)


@net(card)
def preact_resnet200(num_classes: int = 1000, **options: Unpack[Large]) -> PreActResNet:
    """Pre-activation ResNet-200."""
    return _large(PreActBottleneck, (3, 24, 36, 3), num_classes, options)


@net(card, CIFAR)
def preact_resnet20(num_classes: int = 10, **options: Unpack[Common]) -> PreActResNet:
    """Pre-activation ResNet-20 for 32 x 32 pixels: 9 blocks of two convolutions."""
    return _cifar(PreActBlock, 20, num_classes, options)


@net(card, CIFAR)
def preact_resnet32(num_classes: int = 10, **options: Unpack[Common]) -> PreActResNet:
    """Pre-activation ResNet-32 for 32 x 32 pixels: 15 blocks of two convolutions."""
    return _cifar(PreActBlock, 32, num_classes, options)


@net(card, CIFAR)
def preact_resnet44(num_classes: int = 10, **options: Unpack[Common]) -> PreActResNet:
    """Pre-activation ResNet-44 for 32 x 32 pixels: 21 blocks of two convolutions."""
    return _cifar(PreActBlock, 44, num_classes, options)


@net(card, CIFAR)
def preact_resnet56(num_classes: int = 10, **options: Unpack[Common]) -> PreActResNet:
    """Pre-activation ResNet-56 for 32 x 32 pixels: 27 blocks of two convolutions."""
    return _cifar(PreActBlock, 56, num_classes, options)


@net(card, CIFAR)
def preact_resnet110(num_classes: int = 10, **options: Unpack[Common]) -> PreActResNet:
    """Pre-activation ResNet-110 for 32 x 32 pixels: 54 blocks of two convolutions."""
    return _cifar(PreActBlock, 110, num_classes, options)


@net(card, CIFAR)
def preact_resnet164(num_classes: int = 10, **options: Unpack[Common]) -> PreActResNet:
    """Pre-activation ResNet-164 for 32 x 32 pixels: 54 bottlenecks."""
    return _cifar(PreActBottleneck, 164, num_classes, options)


@net(card, CIFAR)
def preact_resnet1001(num_classes: int = 10, **options: Unpack[Common]) -> PreActResNet:
    """Pre-activation ResNet-1001 for 32 x 32 pixels: 333 bottlenecks."""
    return _cifar(PreActBottleneck, 1001, num_classes, options)


@net(wide_card, CIFAR)
def wide_resnet(num_classes: int = 10, *, depth: int = 28, k: int = 10, dropout: float = 0,
                **options: Unpack[Common]) -> PreActResNet:
    """Wide ResNet WRN-depth-k for 32 x 32 pixels: depth = 6 n + 4 layers, k times the channels;
    dropout between the convolutions of a block.  Errors: ConfigError for another depth."""
    count("wide_resnet", "k", k)
    number("wide_resnet", "dropout", dropout, 0, 1)
    blocks, rest = divmod(depth - 4, 6)
    if rest or blocks < 1:
        raise ConfigError(tr("depth is {depth}; expected 6 n + 4 for a whole number n of at least "
                             "1: 10, 16, 22, 28, ...", depth=depth))
    return PreActResNet(PreActBlock, (blocks,) * 3, (16, 16 * k, 32 * k, 64 * k), num_classes,
                        stem=False, dropout=dropout, **options)
