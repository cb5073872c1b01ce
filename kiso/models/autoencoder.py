"""Autoencoder: a picture through a few numbers and back.

    code = encoder(x)     y = decoder(code)     trained so that y is like x

What survives the narrow middle is what pictures have in common. Three convolutions with stride 2
make the map small, three transposed ones make it large again. Source of the idea: Hinton and
Salakhutdinov, "Reducing the dimensionality of data with neural networks", 2006; convolutions:
Masci et al., "Stacked convolutional auto-encoders", 2011.

    kiso train mnist --model autoencoder
"""

from __future__ import annotations

from itertools import pairwise
from typing import Unpack

from kiso import nn
from kiso.models.base import Card, Common, Net, net, restored, scaled, sides
from kiso.ops import Value
from kiso.text import tr

__all__ = ["Autoencoder", "autoencoder"]

CHANNELS = (16, 32, 64)


class Options(Common, total=False):
    """code: how many numbers a picture becomes."""

    code: int


class Autoencoder(Net):
    """(N, in_channels, *input_size) -> the same shape."""

    encoder: nn.Sequential
    decoder: nn.Sequential

    def __init__(self, in_channels: int = 1, input_size: int | tuple[int, int] = 28,
                 width: float = 1.0, code: int = 32):
        size = [sides(input_size)]
        channels = [in_channels, *(scaled(n, width) for n in CHANNELS)]
        down: list[nn.Module] = []
        for c, more in pairwise(channels):
            down += [nn.Conv2d(c, more, 3, 2, 1), nn.ReLU()]
            size.append(((size[-1][0] + 1) // 2, (size[-1][1] + 1) // 2))
        features = channels[-1] * size[-1][0] * size[-1][1]
        self.encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(features, code))
        up: list[nn.Module] = []
        for i in range(len(CHANNELS), 0, -1):
            # 2 n - 1 pixels come from n; one more where the convolution came from an even number.
            even = tuple(1 - n % 2 for n in size[i - 1])
            up += [nn.ReLU(), nn.ConvTranspose2d(channels[i], channels[i - 1], 3, 2, 1, even)]
        self.decoder = nn.Sequential(nn.Linear(code, features),
                                     nn.Reshape(channels[-1], *size[-1]), *up)

    def encode(self, x: Value) -> Value:
        """(N, in_channels, *input_size) -> (N, code)"""
        return self.encoder(x)

    def decode(self, code: Value) -> Value:
        """(N, code) -> (N, in_channels, *input_size)"""
        return self.decoder(code)


def card(name: str) -> Card:
    """The net's card."""
    return Card(
        0, "Kiso; Hinton, Salakhutdinov: Reducing the dimensionality of data with neural networks, "
        "Science 2006; Masci et al.: Stacked convolutional auto-encoders, ICANN 2011",
        tr("Pictures through a few numbers and back: compressing, removing noise, finding what is "
           "unusual."),
        tr("Three 3x3 convolutions with stride 2, a dense layer to the code; a dense layer and "
           "three transposed convolutions back. The output is a picture."),
        measured=restored("23.88", "mnist", 10),
        differences=(tr("first weights are not learnt layer by layer, as in 2006"),))


@net(card, (1, 28, 28), maps=True)
def autoencoder(**options: Unpack[Options]) -> Autoencoder:
    """Autoencoder for pictures; what comes out has the shape of what goes in."""
    return Autoencoder(**options)
