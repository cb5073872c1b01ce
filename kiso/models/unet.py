"""U-Net: a class for every pixel.

Down, two 3x3 convolutions on each of five levels, each with half the pixels and twice the channels
of the one above; up again by transposed convolutions, joined on each level with what the way down
had there: coarse maps know what is in the picture, fine ones where. Source: Ronneberger, Fischer
and Brox, "U-Net: convolutional networks for biomedical image segmentation", 2015.

    scores = net(x)       (N, classes, H, W); the loss is your own, a class for each pixel

`kiso train DATA --model unet --corrupt noise0.5` lets it give clean pictures back: as many maps as
a picture has channels.
"""

from __future__ import annotations

from typing import Unpack

from kiso import nn, ops
from kiso.errors import ConfigError
from kiso.models.base import Card, Chain, Common, Net, Size, net, restored, scaled, sides
from kiso.ops import Value
from kiso.text import tr

__all__ = ["UNet", "unet"]

CHANNELS = (64, 128, 256, 512, 1024)


class Options(Common, total=False):
    """padded: convolutions keep the size, as do most nets of this name; false: the paper's, whose
    maps shrink by 2 pixels. batch_norm: behind every 3x3 convolution."""

    padded: bool
    batch_norm: bool


class Double(Chain):
    """Two 3x3 convolutions with ReLU.  (N, C, H, W) -> (N, channels, H, W), less 4 if unpadded"""

    def __init__(self, c: int, channels: int, padding: int, norm: bool):
        for i, inputs in enumerate((c, channels), 1):
            setattr(self, f"conv{i}", nn.Conv2d(inputs, channels, 3, padding=padding,
                                                bias=not norm, init="he_normal"))
            if norm:
                setattr(self, f"bn{i}", nn.BatchNorm2d(channels))
            setattr(self, f"relu{i}", nn.ReLU())


class UNet(Net):
    """(N, in_channels, H, W) -> (N, num_classes, H, W), or less where convolutions are unpadded:
    388 x 388 from 572 x 572.

    Errors: ConfigError if the picture is too small for five levels.
    """

    padded: bool

    def __init__(self, num_classes: int, in_channels: int = 1, input_size: Size = 128,
                 width: float = 1.0, padded: bool = True, batch_norm: bool = False):
        self.padded = padded
        smallest = 16 if padded else 188
        if min(sides(input_size)) < smallest:
            raise ConfigError(tr("unet takes images of at least {size} x {size} pixels, but they "
                                 "have {found}.", size=smallest, found=min(sides(input_size))))
        channels = [scaled(n, width) for n in CHANNELS]
        c, p = in_channels, int(padded)
        self.pool = nn.MaxPool2d(2)
        self.down: list[Double] = []
        for n in channels:
            self.down.append(Double(c, n, p, batch_norm))
            c = n
        self.up: list[nn.ConvTranspose2d] = []
        self.join: list[Double] = []
        for n in reversed(channels[:-1]):
            self.up.append(nn.ConvTranspose2d(c, n, 2, 2, init="he_normal"))
            self.join.append(Double(2 * n, n, p, batch_norm))
            c = n
        self.head = nn.Conv2d(c, num_classes, 1)

    def forward(self, x: Value) -> Value:
        """(N, in_channels, H, W) -> (N, num_classes, H, W)"""
        levels: list[Value] = []
        for i, part in enumerate(self.down):
            x = part(self.pool(x) if i else x)
            levels.append(x)
        for up, join, level in zip(self.up, self.join, reversed(levels[:-1]), strict=True):
            x = join(ops.concat(list(_fitted(level, up(x))), 1))
        return self.head(x)


def _fitted(level: Value, x: Value) -> tuple[Value, Value]:
    """Both maps with one size: a larger one of the way down loses its border, and what came up
    gets the row and column of zeros that pooling an odd number of pixels has lost."""
    for axis in (2, 3):
        wanted, found = ops.shape_of(level)[axis], ops.shape_of(x)[axis]
        if found == wanted - 1:
            x = ops.pad(x, [(0, int(k == axis)) for k in range(4)])
        elif found < wanted:
            start = (wanted - found) // 2
            level = (level[:, :, start:start + found] if axis == 2
                     else level[:, :, :, start:start + found])
    return level, x


def card(name: str) -> Card:
    """The net's card."""
    return Card(
        2015, "Ronneberger, Fischer, Brox: U-Net: Convolutional networks for biomedical image "
        "segmentation, MICCAI 2015",
        tr("A class for every pixel (cells under the microscope, 2 classes)."),
        tr("Two 3x3 convolutions on each of five levels, between them 2x2 poolings on the way down "
           "and 2x2 transposed convolutions on the way up; maps of the way down are joined with "
           "those of the way up. The output is a map for each class."),
        tr("{value} intersection over union on PhC-U373 (ISBI challenge 2015)", value="0.9203"),
        tr("{figure}: noise0.5 removed (18.57 dB), width 0.25, 32 x 32 pixels",
           figure=restored("25.63", "photos", 20)),
        differences=(
            tr("`kiso train` lets it give pictures back, with --corrupt clean ones from corrupted "
               "ones; classes of pixels need a loss of your own in Python, for example "
               "ops.cross_entropy of (N H W, classes)"),
            tr("convolutions with a border of 1, so that output and input have one size; "
               "padded=false as in the paper: {input} pixels become {output}", input=572,
               output=388),
            tr("no dropout at the end of the way down"),
            tr("torchvision has no such net")))


@net(card, (1, 128, 128), maps=True)
def unet(num_classes: int = 2, **options: Unpack[Options]) -> UNet:
    """U-Net: 23 convolutions, a score for each class and pixel."""
    return UNet(num_classes, **options)
