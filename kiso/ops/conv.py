"""Convolution in 1, 2 and 3 dimensions: the inner product of a filter with every window.

    y[n, o, *i] = sum over c, *k of  W[o, c, *k] x[n, c, *(i T + k D - P_before)]

x (N, C, *S), W (O, C/groups, *K) -> y (N, O, *OUT), T stride, D dilation, P padding. With groups
the channels and the filters are cut into so many equal parts, and each part of the filters sees
only its part of the channels. As in all frameworks the filter is not turned over: strictly, this
is a cross-correlation.

With the windows as columns (im2col) the forward pass is a matrix product, Y = W X, as in a dense
layer (Affine), and so are its two gradients:

    forward           Y  = W X                   X = im2col(x)
    weight gradient   gW = gY X^T
    input gradient    gx = col2im(W^T gY)

y is linear in x and in W. Each of the three is therefore the gradient of the other two, and
derivatives of any order are convolutions again. The input gradient is also known as *transposed
convolution*.

Sources: LeCun et al., "Gradient-Based Learning Applied to Document Recognition", 1998 (layer);
Chellapilla et al., 2006 (im2col); Yu, Koltun, "Multi-Scale Context Aggregation by Dilated
Convolutions", 2016 (dilation); Krizhevsky et al., 2012 (groups).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kiso.errors import ShapeError
from kiso.ops.arithmetic import add
from kiso.ops.im2col import (
    Padding,
    Pads,
    add_windows,
    cropped,
    out_sizes,
    padded,
    padding_pairs,
    per_axis,
    windows,
)
from kiso.ops.op import Array, Op, Shape, Value, shape_of
from kiso.ops.sample import Sample
from kiso.ops.shape import reshape

__all__ = ["Conv", "ConvInputGrad", "ConvWeightGrad", "conv1d", "conv2d", "conv3d"]

# The columns of so many bytes are made at a time. Measured: columns that stay in the processor's
# cache are worth more than larger matrix products, and memory stays flat for large batches.
_BLOCK_BYTES = 2 << 20

# (x, W, attributes): every setting is run forward and through both gradients.
_SETTINGS: tuple[tuple[Shape, Shape, dict[str, Any]], ...] = (
    ((2, 3, 5, 6), (4, 3, 3, 2), {}),
    ((1, 2, 5, 5), (3, 2, 3, 3), {"padding": ((1, 1), (1, 1))}),
    ((2, 2, 6, 5), (2, 2, 3, 2), {"stride": (2, 3), "padding": ((1, 0), (0, 2))}),
    ((1, 1, 7, 6), (2, 1, 2, 3), {"dilation": (3, 2), "padding": ((0, 1), (1, 1))}),
    ((2, 4, 4, 4), (6, 2, 2, 2), {"groups": 2}),
    ((1, 3, 5, 4), (3, 1, 3, 3), {"groups": 3, "padding": ((1, 1), (1, 1)), "stride": (2, 2)}),
    ((2, 3, 6, 5), (3, 1, 3, 3), {"groups": 3, "padding": ((2, 2), (1, 1)), "dilation": (2, 1)}),
    ((1, 2, 5, 4), (6, 1, 3, 2), {"groups": 2, "padding": ((1, 1), (0, 1)), "stride": (2, 1)}),
    ((2, 3, 3, 3), (4, 3, 1, 1), {}),
    ((2, 2, 8), (3, 2, 3), {"stride": (2,), "padding": ((2, 1),)}),
    ((1, 4, 9), (2, 2, 3), {"dilation": (2,), "groups": 2}),
    ((1, 2, 3, 4, 3), (2, 2, 2, 2, 2), {"padding": ((0, 0), (1, 0), (1, 1))}),
    ((1, 2, 4, 3, 4), (2, 1, 2, 1, 3), {"groups": 2, "stride": (2, 1, 1), "dilation": (1, 2, 1)}),
)


def _attributes(kernel: Shape, given: dict[str, Any]) -> dict[str, Any]:
    """Attributes of a setting, completed."""
    ones = (1,) * len(kernel)
    plain = {"stride": ones, "padding": ((0, 0),) * len(kernel), "dilation": ones, "groups": 1}
    return plain | given


def _y_shape(x: Shape, W: Shape, given: dict[str, Any]) -> Shape:
    """Output shape of a setting."""
    a = _attributes(W[2:], given)
    return (x[0], W[0], *out_sizes("sample", x[2:], W[2:], a["stride"], a["padding"],
                                   a["dilation"]))


class Windowed(Op, abstract=True):
    """What convolution and its gradients share: attributes, the shape check, blocks of columns."""

    stride: Shape
    padding: Pads
    dilation: Shape
    groups: int

    def settings(self) -> dict[str, Any]:
        """The attributes that the other two ops of the family need as well."""
        return {"stride": self.stride, "padding": self.padding, "dilation": self.dilation,
                "groups": self.groups}

    def out(self, x: Shape, W: Shape) -> Shape:
        """(N, O, *OUT) for x and W, after checking that they fit.

        Errors: ShapeError that names axes, channels, groups and both shapes.
        """
        ndim, name = len(self.stride), f"conv{len(self.stride)}d"
        shapes = f"x {x} and W {W} with groups = {self.groups}"
        if len(x) != ndim + 2 or len(W) != ndim + 2:
            raise ShapeError(f"{name}: {shapes}: both need {ndim + 2} axes, x (N, C, *S) and "
                             f"W (O, C/groups, *K) with {ndim} spatial axes.")
        if x[1] != W[1] * self.groups:
            raise ShapeError(f"{name}: {shapes}: x has {x[1]} channels, but W works on {W[1]} "
                             f"channels in each of {self.groups} groups, {W[1] * self.groups} in "
                             "all; make them equal.")
        if W[0] % self.groups:
            raise ShapeError(f"{name}: {shapes}: the {W[0]} filters cannot be shared out evenly "
                             f"to {self.groups} groups; use a multiple of {self.groups}.")
        sizes = out_sizes(name, x[2:], W[2:], self.stride, self.padding, self.dilation)
        return x[0], W[0], *sizes

    def check_gradient(self, y: Shape, gy: Shape) -> None:
        """The gradient of y must have y's shape."""
        if y != gy:
            raise ShapeError(f"{type(self).__name__}: the gradient's shape is {gy}, but the "
                             f"convolution's output has {y}; they must be equal.")

    def columns(self, w: Array) -> Array:
        """im2col of some samples for all groups at once: (n, C, *K, *OUT) -> (G, C/G*K, n*L)."""
        ndim, n = len(self.stride), w.shape[0]
        kernel, length = math.prod(w.shape[2:2 + ndim]), math.prod(w.shape[2 + ndim:])
        rows = w.shape[1] // self.groups * kernel
        return np.moveaxis(w, 0, 1 + ndim).reshape(self.groups, rows, n * length)

    def maps(self, y: Array) -> Array:
        """Output channels as rows, in the order of `columns`: (n, O, *OUT) -> (G, O/G, n*L)."""
        n, o, length = y.shape[0], y.shape[1], math.prod(y.shape[2:])
        return y.swapaxes(0, 1).reshape(self.groups, o // self.groups, n * length)

    def matrices(self, W: Array) -> Array:
        """Each filter as a row: (O, C/G, *K) -> (G, O/G, C/G*K)."""
        g = self.groups
        return W.reshape(g, W.shape[0] // g, math.prod(W.shape[1:]))


def _blocks(w: Array) -> Iterator[slice]:
    """Cut the batch so that the columns of one block fill about `_BLOCK_BYTES`."""
    n, each = w.shape[0], math.prod(w.shape[1:]) * w.itemsize
    step = max(1, _BLOCK_BYTES // max(each, 1))
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


class Conv(Windowed):
    """Y = W im2col(x): (N, C, *S), (O, C/groups, *K) -> (N, O, *OUT).

    dL/dx = ConvInputGrad(gy, W),  dL/dW = ConvWeightGrad(x, gy).
    """

    samples = tuple(Sample(x, W, **_attributes(W[2:], a)) for x, W, a in _SETTINGS)

    def shape(self, x: Shape, W: Shape) -> Shape:
        return self.out(x, W)

    def forward(self, x: Array, W: Array) -> Array:
        y = np.empty(self.shape(x.shape, W.shape), np.result_type(x, W))
        w = windows(padded(x, self.padding), W.shape[2:], self.stride, self.dilation, y.shape[2:])
        filters = self.matrices(W)

        for block in _blocks(w):
            part = filters @ self.columns(w[block])  # (G, O/G, n*L)
            y[block] = part.reshape(y.shape[1], -1, *y.shape[2:]).swapaxes(0, 1)
        return y

    def backward(self, gy: Value, y: Value, x: Value, W: Value) -> tuple[Value, Value]:
        gx = ConvInputGrad(spatial=shape_of(x)[2:], **self.settings())(gy, W)
        gW = ConvWeightGrad(kernel=shape_of(W)[2:], **self.settings())(x, gy)
        return gx, gW


class ConvInputGrad(Windowed):
    """gx = col2im(W^T gY): (N, O, *OUT), (O, C/groups, *K) -> (N, C, *spatial).

    The input gradient of `Conv`, and transposed convolution. `spatial` tells which of the sizes
    that lead to OUT is meant (a stride loses the remainder).
    """

    spatial: Shape
    samples = tuple(Sample(_y_shape(x, W, a), W, spatial=x[2:], **_attributes(W[2:], a))
                    for x, W, a in _SETTINGS)

    def shape(self, gy: Shape, W: Shape) -> Shape:
        x = (*gy[:1], *(n * self.groups for n in W[1:2]), *self.spatial)
        self.check_gradient(self.out(x, W), gy)
        return x

    def forward(self, gy: Array, W: Array) -> Array:
        n, c, *spatial = self.shape(gy.shape, W.shape)
        sizes = (s + sum(p) for s, p in zip(spatial, self.padding, strict=True))
        gx = np.zeros((n, c, *sizes), np.result_type(gy, W))
        kernel, ndim = W.shape[2:], len(spatial)
        w = windows(gx, kernel, self.stride, self.dilation, gy.shape[2:])
        turned = self.matrices(W).swapaxes(1, 2)  # (G, C/G*K, O/G)

        for block in _blocks(w):
            part = turned @ self.maps(gy[block])  # (G, C/G*K, n*L)
            columns = part.reshape(c, *kernel, -1, *gy.shape[2:])
            add_windows(w[block], np.moveaxis(columns, 1 + ndim, 0), kernel)
        return np.ascontiguousarray(cropped(gx, self.padding))

    def backward(self, gy: Value, y: Value, x: Value, W: Value) -> tuple[Value, Value]:
        return (Conv(**self.settings())(gy, W),
                ConvWeightGrad(kernel=shape_of(W)[2:], **self.settings())(gy, x))


class ConvWeightGrad(Windowed):
    """gW = gY im2col(x)^T, summed over the batch: (N, C, *S), (N, O, *OUT) -> (O, C/groups, *K)."""

    kernel: Shape
    samples = tuple(Sample(x, _y_shape(x, W, a), kernel=W[2:], **_attributes(W[2:], a))
                    for x, W, a in _SETTINGS)

    def shape(self, x: Shape, gy: Shape) -> Shape:
        W = (*gy[1:2], *(n // self.groups for n in x[1:2]), *self.kernel)
        self.check_gradient(self.out(x, W), gy)
        return W

    def forward(self, x: Array, gy: Array) -> Array:
        gW = np.zeros(self.shape(x.shape, gy.shape), np.result_type(x, gy))
        w = windows(padded(x, self.padding), self.kernel, self.stride, self.dilation,
                    gy.shape[2:])
        total = self.matrices(gW)  # a view, (G, O/G, C/G*K)
        for block in _blocks(w):
            total += self.maps(gy[block]) @ self.columns(w[block]).swapaxes(1, 2)
        return gW

    def backward(self, gy: Value, y: Value, x: Value, g: Value) -> tuple[Value, Value]:
        return (ConvInputGrad(spatial=shape_of(x)[2:], **self.settings())(g, gy),
                Conv(**self.settings())(x, gy))


def _conv(ndim: int, x: Value, W: Value, b: Value | None, stride: int | Sequence[int],
          padding: Padding, dilation: int | Sequence[int], groups: int) -> Value:
    name, xs, Ws = f"conv{ndim}d", shape_of(x), shape_of(W)
    if len(xs) != ndim + 2 or len(Ws) != ndim + 2:
        raise ShapeError(f"{name}: x {xs} and W {Ws}: both need {ndim + 2} axes, x (N, C, *S) and "
                         f"W (O, C/groups, *K); a single sample needs a batch axis: x[None].")
    if groups < 1:
        raise ShapeError(f"{name}: groups = {groups}; use a whole number >= 1.")
    steps, spread = per_axis("stride", stride, ndim), per_axis("dilation", dilation, ndim)
    pads = padding_pairs(padding, xs[2:], Ws[2:], steps, spread)
    y = Conv(stride=steps, padding=pads, dilation=spread, groups=groups)(x, W)
    if b is None:
        return y
    if shape_of(b) != Ws[:1]:
        raise ShapeError(f"{name}: the bias has shape {shape_of(b)}, but W {Ws} has {Ws[0]} "
                         f"filters; one number for each is needed: {Ws[:1]}.")
    return add(y, reshape(b, (Ws[0], *(1,) * ndim)))


def conv1d(x: Value, W: Value, b: Value | None = None, *, stride: int | Sequence[int] = 1,
           padding: Padding = 0, dilation: int | Sequence[int] = 1, groups: int = 1) -> Value:
    """Convolution of x (N, C, S) with W (O, C/groups, K), plus a bias b (O,); see `conv2d`."""
    return _conv(1, x, W, b, stride, padding, dilation, groups)


def conv2d(x: Value, W: Value, b: Value | None = None, *, stride: int | Sequence[int] = 1,
           padding: Padding = 0, dilation: int | Sequence[int] = 1, groups: int = 1) -> Value:
    """Convolution of images x (N, C, H, W) with filters W (O, C/groups, KH, KW), plus b (O,).

    OH = (H + 2P - K) / T + 1, rounded down. `padding` is a number, one for each axis, pairs
    (before, after), "valid" (none) or "same" (OH = ceil(H / T)).
    Errors: ShapeError if channels and groups do not fit, or no window fits into the image.
    """
    return _conv(2, x, W, b, stride, padding, dilation, groups)


def conv3d(x: Value, W: Value, b: Value | None = None, *, stride: int | Sequence[int] = 1,
           padding: Padding = 0, dilation: int | Sequence[int] = 1, groups: int = 1) -> Value:
    """Convolution of volumes x (N, C, D, H, W) with W (O, C/groups, KD, KH, KW), plus b (O,)."""
    return _conv(3, x, W, b, stride, padding, dilation, groups)
