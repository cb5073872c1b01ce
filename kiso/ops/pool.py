"""Pooling (sub-sampling): the largest or the mean element of every window, channel by channel.

    max pooling       y[n, c, *i] = max over *k of x[n, c, *(i T + k - P_before)]
    average pooling   y[n, c, *i] = sum over *k of x[n, c, *(i T + k - P_before)] / count_i

x (N, C, *S) -> (N, C, *OUT), kernel K, stride T (usually T = K: windows do not overlap), padding P.
There is nothing to learn, the channels stay apart, and small shifts of the input leave most of the
output as it is. Windows and sizes are those of `kiso.ops.im2col`.

Sources: LeCun et al., "Gradient-Based Learning Applied to Document Recognition", 1998
(sub-sampling); Ranzato et al., "Unsupervised Learning of Invariant Feature Hierarchies", 2007
(maximum); Lin, Chen, Yan, "Network in Network", 2014 (global average).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from kiso.errors import ShapeError
from kiso.ops.im2col import (
    Padding,
    Pads,
    cropped,
    out_sizes,
    padded,
    padding_pairs,
    per_axis,
    windows,
)
from kiso.ops.op import Array, Op, Shape, Value, shape_of
from kiso.ops.reduce import max as max_over
from kiso.ops.reduce import mean
from kiso.ops.sample import Sample

__all__ = ["AvgPool", "AvgPoolGrad", "MaxPool", "MaxPoolGrad", "MaxPoolPick", "avg_pool1d",
           "avg_pool2d", "avg_pool3d", "global_avg_pool", "global_max_pool", "max_pool1d",
           "max_pool2d", "max_pool3d"]


def _settings(kernel: Shape, stride: Shape, padding: Pads | None = None,
              ceil_mode: bool = False) -> dict[str, Any]:
    pads = padding or ((0, 0),) * len(kernel)
    return {"kernel": kernel, "stride": stride, "padding": pads, "ceil_mode": ceil_mode}


# (x, y, attributes): usual, overlapping, padded, ceil mode, gaps between windows, 1-D, 3-D
_SETTINGS: tuple[tuple[Shape, Shape, dict[str, Any]], ...] = (
    ((2, 3, 4, 6), (2, 3, 2, 3), _settings((2, 2), (2, 2))),
    ((1, 2, 5, 7), (1, 2, 2, 3), _settings((3, 3), (2, 2))),
    ((2, 1, 4, 5), (2, 1, 4, 3), _settings((2, 3), (1, 2), ((0, 1), (1, 1)))),
    ((1, 2, 5, 6), (1, 2, 3, 3), _settings((2, 2), (2, 2), None, True)),
    ((1, 1, 6, 5), (1, 1, 3, 3), _settings((3, 3), (3, 2), ((1, 1), (1, 1)), True)),
    ((2, 1, 6, 6), (2, 1, 2, 2), _settings((2, 1), (3, 4))),
    ((2, 2, 7), (2, 2, 3), _settings((3,), (2,))),
    ((1, 2, 4, 3, 3), (1, 2, 2, 2, 2), _settings((2, 2, 2), (2, 1, 1))),
)


class Pool(Op, abstract=True):
    """What all pooling ops share: attributes, the shape rule and the view of the windows."""

    kernel: Shape
    stride: Shape
    padding: Pads
    ceil_mode: bool

    def settings(self) -> dict[str, Any]:
        """The attributes, for the gradient's op."""
        return {"kernel": self.kernel, "stride": self.stride, "padding": self.padding,
                "ceil_mode": self.ceil_mode}

    def pooled(self, x: Shape) -> Shape:
        """(N, C, *OUT) for x, after checking that every window holds an element of x."""
        ndim = len(self.kernel)
        name = f"pool{ndim}d"
        if len(x) != ndim + 2:
            raise ShapeError(f"{name}: x must be (N, C, *S) with {ndim} spatial axes, but its "
                             f"shape is {x}; a single sample needs a batch axis: x[None].")
        if any(max(p) >= k for p, k in zip(self.padding, self.kernel, strict=True)):
            raise ShapeError(f"{name}: padding {self.padding} must be smaller than the kernel "
                             f"{self.kernel}, or windows would hold nothing but padding.")
        out = out_sizes(name, x[2:], self.kernel, self.stride, self.padding, None, self.ceil_mode)
        return x[0], x[1], *out

    def check_gradient(self, x: Shape, gy: Shape) -> None:
        """The gradient of y must have y's shape."""
        if self.pooled(x) != gy:
            raise ShapeError(f"{type(self).__name__}: the gradient's shape is {gy}, but pooling "
                             f"{x} gives {self.pooled(x)}; they must be equal.")

    def border(self, x: Shape) -> Pads:
        """The padding, with what ceil mode adds at the end for its last window."""
        out = self.pooled(x)[2:]
        ends = ((o - 1) * t + k for o, t, k in zip(out, self.stride, self.kernel, strict=True))
        return tuple((before, max(after, end - n - before)) for (before, after), end, n
                     in zip(self.padding, ends, x[2:], strict=True))

    def view(self, x: Array, out: Shape) -> Array:
        """Windows of an array that has its border already: (N, C, *K, *OUT), no copy."""
        return windows(x, self.kernel, self.stride, (1,) * len(self.kernel), out)

    def places(self) -> list[Shape]:
        """The places k of the kernel in row-major order."""
        return list(np.ndindex(*self.kernel))


# Maximum

class MaxPool(Pool):
    """y[n, c, *i] = the largest element of window i; padding never wins.

    dL/dx = MaxPoolGrad(x, gy): the gradient goes to where the maximum was.
    """

    samples = tuple(Sample(x, **attributes) for x, _, attributes in _SETTINGS)

    def shape(self, x: Shape) -> Shape:
        return self.pooled(x)

    def forward(self, x: Array) -> Array:
        lowest = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
        w = self.view(padded(x, self.border(x.shape), lowest), self.pooled(x.shape)[2:])
        first, *others = self.places()
        y = w[:, :, *first].copy()
        for k in others:
            np.maximum(y, w[:, :, *k], out=y)
        return y

    def backward(self, gy: Value, y: Value, x: Value) -> Value:
        return MaxPoolGrad(**self.settings())(x, gy)


class MaxPlace(Pool, abstract=True):
    """Pooling ops that need to know where the maximum of x is."""

    def winners(self, x: Array) -> Array:
        """Place k of the first maximum in each window, as its number in row-major order.

        It is the number of places before the first one that equals the maximum.
        """
        y = MaxPool(**self.settings()).forward(x)
        # NaN equals nothing, so that padding is not taken for an x of -infinity.
        w = self.view(padded(x, self.border(x.shape), np.nan), y.shape[2:])
        searching = np.ones(y.shape, bool)
        winner = np.zeros(y.shape, np.min_scalar_type(math.prod(self.kernel)))
        for k in self.places()[:-1]:
            searching &= w[:, :, *k] != y
            winner += searching
        return winner


class MaxPoolGrad(MaxPlace):
    """gx = sum of gy over the windows in which x is the (first) maximum; x, gy -> gx.

    As a function of gy it is linear, with `MaxPoolPick` as its gradient. As a function of x it is
    constant, but for jumps where another element becomes the maximum: its gradient is 0.
    """

    samples = tuple(Sample(x, y, **attributes) for x, y, attributes in _SETTINGS)

    def shape(self, x: Shape, gy: Shape) -> Shape:
        self.check_gradient(x, gy)
        return x

    def dtype(self, x: np.dtype, gy: np.dtype) -> np.dtype:
        return gy

    def forward(self, x: Array, gy: Array) -> Array:
        border, winner = self.border(x.shape), self.winners(x)
        gx = padded(np.zeros(x.shape, gy.dtype), border)
        w = self.view(gx, gy.shape[2:])
        for number, k in enumerate(self.places()):
            w[:, :, *k] += gy * (winner == number)
        return np.ascontiguousarray(cropped(gx, border))

    def backward(self, gy: Value, y: Value, x: Value, g: Value) -> tuple[None, Value]:
        return None, MaxPoolPick(**self.settings())(x, gy)


class MaxPoolPick(MaxPlace):
    """y = g at the (first) maximum of x in each window; x, g of one shape. MaxPool(x) = Pick(x, x).

    The gradient of `MaxPoolGrad`, which is in turn the gradient of this op.
    """

    samples = tuple(Sample(x, x, **attributes) for x, _, attributes in _SETTINGS)

    def shape(self, x: Shape, g: Shape) -> Shape:
        if x != g:
            raise ShapeError(f"max_pool: values to pick have shape {g}, but the array whose "
                             f"maxima are looked for has {x}; they must be equal.")
        return self.pooled(x)

    def dtype(self, x: np.dtype, g: np.dtype) -> np.dtype:
        return g

    def forward(self, x: Array, g: Array) -> Array:
        winner = self.winners(x)
        w = self.view(padded(g, self.border(g.shape)), winner.shape[2:])
        y = np.empty(winner.shape, g.dtype)
        for number, k in enumerate(self.places()):
            np.copyto(y, w[:, :, *k], where=winner == number)
        return y

    def backward(self, gy: Value, y: Value, x: Value, g: Value) -> tuple[None, Value]:
        return None, MaxPoolGrad(**self.settings())(x, gy)


# Average

class Average(Pool, abstract=True):
    """What average pooling and its gradient share: by how many elements to divide."""

    count_include_pad: bool
    floats = True

    def counts(self, spatial: Shape, dtype: np.dtype) -> Array:
        """Elements in each window, (*OUT): a product over the axes.

        Padding counts with `count_include_pad`; what ceil mode adds behind it never counts.
        """
        total = np.ones((), dtype)
        out = self.pooled((1, 1, *spatial))[2:]
        for n, k, t, (before, after), o in zip(spatial, self.kernel, self.stride, self.padding,
                                               out, strict=True):
            start = np.arange(o) * t - before
            low, high = (-before, n + after) if self.count_include_pad else (0, n)
            inside = np.minimum(start + k, high) - np.maximum(start, low)
            total = total[..., None] * inside.astype(dtype)
        return total


_AVERAGES = tuple((x, y, {**attributes, "count_include_pad": include})
                  for x, y, attributes in _SETTINGS for include in (True, False))


class AvgPool(Average):
    """y[n, c, *i] = sum of window i / number of its elements;  dL/dx = AvgPoolGrad(gy)."""

    samples = tuple(Sample(x, **attributes) for x, _, attributes in _AVERAGES)

    def shape(self, x: Shape) -> Shape:
        return self.pooled(x)

    def forward(self, x: Array) -> Array:
        w = self.view(padded(x, self.border(x.shape)), self.pooled(x.shape)[2:])
        first, *others = self.places()
        total = w[:, :, *first].copy()
        for k in others:
            total += w[:, :, *k]
        return total / self.counts(x.shape[2:], x.dtype)

    def backward(self, gy: Value, y: Value, x: Value) -> Value:
        return AvgPoolGrad(spatial=shape_of(x)[2:], count_include_pad=self.count_include_pad,
                           **self.settings())(gy)


class AvgPoolGrad(Average):
    """gx = sum of gy / count over the windows that hold x: each element gets an equal share."""

    spatial: Shape
    samples = tuple(Sample(y, spatial=x[2:], **attributes) for x, y, attributes in _AVERAGES)

    def shape(self, gy: Shape) -> Shape:
        x = (*gy[:2], *self.spatial)
        self.check_gradient(x, gy)
        return x

    def forward(self, gy: Array) -> Array:
        x = self.shape(gy.shape)
        border = self.border(x)
        gx = padded(np.zeros(x, gy.dtype), border)
        w = self.view(gx, gy.shape[2:])
        share = gy / self.counts(self.spatial, gy.dtype)
        for k in self.places():
            w[:, :, *k] += share
        return np.ascontiguousarray(cropped(gx, border))

    def backward(self, gy: Value, y: Value, x: Value) -> Value:
        return AvgPool(count_include_pad=self.count_include_pad, **self.settings())(gy)


# Functions

Size = int | Sequence[int]


def _normal(ndim: int, x: Value, kernel_size: Size, stride: Size | None, padding: Padding,
            ceil_mode: bool) -> dict[str, Any]:
    spatial = shape_of(x)[2:]
    if len(shape_of(x)) != ndim + 2:
        raise ShapeError(f"pool{ndim}d: x must be (N, C, *S) with {ndim} spatial axes, but its "
                         f"shape is {shape_of(x)}; a single sample needs a batch axis: x[None].")
    kernel = per_axis("kernel_size", kernel_size, ndim)
    step = kernel if stride is None else per_axis("stride", stride, ndim)
    pads = padding_pairs(padding, spatial, kernel, step, (1,) * ndim)
    return {"kernel": kernel, "stride": step, "padding": pads, "ceil_mode": bool(ceil_mode)}


def max_pool1d(x: Value, kernel_size: Size, stride: Size | None = None, padding: Padding = 0,
               ceil_mode: bool = False) -> Value:
    """Largest element of each window of x (N, C, S); see `max_pool2d`."""
    return MaxPool(**_normal(1, x, kernel_size, stride, padding, ceil_mode))(x)


def max_pool2d(x: Value, kernel_size: Size, stride: Size | None = None, padding: Padding = 0,
               ceil_mode: bool = False) -> Value:
    """Largest element of each window of x (N, C, H, W); the stride is the kernel size by default.

    OH = (H + 2P - K) / T + 1, rounded down, or up with `ceil_mode`. `padding` as in `conv2d`.
    Errors: ShapeError if no window fits, or windows could lie in the padding altogether.
    """
    return MaxPool(**_normal(2, x, kernel_size, stride, padding, ceil_mode))(x)


def max_pool3d(x: Value, kernel_size: Size, stride: Size | None = None, padding: Padding = 0,
               ceil_mode: bool = False) -> Value:
    """Largest element of each window of x (N, C, D, H, W); see `max_pool2d`."""
    return MaxPool(**_normal(3, x, kernel_size, stride, padding, ceil_mode))(x)


def avg_pool1d(x: Value, kernel_size: Size, stride: Size | None = None, padding: Padding = 0,
               ceil_mode: bool = False, *, count_include_pad: bool = True) -> Value:
    """Mean of each window of x (N, C, S); see `avg_pool2d`."""
    attributes = _normal(1, x, kernel_size, stride, padding, ceil_mode)
    return AvgPool(count_include_pad=count_include_pad, **attributes)(x)


def avg_pool2d(x: Value, kernel_size: Size, stride: Size | None = None, padding: Padding = 0,
               ceil_mode: bool = False, *, count_include_pad: bool = True) -> Value:
    """Mean of each window of x (N, C, H, W); sizes and errors as in `max_pool2d`.

    Zeros of the padding count as elements unless `count_include_pad` is False.
    """
    attributes = _normal(2, x, kernel_size, stride, padding, ceil_mode)
    return AvgPool(count_include_pad=count_include_pad, **attributes)(x)


def avg_pool3d(x: Value, kernel_size: Size, stride: Size | None = None, padding: Padding = 0,
               ceil_mode: bool = False, *, count_include_pad: bool = True) -> Value:
    """Mean of each window of x (N, C, D, H, W); see `avg_pool2d`."""
    attributes = _normal(3, x, kernel_size, stride, padding, ceil_mode)
    return AvgPool(count_include_pad=count_include_pad, **attributes)(x)


def global_avg_pool(x: Value) -> Value:
    """Mean of every channel: (N, C, *S) -> (N, C)."""
    return mean(x, tuple(range(2, len(shape_of(x)))))


def global_max_pool(x: Value) -> Value:
    """Largest element of every channel: (N, C, *S) -> (N, C)."""
    return max_over(x, tuple(range(2, len(shape_of(x)))))
