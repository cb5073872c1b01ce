"""MobileNet: each convolution in two, one filter for each channel, then a mixture of the channels.

A 3x3 convolution of C into D channels costs 9 C D products for each pixel, its two halves 9 C and
C D: an eighth to a ninth of it. Source: Howard et al., "MobileNets: efficient convolutional neural
networks for mobile vision applications", 2017.
"""

from __future__ import annotations

from typing import Unpack

from kiso import nn
from kiso.models.base import Card, Chain, Large, Net, Size, is_small, net, scaled
from kiso.text import tr

__all__ = ["MobileNetV1", "Separable", "mobilenet_v1"]

# Channels and stride of each block: table 1 of the paper.
BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2),
          (1024, 1))


class Separable(Chain):
    """A depthwise 3x3 convolution and a pointwise 1x1 one, norm and ReLU behind each.

    (N, C, H, W) -> (N, channels, H / stride, W / stride)
    """

    def __init__(self, c: int, channels: int, stride: int):
        self.depthwise = nn.Conv2d(c, c, 3, stride, padding=1, groups=c, bias=False,
                                   init="he_normal")
        self.bn1 = nn.BatchNorm2d(c)
        self.relu1 = nn.ReLU()
        self.pointwise = nn.Conv2d(c, channels, 1, bias=False, init="he_normal")
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu2 = nn.ReLU()


class MobileNetV1(Net):
    """A 3x3 convolution, thirteen separable ones, the mean of each map, one dense layer.

    (N, in_channels, H, W) -> (N, num_classes). `small`: the first convolution has stride 1.
    """

    def __init__(self, num_classes: int, in_channels: int = 3, input_size: Size = 224,
                 width: float = 1.0, small: bool | None = None):
        self.small = is_small(input_size, small)
        c = scaled(32, width)
        self.conv1 = nn.Conv2d(in_channels, c, 3, 1 if self.small else 2, padding=1, bias=False,
                               init="he_normal")
        self.bn1 = nn.BatchNorm2d(c)
        self.relu = nn.ReLU()
        blocks: list[nn.Module] = []
        for channels, stride in BLOCKS:
            blocks.append(Separable(c, scaled(channels, width), stride))
            c = scaled(channels, width)
        self.blocks = nn.Sequential(*blocks)
        self.avgpool = nn.GlobalAvgPool()
        self.fc = nn.Linear(c, num_classes)


def card(name: str) -> Card:
    """The family's card."""
    return Card(
        2017, "Howard, Zhu, Chen, Kalenichenko, Wang, Weyand, Andreetto, Adam: MobileNets: "
        "efficient convolutional neural networks for mobile vision applications, arXiv:1704.04861",
        tr("Classes of photographs (ImageNet, 1000 classes), on small devices."),
        tr("3x3 convolution with stride 2, thirteen pairs of a depthwise 3x3 and a pointwise 1x1 "
           "convolution; mean of each map, one dense layer. width thins out all of it."),
        tr("{accuracy} % top-1 accuracy on ImageNet (validation)", accuracy=70.6),
        differences=(
            tr("torchvision has no such net"),
            tr("small images (below {size} pixels): stride 1 at the beginning", size=64)),
        recipe="mobilenet")


@net(card)
def mobilenet_v1(num_classes: int = 1000, **options: Unpack[Large]) -> MobileNetV1:
    """MobileNet: 13 separable convolutions."""
    return MobileNetV1(num_classes, **options)
