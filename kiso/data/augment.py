"""Augmentation: pictures a little changed in every epoch, so that a net learns what stays the same.

    shiftN    moved by up to N whole pixels each way; the edge is repeated
    cropN     padded by N pixels of 0 (the mean, after scaling), cut back to size at random
    flip      mirrored left to right with chance 1/2
    altflip   mirrored in every second epoch; whether in odd ones or in even ones has chance 1/2
              (Jordan 2024): two epochs show both forms of every picture
    rotateN   turned by up to N degrees either way
    scaleN    enlarged or shrunk by a factor from 1 - N to 1 + N
    colourN   brightness by up to N standard deviations, contrast and (of coloured pictures)
              saturation by a factor from 1 - N to 1 + N; `color` is read too
    cutoutN   a square of N x N pixels set to 0 (DeVries and Taylor 2017)

One text holds any of these words, for example "shift2 flip rotate10"; their order does not
matter. All moves of a picture are one affine map, so it is resampled once. What is outside comes
from the edge, or is 0 where `crop` is among the words. Where both are there, `altflip` counts.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from kiso import ops
from kiso.data.words import Words
from kiso.errors import DataError, DTypeError
from kiso.text import tr

__all__ = ["Augment", "cut_square", "fits_inside"]

_WORDS = Words(
    limits={"shift": 512, "crop": 512, "rotate": 180, "scale": 0.9, "colour": 1, "cutout": 512},
    pixels=("shift", "crop", "cutout"), flags=("flip", "altflip"), alike={"color": "colour"},
    examples=("shift2", "crop4", "flip", "altflip", "rotate10", "scale0.1", "colour0.2", "cutout4"))

# Which of a sample's random numbers serves what: fixed, so that a word that is added or left out
# does not change what the others do.
_FLIP, _SHIFT, _CROP, _ROTATE, _SCALE, _COLOUR, _CUTOUT, _COUNT = 0, 1, 3, 5, 6, 7, 10, 12
# Tell these draws apart from other draws by row under the same key.
_STREAM, _EVERY_EPOCH = 0xA06, 0xA07


@dataclass(frozen=True)
class Augment:
    """Strength of every change; 0 or False leaves it out. The units stand in the module's text.

    `str(augment)` gives the text that `Augment.parse` reads back: the record of a run.
    Errors: ConfigError for a number out of range.
    """

    shift: int = 0
    crop: int = 0
    flip: bool = False
    altflip: bool = False
    rotate: float = 0.0
    scale: float = 0.0
    colour: float = 0.0
    cutout: int = 0

    def __post_init__(self) -> None:
        _WORDS.check(self)

    @classmethod
    def parse(cls, text: str) -> Augment:
        """Read a text of words, see the module; "" changes nothing.

        Errors: DescriptionError that points at the first word that cannot be read.
        """
        return cls(**_WORDS.read(text, tr("cannot read the augmentation:")))

    def __str__(self) -> str:
        return _WORDS.text(self)

    def __bool__(self) -> bool:
        """Whether anything is changed at all."""
        return any(dataclasses.astuple(self))

    def apply(self, x: Any, key: Any, rows: Any) -> Any:
        """Change a batch x (N, C, H, W), float, scaled to mean 0; shape and type stay.

        `key` is make_key(seed, epoch), `rows` (N,) the sample's numbers in the data set: what
        happens to a sample depends on seed, epoch and its number alone. All three may be arrays,
        Tensors or traced values.

        Errors: DataError if x has no pictures or they are too small; DTypeError for integers.
        """
        if not self:
            return x
        self._check(x)
        u = ops.uniform_rows(key, rows, count=_COUNT, stream=_STREAM)  # (N, 12)
        if self.shift or self.crop or self.flip or self.altflip or self.rotate or self.scale:
            mirrored = self._mirrored(u, key, rows)
            x = ops.affine_sample(x, self._matrices(u, mirrored), fill=0.0 if self.crop else None)
        if self.colour:
            x = self._recolour(x, u)
        return cut_square(x, u[:, _CUTOUT:], self.cutout) if self.cutout else x

    def _check(self, x: Any) -> None:
        shape = ops.shape_of(x)
        if len(shape) != 4:
            raise DataError(tr("augmentation needs pictures of shape (N, C, H, W), but the data "
                               "have shape {shape}; leave --augment out.", shape=shape))
        if x.dtype.kind != "f":
            raise DTypeError(tr("augmentation needs scaled floating-point pictures, but they are "
                                "{dtype}; apply the Normalizer first.", dtype=x.dtype))
        fits_inside(shape, shift=self.shift, crop=self.crop, cutout=self.cutout)

    def _mirrored(self, u: Any, key: Any, rows: Any) -> Any:
        """(N,) which pictures are mirrored, or None."""
        if not self.altflip:
            return ops.less(u[:, _FLIP], 0.5) if self.flip else None
        # The same draw in all epochs, and 0 or 1 for even and odd ones.
        fixed = ops.where(np.array([True, True, False, False]), key, np.uint32(0))
        draw = ops.uniform_rows(fixed, rows, count=1, stream=_EVERY_EPOCH)[:, 0]
        half = ops.cast(key[2], "float32") * np.float32(0.5)
        odd = 2 * (half - ops.floor(half))
        return ops.less(ops.where(ops.less(draw, 0.5), odd, 1 - odd), 0.5)

    def _matrices(self, u: Any, mirrored: Any) -> Any:
        """(N, 2, 3) maps from pixels of the new picture to where the old one is read.

        [1 0; 0 m] [cos -sin; sin cos] / zoom, m = -1 for a mirrored picture, and a move.
        """
        N = ops.shape_of(u)[0]
        cos, sin = np.ones(N, np.float32), np.zeros(N, np.float32)
        mirror, down, right = cos, sin, sin
        if self.rotate:
            angle = _around_0(u[:, _ROTATE]) * math.radians(self.rotate)
            cos, sin = ops.cos(angle), ops.sin(angle)
        if self.scale:
            zoom = 1 + _around_0(u[:, _SCALE]) * self.scale
            cos, sin = cos / zoom, sin / zoom
        if mirrored is not None:
            mirror = ops.where(mirrored, -1.0, 1.0)
        for column, pixels in ((_SHIFT, self.shift), (_CROP, self.crop)):
            if pixels:
                down = down + _whole(u[:, column], 2 * pixels + 1) - pixels
                right = right + _whole(u[:, column + 1], 2 * pixels + 1) - pixels
        first = ops.stack([cos, -sin, down], axis=1)  # (N, 3)
        second = ops.stack([mirror * sin, mirror * cos, right], axis=1)
        return ops.stack([first, second], axis=1)

    def _recolour(self, x: Any, u: Any) -> Any:
        """Saturation about each pixel's grey, contrast about the picture's mean, brightness."""
        N, C = ops.shape_of(x)[:2]
        b, c, s = (ops.reshape(_around_0(u[:, _COLOUR + k]) * self.colour, (N, 1, 1, 1))
                   for k in range(3))
        if C > 1:
            grey = ops.mean(x, axis=1, keepdims=True)  # (N, 1, H, W)
            x = grey + (1 + s) * (x - grey)
        mean = ops.mean(x, axis=(1, 2, 3), keepdims=True)  # (N, 1, 1, 1)
        return mean + (1 + c) * (x - mean) + b


def fits_inside(shape: tuple[int, ...], **words: int) -> None:
    """Numbers of pixels must be smaller than pictures (N, C, H, W).  Errors: DataError."""
    size = min(shape[2:])
    for name, pixels in words.items():
        if pixels >= max(size, 1):
            raise DataError(tr("{word} is too large for pictures of {height}x{width} pixels; "
                               "use at most {limit}.", word=f"{name}{pixels}",
                               height=shape[2], width=shape[3], limit=size - 1))


def cut_square(x: Any, u: Any, side: int) -> Any:
    """0 where top <= i < top + side and left <= j < left + side; the square lies inside. Its place
    follows from u (N, 2) in [0, 1)."""
    N, _, H, W = ops.shape_of(x)
    inside: list[Any] = []
    for column, size, axis in ((0, H, 2), (1, W, 3)):
        at = np.arange(size, dtype=np.float32).reshape((1, 1, -1, 1) if axis == 2 else (-1,))
        start = ops.reshape(_whole(u[:, column], size - side + 1), (N, 1, 1, 1))
        inside.append(ops.mul(ops.greater_equal(at, start), ops.less(at, start + side)))
    return ops.where(ops.mul(*inside), 0.0, x)  # (N, 1, H, W) broadcast over the channels


def _around_0(u: Any) -> Any:
    """[0, 1) -> [-1, 1)."""
    return 2 * u - 1


def _whole(u: Any, count: int) -> Any:
    """[0, 1) -> 0, 1, ..., count - 1 with equal chances, as floats."""
    return ops.floor(u * count)
