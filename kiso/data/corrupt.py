"""Corruption: what is done to a picture before a net has to give it back as it was.

    noiseX    Gaussian noise of X standard deviations of the training pixels
    dropX     a share X of the pixels, all channels of each, set to 0 (the mean)
    cutoutN   a square of N x N pixels set to 0

One text holds any of these words, for example "noise0.5 cutout8"; they act in this order. A net
that sees the corrupted picture and is compared with the clean one learns what pictures look like,
instead of copying (denoising autoencoder). Source: Vincent, Larochelle, Bengio and Manzagol,
"Extracting and composing robust features with denoising autoencoders", 2008.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from kiso import ops
from kiso.data.augment import cut_square, fits_inside
from kiso.data.words import Words
from kiso.errors import DataError
from kiso.text import tr

__all__ = ["JUDGED", "Corrupt"]

_WORDS = Words(limits={"noise": 10, "drop": 0.99, "cutout": 512}, pixels=("cutout",),
               examples=("noise0.5", "drop0.3", "cutout8"))
_CUTOUT, _DROP, _NOISE = 0xC00, 0xC01, 0xC10  # streams; of noise two for each channel
_MOST = 1 << 17  # numbers that a row can draw from one stream

# Pictures that are judged are corrupted in the same way in every run, whatever its seed: figures of
# two runs can be compared. No training epoch has this number.
JUDGED = ops.make_key(0, 2**63)


@dataclass(frozen=True)
class Corrupt:
    """Strength of every change; 0 leaves it out. The units stand in the module's text.

    `str(corrupt)` gives the text that `Corrupt.parse` reads back. Errors: ConfigError for a number
    out of range.
    """

    noise: float = 0.0
    drop: float = 0.0
    cutout: int = 0

    def __post_init__(self) -> None:
        _WORDS.check(self)

    @classmethod
    def parse(cls, text: str) -> Corrupt:
        """Read a text of words, see the module; "" changes nothing.

        Errors: DescriptionError that points at the first word that cannot be read.
        """
        return cls(**_WORDS.read(text, tr("cannot read the corruption:")))

    def __str__(self) -> str:
        return _WORDS.text(self)

    def __bool__(self) -> bool:
        """Whether anything is changed at all."""
        return any(dataclasses.astuple(self))

    def apply(self, x: Any, key: Any, rows: Any) -> Any:
        """Corrupt a batch x (N, C, H, W), float, scaled to mean 0; shape and type stay.

        `key` is make_key(seed, epoch), or JUDGED; `rows` (N,) the sample's numbers: what happens to
        a sample depends on these alone. All three may be arrays, Tensors or traced values.

        Errors: DataError if the pictures are too small or too large.
        """
        if not self:
            return x
        shape = ops.shape_of(x)
        N, C, H, W = shape
        fits_inside(shape, cutout=self.cutout)
        if H * W > _MOST:
            raise DataError(tr("--corrupt takes pictures of at most {most} pixels, but they have "
                               "{height}x{width}; choose a smaller --size.", most=_MOST, height=H,
                               width=W))
        if self.noise:
            noise = [_normal(key, rows, H * W, _NOISE + 2 * c) for c in range(C)]
            x = x + self.noise * ops.reshape(ops.stack(noise, axis=1), shape)
        if self.drop:
            u = ops.uniform_rows(key, rows, count=H * W, stream=_DROP)
            x = ops.where(ops.less(ops.reshape(u, (N, 1, H, W)), self.drop), 0.0, x)
        if self.cutout:
            u = ops.uniform_rows(key, rows, count=2, stream=_CUTOUT)
            x = cut_square(x, u, self.cutout)
        return x


def _normal(key: Any, rows: Any, count: int, stream: int) -> Any:
    """N(0, 1), float32 (N, count): sqrt(-2 ln u) cos(2 pi v) of two uniform numbers, 0 < u <= 1
    (Box and Muller 1958)."""
    u = 1 - ops.uniform_rows(key, rows, count=count, stream=stream)
    v = ops.uniform_rows(key, rows, count=count, stream=stream + 1)
    return ops.sqrt(-2 * ops.log(u)) * ops.cos(2 * math.pi * v)
