"""Dropout: in training, units, maps or whole branches are switched off by chance.

None can rely on another then. The mask is drawn anew for each batch; in inference nothing is
switched off.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from kiso import ops
from kiso.errors import ConfigError, ShapeError
from kiso.nn.checks import choice, number
from kiso.nn.reshaping import PassOn
from kiso.nn.rng import next_draw
from kiso.ops import Value

__all__ = ["Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "DropoutNd", "StochasticDepth"]


def _chance(layer: str, p: float) -> float:
    """A chance of at least 0 and below 1.  Errors: ConfigError."""
    chance = number(layer, "p", p, 0, 1)
    if chance == 1:
        raise ConfigError(f"{layer}: p is 1, which would switch off every unit; expected a "
                          "number of at least 0 and below 1.")
    return chance


def _drop(x: Value, p: float, shape: tuple[int, ...]) -> Value:
    """x times numbers of this shape, broadcast: each is 0 with chance p, else 1 / (1 - p)."""
    key, stream = next_draw()
    return x * ops.dropout(np.ones(shape, x.dtype), key, p=p, stream=stream)


class Dropout(PassOn):
    """Training: each element is 0 with chance p, else x / (1 - p). Inference: y = x.

    The mask is a function of the key and the order of the calls alone (see `nn.random_key`).
    Source: Srivastava et al. 2014. Errors: ConfigError unless 0 <= p < 1.
    """

    p: float

    def __init__(self, p: float = 0.5):
        self.p = _chance("Dropout", p)

    def forward(self, x: Value) -> Value:
        """Any shape, the same out."""
        if not self.training or self.p == 0:
            return x
        key, stream = next_draw()
        return ops.dropout(x, key, p=self.p, stream=stream)


class DropoutNd(PassOn):
    """Spatial dropout: whole maps are 0 with chance p, else x / (1 - p); x (N, C, *S).

    Neighbours in a map say nearly the same, so that dropping single elements would hide little.
    Base of Dropout1d, 2d and 3d. Source: Tompson et al. 2015. Errors: ConfigError unless
    0 <= p < 1, ShapeError for another number of axes.
    """

    ndim: ClassVar[int]
    p: float

    def __init__(self, p: float = 0.5):
        self.p = _chance(type(self).__name__, p)

    def forward(self, x: Value) -> Value:
        """(N, C, *S), the same shape out"""
        shape = ops.shape_of(x)
        if len(shape) != self.ndim + 2:
            raise ShapeError(f"the layer takes (N, C, *S) with {self.ndim} spatial axes, but the "
                             f"input is {shape}.")
        if not self.training or self.p == 0:
            return x
        return _drop(x, self.p, (*shape[:2], *(1,) * self.ndim))


class Dropout1d(DropoutNd):
    """Drops whole channels of sequences (N, C, L), see `DropoutNd`."""

    ndim = 1


class Dropout2d(DropoutNd):
    """Drops whole maps of images (N, C, H, W), see `DropoutNd`."""

    ndim = 2


class Dropout3d(DropoutNd):
    """Drops whole maps of volumes (N, C, D, H, W), see `DropoutNd`."""

    ndim = 3


class StochasticDepth(PassOn):
    """At the end of a residual body: the whole branch is 0 with chance p, else x / (1 - p).

    A net with it is, in each step, a shallower net drawn by chance. mode "row": each sample of the
    batch is drawn for itself; "batch": all alike. Semantics of torchvision.
    Source: Huang et al. 2016. Errors: ConfigError unless 0 <= p < 1, or for another mode.
    """

    p: float
    mode: str

    def __init__(self, p: float, mode: str = "row"):
        self.p = _chance("StochasticDepth", p)
        self.mode = choice("StochasticDepth", "mode", mode, ("row", "batch"))

    def forward(self, x: Value) -> Value:
        """Any shape (N, ...), the same out."""
        if not self.training or self.p == 0:
            return x
        shape = ops.shape_of(x)
        rows = shape[0] if self.mode == "row" else 1
        return _drop(x, self.p, (rows, *(1,) * (len(shape) - 1)))
