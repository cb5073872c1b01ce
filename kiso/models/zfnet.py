"""ZFNet: AlexNet after its authors had looked at what its layers see.

Filters of 11x11 with stride 4 missed middle frequencies and blurred the second layer; with 7x7 and
stride 2 more detail comes through. It has one tower: no groups. Source: Zeiler and Fergus,
"Visualizing and understanding convolutional networks", 2014, figure 3.
"""

from __future__ import annotations

from typing import Unpack

from kiso import nn
from kiso.models.alexnet import dense_layers, response_norm
from kiso.models.base import Card, Large, Net, Size, is_small, net, scaled, sides
from kiso.text import tr

__all__ = ["ZFNet", "zfnet"]

CHANNELS = (96, 256, 384, 384, 256)


class Options(Large, total=False):
    """lrn: local response normalisation."""

    lrn: bool


class ZFNet(Net):
    """Five convolutions, three poolings, three dense layers.

    (N, in_channels, *input_size) -> (N, num_classes). `small`: the first two convolutions have
    stride 1 and keep the size, dense layers have 512 units; where a map is too small for a pooling,
    it is left out.
    """

    features: nn.Sequential
    classifier: nn.Sequential

    def __init__(self, num_classes: int, in_channels: int = 3, input_size: Size = 224,
                 width: float = 1.0, small: bool | None = None, lrn: bool = True):
        self.small = is_small(input_size, small)
        c1, c2, c3, c4, c5 = (scaled(n, width) for n in CHANNELS)
        stride = 1 if self.small else 2
        size = list(sides(input_size))

        def convolution(c: int, channels: int, kernel: int, padding: int) -> list[nn.Module]:
            size[:] = [(n + 2 * padding - kernel) // stride + 1 for n in size]
            return [nn.Conv2d(c, channels, kernel, stride, padding), nn.ReLU()]

        def pool(norm: bool) -> list[nn.Module]:
            """Windows may reach over the end: maps of 110, 26 and 13 become 55, 13 and 6."""
            room = min(size) >= 3
            if room:
                size[:] = [n // 2 for n in size]
            return [nn.MaxPool2d(3, 2, ceil_mode=True) if room else nn.Identity(),
                    *[response_norm()] * norm]

        # As large maps have them: without a border the second loses 3 pixels.
        self.features = nn.Sequential(
            *convolution(in_channels, c1, 7, 3 if self.small else 1), *pool(lrn),
            *convolution(c1, c2, 5, 2 if self.small else 0), *pool(lrn),
            nn.Conv2d(c2, c3, 3, padding=1), nn.ReLU(),
            nn.Conv2d(c3, c4, 3, padding=1), nn.ReLU(),
            nn.Conv2d(c4, c5, 3, padding=1), nn.ReLU(), *pool(False))
        self.classifier = dense_layers(c5 * size[0] * size[1],
                                       scaled(512 if self.small else 4096, width), num_classes)


def card(name: str) -> Card:
    """The net's card."""
    return Card(
        2014, "Zeiler, Fergus: Visualizing and understanding convolutional networks, ECCV 2014",
        tr("Classes of photographs (ImageNet, 1000 classes)."),
        tr("As AlexNet, with 7x7 and stride 2 at the beginning instead of 11x11 and stride 4, "
           "stride 2 in the second convolution, and no groups: 8 layers with weights, {count} "
           "parameters.", count="62,357,608"),
        tr("{error} % top-1 error on ImageNet (validation, one net)", error="38.4"),
        differences=(
            tr("torchvision has no such net"),
            tr("contrast normalisation behind the poolings is AlexNet's LRN; lrn=false: without"),
            tr("first weights: He 2015; the paper's are 0.01, with biases 0"),
            tr("small images (below {size} pixels): stride 1 in both first convolutions, 512 units "
               "instead of 4096", size=64)))


@net(card)
def zfnet(num_classes: int = 1000, **options: Unpack[Options]) -> ZFNet:
    """ZFNet: 8 layers with weights."""
    return ZFNet(num_classes, **options)
