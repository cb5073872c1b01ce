"""GoogLeNet: blocks that look at the same maps through windows of four sizes at once.

    y = [1x1(x), 3x3(1x1(x)), 5x5(1x1(x)), 1x1(pool(x))]      joined along the channels

A 1x1 convolution in front of each large window first makes few channels of many: block 3a costs 128
million multiply-adds instead of 308. Two auxiliary heads bring gradients to the middle of the net
while it is trained. Source: Szegedy et al., "Going deeper with convolutions", 2015.

Layers are called as in torchvision, whose net differs: `inception3a.branch2.0.conv`.
"""

from __future__ import annotations

from typing import Unpack

from kiso import nn, ops
from kiso.models.base import Card, Chain, Large, Net, Size, is_small, net, scaled, sides
from kiso.ops import Value
from kiso.text import tr

__all__ = ["AuxiliaryHead", "GoogLeNet", "Inception", "googlenet"]

# Table 1: 1x1, in front of 3x3, 3x3, in front of 5x5, 5x5, behind the pooling. "pool": halves maps.
BLOCKS: dict[str, tuple[int, ...]] = {
    "3a": (64, 96, 128, 16, 32, 32), "3b": (128, 128, 192, 32, 96, 64), "maxpool3": (),
    "4a": (192, 96, 208, 16, 48, 64), "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64), "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128), "maxpool4": (),
    "5a": (256, 160, 320, 32, 128, 128), "5b": (384, 192, 384, 48, 128, 128),
}
HEADS = {"4a": "aux1", "4d": "aux2"}  # the block behind which an auxiliary head begins
AUXILIARY_WEIGHT = 0.3


class Options(Large, total=False):
    """aux: auxiliary heads, used in training only. lrn: local response normalisation. torchvision:
    torchvision's net: batch norm, 3x3 instead of 5x5, no LRN, a smaller last pooling."""

    aux: bool
    lrn: bool
    torchvision: bool


class Unit(Chain):
    """Convolution and ReLU; in torchvision's net batch norm between them.  (N, C, H, W) -> (N,
    channels, H / stride, W / stride)"""

    def __init__(self, c: int, channels: int, kernel: int, norm: bool, stride: int = 1):
        self.conv = nn.Conv2d(c, channels, kernel, stride, padding=kernel // 2, bias=not norm,
                              init="he_normal")
        if norm:
            self.bn = nn.BatchNorm2d(channels, eps=0.001)
        self.relu = nn.ReLU()


class Inception(nn.Module):
    """y = [1x1(x), 3x3(1x1(x)), 5x5(1x1(x)), 1x1(pool(x))]:  (N, C, H, W) -> (N, sum, H, W)"""

    channels: int

    def __init__(self, c: int, sizes: tuple[int, ...], norm: bool):
        one, before3, three, before5, five, behind = sizes
        self.branch1 = Unit(c, one, 1, norm)
        self.branch2 = nn.Sequential(Unit(c, before3, 1, norm), Unit(before3, three, 3, norm))
        self.branch3 = nn.Sequential(Unit(c, before5, 1, norm),
                                     Unit(before5, five, 3 if norm else 5, norm))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1), Unit(c, behind, 1, norm))
        self.channels = one + three + five + behind

    def forward(self, x: Value) -> Value:
        """(N, C, H, W) -> (N, channels, H, W)"""
        return ops.concat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class AuxiliaryHead(nn.Module):
    """Classes from maps in the middle of the net: means, 1x1, two dense layers, dropout of 70 %.
    (N, C, H, W) -> (N, num_classes)

    `size` is that of the maps. Where they are large as in the paper, 14 x 14, means are taken of
    5x5 with stride 3, which leaves 4 x 4; else of as many windows.
    """

    def __init__(self, c: int, size: tuple[int, int], num_classes: int, width: float, norm: bool):
        plain = size == (14, 14) and not norm
        self.pool = nn.AvgPool2d(5, 3) if plain else nn.AdaptiveAvgPool2d(4)
        self.conv = Unit(c, scaled(128, width), 1, norm)
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(16 * scaled(128, width), scaled(1024, width), init="he_normal")
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(0.7)
        self.fc2 = nn.Linear(scaled(1024, width), num_classes)

    def forward(self, x: Value) -> Value:
        """(N, C, *size) -> (N, num_classes)"""
        x = self.relu(self.fc1(self.flatten(self.conv(self.pool(x)))))
        return self.fc2(self.dropout(x))


class GoogLeNet(Net):
    """Three convolutions, nine Inception blocks, mean of each map, one dense layer.

    (N, in_channels, *input_size) -> (N, num_classes); in training `nn.Outputs` with those of the
    auxiliary heads, if there are any. `small`: the first convolution is 3x3 with stride 1, and no
    pooling follows before block 3a.
    """

    aux: bool

    def __init__(self, num_classes: int, in_channels: int = 3, input_size: Size = 224,
                 width: float = 1.0, small: bool | None = None, aux: bool = True,
                 lrn: bool = True, torchvision: bool = False):
        self.small, self.aux = is_small(input_size, small), aux
        c = self.stem(in_channels, width, lrn and not torchvision, torchvision)
        height, wide = sides(input_size)
        if not self.small:
            height, wide = (-(-n // 2) // 2 // 2 for n in (height, wide))
        for name, sizes in BLOCKS.items():
            if not sizes:
                pool = nn.MaxPool2d(2, 2, ceil_mode=True) if torchvision and name == "maxpool4" \
                    else nn.MaxPool2d(3, 2, ceil_mode=True)
                setattr(self, name, pool)
                height, wide = height // 2, wide // 2
                continue
            block = Inception(c, tuple(scaled(n, width) for n in sizes), torchvision)
            setattr(self, f"inception{name}", block)
            c = block.channels
            if aux and name in HEADS:
                setattr(self, HEADS[name], AuxiliaryHead(c, (height, wide), num_classes, width,
                                                         torchvision))
        self.avgpool = nn.GlobalAvgPool()
        self.dropout = nn.Dropout(0.4)
        self.fc = nn.Linear(c, num_classes)

    def stem(self, in_channels: int, width: float, lrn: bool, norm: bool) -> int:
        """Layers in front of the first block; how many channels they make."""
        def pool() -> nn.Module:
            return nn.Identity() if self.small else nn.MaxPool2d(3, 2, ceil_mode=True)

        def response() -> nn.Module:
            return nn.LocalResponseNorm(5, 1e-4, 0.75, 2, average=False) if lrn else nn.Identity()

        first, c = scaled(64, width), scaled(192, width)
        self.conv1 = Unit(in_channels, first, 3 if self.small else 7, norm,
                          1 if self.small else 2)
        self.maxpool1 = pool()
        self.lrn1 = response()
        self.conv2 = Unit(first, first, 1, norm)
        self.conv3 = Unit(first, c, 3, norm)
        self.lrn2 = response()
        self.maxpool2 = pool()
        return c

    def forward(self, x: Value) -> Value:
        """(N, in_channels, *input_size) -> (N, num_classes)"""
        auxiliary: list[Value] = []
        for part in self.children():
            if not isinstance(part, AuxiliaryHead):
                x = part(x)
            elif self.training:
                auxiliary.append(part(x))
        return nn.Outputs(x, tuple(auxiliary), AUXILIARY_WEIGHT) if auxiliary else x


def card(name: str) -> Card:
    """The net's card."""
    return Card(
        2015, "Szegedy, Liu, Jia, Sermanet, Reed, Anguelov, Erhan, Vanhoucke, Rabinovich: Going "
        "deeper with convolutions, CVPR 2015",
        tr("Classes of photographs (ImageNet, 1000 classes)."),
        tr("Three convolutions, nine Inception blocks of 1x1, 3x3, 5x5 and pooling side by side, "
           "1x1 convolutions in front of the large windows; mean of each map, one dense layer. Two "
           "auxiliary heads add {weight} of their losses in training.", weight=AUXILIARY_WEIGHT),
        tr("{error} % top-5 error on ImageNet (validation, one net, one crop)", error="10.07"),
        differences=(
            tr("6,998,552 parameters with aux=false, without the auxiliary heads"),
            tr("5x5 windows, LRN and biases as in the paper; torchvision's net has 3x3 in their "
               "place, batch norm, and 2x2 in the last pooling: option torchvision, for its "
               "weights"),
            tr("weights are called as in torchvision"),
            tr("first weights: He 2015"),
            tr("small images (below {size} pixels): 3x3 with stride 1 and no pooling at the "
               "beginning", size=64)))


@net(card)
def googlenet(num_classes: int = 1000, **options: Unpack[Options]) -> GoogLeNet:
    """GoogLeNet: 22 layers with weights, nine Inception blocks."""
    return GoogLeNet(num_classes, **options)
