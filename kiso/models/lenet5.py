"""LeNet-5: the convolutional net that read cheques.

    C1 6 maps, 5x5   S2 sub-sampling   C3 16 maps, 5x5, sparse   S4 sub-sampling
    C5 120 maps that see all of S4     F6 84 units               output

Sub-sampling sums 2x2 units and learns a factor and a bias for each map; each map of C3 sees only
some of S2, so that they must learn different things. Source: LeCun, Bottou, Bengio and Haffner,
"Gradient-based learning applied to document recognition", 1998.
"""

from __future__ import annotations

from typing import Unpack

from kiso import nn
from kiso.errors import ConfigError
from kiso.models.base import Card, Net, Size, Sized, net, reached, sides
from kiso.text import tr

__all__ = ["LeNet5", "lenet5"]

FULL = 32  # pixels; smaller pictures get a border of 2, as the digits of 20x20 had one
SMALLEST = 12  # pixels: one unit is left behind S4
LINKS = 340_068  # of all layers before the output


class LeNet5(Net):
    """C1, S2, C3, S4, C5, F6 with 60,000 parameters for 32 x 32 or 28 x 28 pixels, and an output.

    (N, in_channels, *input_size) -> (N, num_classes). Units are 1.7159 tanh(2/3 x).
    Errors: ConfigError for less than 12 pixels.
    """

    def __init__(self, num_classes: int, in_channels: int = 1, input_size: Size = 32):
        smallest = min(sides(input_size))
        if smallest < SMALLEST:
            raise ConfigError(tr("lenet5 takes images of at least {size} x {size} pixels, but they "
                                 "have {found}.", size=SMALLEST, found=smallest))
        border = 2 if smallest < FULL else 0
        height, wide = (((n + 2 * border - 4) // 2 - 4) // 2 for n in sides(input_size))
        self.c1 = nn.Conv2d(in_channels, 6, 5, padding=border, init="lenet_uniform")
        self.s2 = nn.Subsampling2d(6)
        self.act2 = nn.ScaledTanh()
        self.c3 = nn.SparseConv2d(nn.LENET5_C3, 5, init="lenet_uniform")
        self.s4 = nn.Subsampling2d(16)
        self.act4 = nn.ScaledTanh()
        self.c5 = nn.Conv2d(16, 120, (height, wide), init="lenet_uniform")
        self.act5 = nn.ScaledTanh()
        self.flatten = nn.Flatten()
        self.f6 = nn.Linear(120, 84, init="lenet_uniform")
        self.act6 = nn.ScaledTanh()
        self.output = nn.Linear(84, num_classes, init="lenet_uniform")


def card(name: str) -> Card:
    """The net's card."""
    return Card(
        1998, "LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document "
        "recognition, Proceedings of the IEEE 1998",
        tr("Handwritten digits (MNIST, with a border 32x32, 10 classes)."),
        tr("Convolutions 5x5 and sub-sampling that is learnt in turn, the second convolution "
           "sparse; two dense layers. 60,000 parameters and {links} links before the output.",
           links=f"{LINKS:,}"),
        tr("{error} % error on MNIST (test)", error="0.95"), reached("99.17", "mnist", 30),
        differences=(
            tr("torchvision has no such net"),
            tr("the output is a dense layer with 850 parameters; the paper's are distances to "
               "{count} fixed pictures of characters (RBF)", count=10),
            tr("S2 and S4 have 12 and 32 parameters, a factor and a bias for each map"),
            tr("below {size} pixels the picture gets a border of 2", size=FULL),
            tr("first weights: uniform within 2.4 / fan-in as in the paper, first biases 0")),
        links=LINKS + 850)


@net(card, (1, FULL, FULL))
def lenet5(num_classes: int = 10, **options: Unpack[Sized]) -> LeNet5:
    """LeNet-5: 60,000 parameters before the output."""
    return LeNet5(num_classes, **options)
