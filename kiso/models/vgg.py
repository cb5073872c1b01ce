"""VGG: nothing but 3x3 convolutions, 2x2 poolings and three dense layers, 11 to 19 layers deep.

Two 3x3 convolutions see what one 5x5 sees, three what one 7x7 sees, with fewer weights and more
ReLUs between. Source: Simonyan and Zisserman, "Very deep convolutional networks for large-scale
image recognition", 2015. Batch norm came later (Ioffe and Szegedy 2015).

The layers `features.0`, `classifier.6`, ... are called as in torchvision.
"""

from __future__ import annotations

from typing import Unpack

from kiso import nn
from kiso.models.base import Card, Large, Net, Size, is_small, net, reached, scaled, sides
from kiso.text import tr

__all__ = ["VGG", "vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19",
           "vgg19_bn"]

CHANNELS = (64, 128, 256, 512, 512)
# Convolutions before each pooling: columns A, B, D and E of the paper's table 1.
COUNTS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
ERRORS = {11: 29.6, 13: 28.7, 16: 25.6, 19: 25.5}  # % top-1, table 3, best training scale


class VGG(Net):
    """Stages of 3x3 convolutions, a pooling behind each, then three dense layers.

    (N, in_channels, *input_size) -> (N, num_classes). The first dense layer is made for
    `input_size`; where a map is too small for a pooling, that pooling is left out. `small`: dense
    layers of 512 units instead of 4096.
    """

    features: nn.Sequential
    flatten: nn.Flatten
    classifier: nn.Sequential

    def __init__(self, depth: int, num_classes: int, batch_norm: bool, in_channels: int = 3,
                 input_size: Size = 224, width: float = 1.0, small: bool | None = None):
        self.small = is_small(input_size, small)
        layers: list[nn.Module] = []
        height, wide = sides(input_size)
        c = in_channels
        for count, channels in zip(COUNTS[depth], CHANNELS, strict=True):
            for _ in range(count):
                layers.append(nn.Conv2d(c, scaled(channels, width), 3, padding=1))
                c = scaled(channels, width)
                layers += [nn.BatchNorm2d(c)] * batch_norm
                layers.append(nn.ReLU())
            room = min(height, wide) >= 2
            # A place holder keeps the numbers of the layers behind it.
            layers.append(nn.MaxPool2d(2) if room else nn.Identity())
            height, wide = (height // 2, wide // 2) if room else (height, wide)
        self.features = nn.Sequential(*layers)
        self.flatten = nn.Flatten()
        # By He's rule the first scores were so large that steps of 0.01 tore the weights apart.
        units = scaled(512 if self.small else 4096, width)
        self.classifier = nn.Sequential(
            nn.Linear(c * height * wide, units, init="normal"), nn.ReLU(), nn.Dropout(0.5),
            nn.Linear(units, units, init="normal"), nn.ReLU(), nn.Dropout(0.5),
            nn.Linear(units, num_classes, init="normal"))


def card(name: str) -> Card:
    """The family's card."""
    depth, normed = int(name[3:5]), name.endswith("_bn")
    return Card(
        2015, "Simonyan, Zisserman: Very deep convolutional networks for large-scale image "
        "recognition, ICLR 2015",
        tr("Classes of photographs (ImageNet, 1000 classes)."),
        tr("3x3 convolutions with ReLU, each stage closed by a 2x2 pooling that halves the map; "
           "then three dense layers. {depth} layers with weights.", depth=depth),
        "" if normed else tr("{error} % top-1 error on ImageNet (validation, one scale)",
                             error=ERRORS[depth]),
        reached("96.11", "photos (cat, human)", 30) if name == "vgg16" else "",
        differences=(
            tr("no adaptive pooling before the dense layers: they are made for the picture's size"),
            tr("first weights: He 2015 in convolutions, N(0, 0.01) in dense layers; the paper "
               "started its deep nets from a trained shallow one"),
            *[tr("batch norm is not in the paper")] * normed,
            tr("small images (below {size} pixels): 512 units instead of 4096", size=64)),
        recipe="vgg")


@net(card)
def vgg11(num_classes: int = 1000, **options: Unpack[Large]) -> VGG:
    """VGG-11 (A): 8 convolutions, 3 dense layers."""
    return VGG(11, num_classes, False, **options)


@net(card)
def vgg11_bn(num_classes: int = 1000, **options: Unpack[Large]) -> VGG:
    """VGG-11 with batch norm behind each convolution."""
    return VGG(11, num_classes, True, **options)


@net(card)
def vgg13(num_classes: int = 1000, **options: Unpack[Large]) -> VGG:
    """VGG-13 (B): 10 convolutions, 3 dense layers."""
    return VGG(13, num_classes, False, **options)


@net(card)
def vgg13_bn(num_classes: int = 1000, **options: Unpack[Large]) -> VGG:
    """VGG-13 with batch norm behind each convolution."""
    return VGG(13, num_classes, True, **options)


@net(card)
def vgg16(num_classes: int = 1000, **options: Unpack[Large]) -> VGG:
    """VGG-16 (D): 13 convolutions, 3 dense layers."""
    return VGG(16, num_classes, False, **options)


@net(card)
def vgg16_bn(num_classes: int = 1000, **options: Unpack[Large]) -> VGG:
    """VGG-16 with batch norm behind each convolution."""
    return VGG(16, num_classes, True, **options)


@net(card)
def vgg19(num_classes: int = 1000, **options: Unpack[Large]) -> VGG:
    """VGG-19 (E): 16 convolutions, 3 dense layers."""
    return VGG(19, num_classes, False, **options)


@net(card)
def vgg19_bn(num_classes: int = 1000, **options: Unpack[Large]) -> VGG:
    """VGG-19 with batch norm behind each convolution."""
    return VGG(19, num_classes, True, **options)
