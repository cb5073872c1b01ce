"""The five nets of 1989 that show what structure is worth: the fewer free weights, the better.

    Net-1   16x16 pixels -> 10: no hidden layer
    Net-2   12 hidden units, each of which sees everything
    Net-3   8x8 units that see 3x3 pixels, then 4x4 units that see 5x5 of them: local connections
    Net-4   two maps of 8x8 units that share their 3x3 weights, then 4x4 units of their own
    Net-5   two shared maps, then four shared maps of 4x4 units: the first convolutional net

Shared weights stand in a map once, while each of its units has a bias. Source: LeCun,
"Generalization and network design strategies", 1989. `python examples/lenet1989.py` trains them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from kiso import nn
from kiso.models.base import Card, Common, Net, Size, net, scaled, sides
from kiso.text import tr

__all__ = ["FIGURES", "LeNet1989", "lenet1989_1", "lenet1989_2", "lenet1989_3",
           "lenet1989_4", "lenet1989_5"]

DIGITS = (1, 16, 16)
HIDDEN = 12  # units of Net-2
# Weights, links (each use of a weight), % right on the 160 test pictures.
FIGURES = {1: (2570, 2570, "80.0"), 2: (3214, 3214, "87.0"), 3: (1226, 1226, "88.5"),
           4: (1132, 2266, "94.0"), 5: (1060, 5194, "98.4")}
OURS = {1: "77.1", 2: "82.5", 3: "83.9", 4: "87.0", 5: "87.8"}


def dense(inputs: int, units: int) -> list[nn.Module]:
    """A layer whose units see everything."""
    return [nn.Linear(inputs, units, init="lenet_uniform"), nn.ScaledTanh()]


class LeNet1989(Net):
    """One of the five nets; every unit is 1.7159 tanh(2/3 x), the outputs too.

    (N, in_channels, *input_size) -> (N, num_classes). Windows move by two places, so that maps are
    half as large as what they see; beyond the border all is 0.
    """

    layers: nn.Sequential

    def __init__(self, number: int, num_classes: int, in_channels: int = 1, input_size: Size = 16,
                 width: float = 1.0):
        height, wide = sides(input_size)
        c, size = in_channels, (height, wide)
        layers: list[nn.Module] = []
        if number == 2:
            layers += [nn.Flatten(), *dense(c * height * wide, scaled(HIDDEN, width))]
            c, size = scaled(HIDDEN, width), (1, 1)
        elif number > 2:
            maps = {3: (1, 1), 4: (2, 1), 5: (2, 4)}[number]
            shared = {3: (False, False), 4: (True, False), 5: (True, True)}[number]
            for count, share, kernel in zip(maps, shared, (3, 5), strict=True):
                layers += [_maps(share, c, scaled(count, width), size, kernel), nn.ScaledTanh()]
                c, size = scaled(count, width), ((size[0] + 1) // 2, (size[1] + 1) // 2)
        layers += [nn.Flatten()] * (number != 2)
        self.layers = nn.Sequential(*layers, *dense(c * size[0] * size[1], num_classes))


def _maps(share: bool, c: int, channels: int, size: Sequence[int], kernel: int) -> nn.Module:
    """Maps of half the size, whose units share their weights or not."""
    kind = nn.UntiedConv2d if share else nn.LocallyConnected2d
    return kind(c, channels, size, kernel, stride=2, padding=kernel // 2,
                init="lenet_uniform")


def card(name: str) -> Card:
    """The card of one of the nets."""
    number = int(name[-1])
    weights, links, accuracy = FIGURES[number]
    structure = {
        1: tr("No hidden layer."),
        2: tr("{count} hidden units that see everything.", count=HIDDEN),
        3: tr("8x8 units that see 3x3 pixels, 4x4 units that see 5x5 of them; no shared weights."),
        4: tr("Two maps of 8x8 units with shared 3x3 weights, 4x4 units with weights of their "
              "own; each unit has its own bias."),
        5: tr("Two maps of 8x8 units with shared 3x3 weights, four maps of 4x4 units with shared "
              "5x5 weights; each unit has its own bias."),
    }[number]
    return Card(
        1989, "LeCun: Generalization and network design strategies, University of Toronto 1989",
        tr("Handwritten digits of 16x16 pixels: 320 to learn from, 160 for the test."),
        structure + " " + tr("{weights} weights, all units 1.7159 tanh(2/3 x).", weights=weights),
        tr("{accuracy} % right in the test", accuracy=accuracy),
        tr("{accuracy} % right in the test, mean of 20 draws of other digits",
           accuracy=OURS[number]),
        differences=(
            tr("torchvision has no such net"),
            tr("the paper's loss is the mean squared error to +1 and -1; `kiso train` takes the "
               "cross entropy, examples/lenet1989.py the paper's"),
            tr("the paper's 480 pictures are not public; examples/lenet1989.py draws as many from "
               "other digits of 16x16 pixels"),
            tr("first weights: uniform within 2.4 / fan-in as in the paper, first biases 0"),
            *[tr("beyond the border all is 0")] * (number > 2)),
        recipe="lenet1989", links=links)


@net(card, DIGITS)
def lenet1989_1(num_classes: int = 10, **options: Unpack[Common]) -> LeNet1989:
    """Net-1: no hidden layer, 2570 weights."""
    return LeNet1989(1, num_classes, **options)


@net(card, DIGITS)
def lenet1989_2(num_classes: int = 10, **options: Unpack[Common]) -> LeNet1989:
    """Net-2: 12 hidden units, 3214 weights."""
    return LeNet1989(2, num_classes, **options)


@net(card, DIGITS)
def lenet1989_3(num_classes: int = 10, **options: Unpack[Common]) -> LeNet1989:
    """Net-3: two layers of local connections, 1226 weights."""
    return LeNet1989(3, num_classes, **options)


@net(card, DIGITS)
def lenet1989_4(num_classes: int = 10, **options: Unpack[Common]) -> LeNet1989:
    """Net-4: shared weights in the first layer, 1132 weights, 2266 links."""
    return LeNet1989(4, num_classes, **options)


@net(card, DIGITS)
def lenet1989_5(num_classes: int = 10, **options: Unpack[Common]) -> LeNet1989:
    """Net-5: shared weights in both layers, 1060 weights, 5194 links."""
    return LeNet1989(5, num_classes, **options)
