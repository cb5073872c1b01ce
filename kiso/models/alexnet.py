"""AlexNet: the net that brought deep learning to large photographs.

    5 convolutions, the 1st, 2nd and 5th with pooling over windows that overlap (3x3, stride 2), the
    first two with local response normalisation before it; 3 dense layers with dropout

The paper's net lies on two graphics cards with 1.5 GB each: the 2nd, 4th and 5th convolution see
only the maps of their own card, which here are two groups. Source: Krizhevsky, Sutskever and
Hinton, "ImageNet classification with deep convolutional neural networks", 2012.

Layers with weights are called as in torchvision, whose net is the later one without groups
(Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014).
"""

from __future__ import annotations

from typing import Unpack

from kiso import nn
from kiso.models.base import Card, Large, Net, Size, is_small, net, scaled, sides
from kiso.text import tr

__all__ = ["AlexNet", "alexnet", "dense_layers", "response_norm"]

CHANNELS = (96, 256, 384, 384, 256)
ONE_TOWER = (64, 192, 384, 256, 256)  # 2014


class Options(Large, total=False):
    """lrn: local response normalisation. one_tower: the net of 2014, as in torchvision: fewer
    channels, no groups, no LRN."""

    lrn: bool
    one_tower: bool


def response_norm() -> nn.Module:
    """y_c = x_c / (2 + 1e-4 sum of x_i^2)^0.75 over 5 channels, the paper's numbers."""
    return nn.LocalResponseNorm(5, 1e-4, 0.75, 2, average=False)


def dense_layers(features: int, units: int, num_classes: int) -> nn.Sequential:
    """Three dense layers, dropout behind the first two. Those with weights are numbers 1, 4 and 6,
    as in torchvision, where dropout stands in front of them."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(features, units), nn.ReLU(), nn.Dropout(0.5),
        nn.Linear(units, units), nn.Sequential(nn.ReLU(), nn.Dropout(0.5)),
        nn.Linear(units, num_classes))


class AlexNet(Net):
    """Five convolutions, three poolings, three dense layers.

    (N, in_channels, *input_size) -> (N, num_classes). `small`: the first convolution is 5x5 with
    stride 1, dense layers have 512 units; where a map is too small for a pooling, it is left out.
    """

    features: nn.Sequential
    classifier: nn.Sequential

    def __init__(self, num_classes: int, in_channels: int = 3, input_size: Size = 224,
                 width: float = 1.0, small: bool | None = None, lrn: bool = True,
                 one_tower: bool = False):
        self.small = is_small(input_size, small)
        groups = 1 if one_tower else 2
        # The same number of channels on both sides, whatever the width.
        c1, c2, c3, c4, c5 = (groups * scaled(n / groups, width)
                              for n in (ONE_TOWER if one_tower else CHANNELS))
        first, stride, padding = (5, 1, 2) if self.small else (11, 4, 2)
        size = [(n + 2 * padding - first) // stride + 1 for n in sides(input_size)]

        def pool(norm: bool) -> nn.Module:
            """Pooling, a response norm before it: one layer, so that the numbers stay."""
            layers: list[nn.Module] = [response_norm()] * (norm and not one_tower)
            if min(size) >= 3:
                layers.append(nn.MaxPool2d(3, 2))
                size[:] = [(n - 3) // 2 + 1 for n in size]
            return layers[0] if len(layers) == 1 else nn.Sequential(*layers)

        self.features = nn.Sequential(
            nn.Conv2d(in_channels, c1, first, stride, padding), nn.ReLU(), pool(lrn),
            nn.Conv2d(c1, c2, 5, padding=2, groups=groups), nn.ReLU(), pool(lrn),
            nn.Conv2d(c2, c3, 3, padding=1), nn.ReLU(),
            nn.Conv2d(c3, c4, 3, padding=1, groups=groups), nn.ReLU(),
            nn.Conv2d(c4, c5, 3, padding=1, groups=groups), nn.ReLU(), pool(False))
        self.classifier = dense_layers(c5 * size[0] * size[1],
                                       scaled(512 if self.small else 4096, width), num_classes)


def card(name: str) -> Card:
    """The net's card."""
    return Card(
        2012, "Krizhevsky, Sutskever, Hinton: ImageNet classification with deep convolutional "
        "neural networks, NIPS 2012",
        tr("Classes of photographs (ImageNet, 1000 classes)."),
        tr("Five convolutions with ReLU, three of them in two groups; overlapping 3x3 poolings, "
           "local response normalisation; three dense layers with dropout."),
        tr("{error} % top-1 error on ImageNet (validation, mean of ten crops)", error="40.7"),
        differences=(
            tr("two groups and LRN with summed alpha as in the paper; torchvision's net is that of "
               "2014 without both: option one_tower, for its weights"),
            tr("lrn=false: without local response normalisation"),
            tr("pictures of 224 pixels with a border of 2, of which the windows use 227"),
            tr("first weights: He 2015; the paper's are N(0, 0.01), with biases 1"),
            tr("small images (below {size} pixels): 5x5 with stride 1 at the beginning, 512 units "
               "instead of 4096", size=64)))


@net(card)
def alexnet(num_classes: int = 1000, **options: Unpack[Options]) -> AlexNet:
    """AlexNet: 8 layers with weights."""
    return AlexNet(num_classes, **options)
