"""Layers that move numbers without computing: flatten, reshape, pad, im2col, identity."""

from __future__ import annotations

import math
from collections.abc import Sequence

from kiso import ops
from kiso.errors import ConfigError, ShapeError
from kiso.nn.checks import count, sizes
from kiso.nn.module import Module
from kiso.ops import Value

__all__ = ["Flatten", "Identity", "Im2Col", "Pad", "PassOn", "Reshape"]


class PassOn(Module):
    """Base of layers that hardly change how large signals are: the next activation shines through.

    A convolution before pooling before ReLU is still a convolution before ReLU (see `nn.init`).
    """

    def followed_by(self, activation: str | None) -> str | None:
        """What a layer before this one sees is what comes after it."""
        return activation


class Identity(PassOn):
    """y = x: a place holder."""

    def forward(self, x: Value) -> Value:
        """Any shape, unchanged."""
        return x


class Flatten(PassOn):
    """All axes from `start_dim` to `end_dim` as one: (N, C, H, W) -> (N, C*H*W)."""

    start_dim: int
    end_dim: int

    def __init__(self, start_dim: int = 1, end_dim: int = -1):
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, x: Value) -> Value:
        """(N, C, H, W) -> (N, C*H*W)"""
        shape = ops.shape_of(x)
        start, end = (d + len(shape) if d < 0 else d for d in (self.start_dim, self.end_dim))
        if start == len(shape) == 1:  # (N,) -> (N, 1)
            return ops.reshape(x, (*shape, 1))
        if not 0 <= start <= end < len(shape):
            raise ShapeError(f"Flatten: axes {self.start_dim} to {self.end_dim} do not exist in "
                             f"shape {shape}.")
        middle = math.prod(shape[start:end + 1])
        return ops.reshape(x, (*shape[:start], middle, *shape[end + 1:]))

    def extra_repr(self) -> str:
        plain = (self.start_dim, self.end_dim) == (1, -1)
        return "" if plain else f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Reshape(PassOn):
    """Each sample under another shape: Reshape(16, 4, 4) turns (N, 256) into (N, 16, 4, 4).

    One number may be -1 and is computed. Errors: ShapeError if the numbers of elements differ.
    """

    shape: tuple[int, ...]

    def __init__(self, *shape: int):
        if not shape or any(isinstance(n, bool) or not isinstance(n, int) or n == 0 or n < -1
                            for n in shape) or shape.count(-1) > 1:
            raise ConfigError(f"Reshape: shape is {shape}; expected whole numbers of at least 1, "
                              "one of which may be -1.")
        self.shape = tuple(shape)

    def forward(self, x: Value) -> Value:
        """(N, ...) -> (N, *shape)"""
        return ops.reshape(x, (ops.shape_of(x)[0], *self.shape))

    def extra_repr(self) -> str:
        return ", ".join(map(str, self.shape))


class Pad(PassOn):
    """A border around the spatial axes: Pad(1) on (N, C, H, W) gives (N, C, H + 2, W + 2).

    `padding` is one width for all sides, or (before, after) pairs, one for each of the last axes:
    Pad([(0, 1), (2, 0)]) adds a row below and two columns on the left.
    """

    padding: int | tuple[tuple[int, int], ...]
    value: float

    def __init__(self, padding: int | Sequence[tuple[int, int]], value: float = 0.0):
        if isinstance(padding, int):
            self.padding = count("Pad", "padding", padding, low=0)
        else:
            pairs = [sizes("Pad", "padding", p, 2, low=0) for p in padding]
            if not pairs or any(isinstance(p, int) for p in pairs):
                raise ConfigError(f"Pad: padding is {padding!r}; expected a number, or (before, "
                                  "after) pairs for the last axes.")
            self.padding = tuple((p[0], p[1]) for p in pairs if not isinstance(p, int))
        self.value = value

    def forward(self, x: Value) -> Value:
        """(N, C, *S) -> (N, C, *S + borders)"""
        ndim = len(ops.shape_of(x))
        if isinstance(self.padding, int):
            pairs = ((self.padding, self.padding),) * (ndim - 2)
        else:
            pairs = self.padding
        if len(pairs) > ndim:
            raise ShapeError(f"Pad: {len(pairs)} pairs of widths, but the input has {ndim} axes.")
        return ops.pad(x, ((0, 0),) * (ndim - len(pairs)) + pairs, self.value)

    def extra_repr(self) -> str:
        return f"{self.padding}" + (f", value={self.value:g}" if self.value else "")


class Im2Col(PassOn):
    """The windows of a convolution as columns: (N, C, *S) -> (N, C*prod(K), L). PyTorch: Unfold."""

    kernel_size: int | tuple[int, ...]
    stride: int | tuple[int, ...]
    padding: int | tuple[int, ...]
    dilation: int | tuple[int, ...]

    def __init__(self, kernel_size: int | Sequence[int], dilation: int | Sequence[int] = 1,
                 padding: int | Sequence[int] = 0, stride: int | Sequence[int] = 1):
        given = {"kernel_size": kernel_size, "dilation": dilation, "stride": stride}
        for name, value in given.items():
            ndim = 1 if isinstance(value, int) else len(value)
            setattr(self, name, sizes("Im2Col", name, value, ndim))
        self.padding = sizes("Im2Col", "padding", padding,
                             1 if isinstance(padding, int) else len(padding), low=0)

    def forward(self, x: Value) -> Value:
        """(N, C, *S) -> (N, C*prod(K), L)"""
        return ops.im2col(x, self.kernel_size, stride=self.stride, padding=self.padding,
                          dilation=self.dilation)
