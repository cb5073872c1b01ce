"""Reductions over axes: sum, mean, variance, extremes, positions of extremes, log-sum-exp.

`axis` is an int, a tuple or None (all axes); `keepdims` leaves reduced axes with length 1.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kiso.errors import ShapeError
from kiso.ops.broadcast import broadcast_to
from kiso.ops.compare import equal
from kiso.ops.elementwise import cast, exp
from kiso.ops.op import Array, Op, Shape, Value, shape_of
from kiso.ops.sample import Draw, Sample
from kiso.ops.shape import reshape

__all__ = ["ArgMax", "ArgMin", "LogSumExp", "Max", "Mean", "Min", "Sum", "Var", "argmax", "argmin",
           "logsumexp", "max", "mean", "min", "sum", "var"]

Axis = int | tuple[int, ...] | None

_REDUCTIONS = (
    Sample((2, 3), axis=None, keepdims=False),
    Sample((2, 3, 4), axis=(0, 2), keepdims=True),
    Sample((2, 3, 4), axis=(-2,), keepdims=False),
    Sample((5,), axis=(0,), keepdims=False),
)


def normal_axes(axis: Axis, ndim: int) -> tuple[int, ...]:
    """The reduced axes, counted from the front and sorted."""
    if axis is None:
        return tuple(range(ndim))
    axes = (axis,) if isinstance(axis, int | np.integer) else tuple(axis)
    for a in axes:
        if not -ndim <= a < ndim:
            raise ShapeError(f"axis {a} does not exist: the array has {ndim} axes; use a value "
                             f"from {-ndim} to {ndim - 1}.")
    return tuple(sorted({a % ndim for a in axes}))


class Reduction(Op, abstract=True):
    """Shape rule that all reductions share."""

    axis: tuple[int, ...] | None
    keepdims: bool
    samples = _REDUCTIONS

    def shape(self, x: Shape) -> Shape:
        axes = normal_axes(self.axis, len(x))
        if self.keepdims:
            return tuple(1 if i in axes else n for i, n in enumerate(x))
        return tuple(n for i, n in enumerate(x) if i not in axes)

    def spread(self, y: Value, x: Value) -> Value:
        """Give a reduced array its lost axes back and stretch it over x."""
        full = shape_of(x)
        axes = normal_axes(self.axis, len(full))
        kept = tuple(1 if i in axes else n for i, n in enumerate(full))
        return broadcast_to(reshape(y, kept), full)

    def count(self, x: Value) -> int:
        """How many elements go into one output."""
        full = shape_of(x)
        return math.prod(full[i] for i in normal_axes(self.axis, len(full)))


class Sum(Reduction):
    """y = sum of x_i (int64 of integers and bools);  dy/dx_i = 1."""

    def dtype(self, x: np.dtype) -> np.dtype:
        return x if x.kind == "f" else np.dtype(np.int64)  # 200 + 200 is no uint8

    def forward(self, x: Array) -> Array:
        y: Any = np.sum(x, axis=self.axis, keepdims=self.keepdims, dtype=self.dtype(x.dtype))
        return y

    def backward(self, gy: Value, y: Value, x: Value) -> Value:
        return self.spread(gy, x)


class Mean(Reduction):
    """y = (1/n) sum of x_i;  dy/dx_i = 1/n."""

    floats = True

    def forward(self, x: Array) -> Array:
        y: Any = np.mean(x, axis=self.axis, keepdims=self.keepdims)
        return y

    def backward(self, gy: Value, y: Value, x: Value) -> Value:
        return self.spread(gy / self.count(x), x)


class Var(Reduction):
    """y = 1/(n - c) sum of (x_i - m)^2, m the mean;  dy/dx_i = 2 (x_i - m) / (n - c)."""

    correction: int = 0
    floats = True
    samples = (*_REDUCTIONS, Sample((4, 3), axis=(0,), keepdims=False, correction=1))

    def shape(self, x: Shape) -> Shape:
        count = math.prod(x[i] for i in normal_axes(self.axis, len(x)))
        if count <= self.correction:
            raise ShapeError(f"var: n - correction = {count} - {self.correction} = "
                             f"{count - self.correction}: nothing to divide by; a variance with "
                             f"this correction needs at least {self.correction + 1} elements.")
        return super().shape(x)

    def forward(self, x: Array) -> Array:
        return np.var(x, axis=self.axis, keepdims=self.keepdims, ddof=self.correction)

    def backward(self, gy: Value, y: Value, x: Value) -> Value:
        centred = x - mean(x, self.axis, keepdims=True)
        return self.spread(gy * (2 / (self.count(x) - self.correction)), x) * centred


class Max(Reduction):
    """y = largest x_i; the gradient goes to it (in equal shares where several are largest)."""

    def forward(self, x: Array) -> Array:
        return np.max(x, axis=self.axis, keepdims=self.keepdims)

    def backward(self, gy: Value, y: Value, x: Value) -> Value:
        largest = cast(equal(x, self.spread(y, x)), gy.dtype)
        return self.spread(gy, x) * largest / sum(largest, self.axis, keepdims=True)


class Min(Reduction):
    """y = smallest x_i; the gradient goes to it (in equal shares where several are smallest)."""

    def forward(self, x: Array) -> Array:
        return np.min(x, axis=self.axis, keepdims=self.keepdims)

    def backward(self, gy: Value, y: Value, x: Value) -> Value:
        smallest = cast(equal(x, self.spread(y, x)), gy.dtype)
        return self.spread(gy, x) * smallest / sum(smallest, self.axis, keepdims=True)


class LogSumExp(Reduction):
    """y = ln sum of e^(x_i) = m + ln sum of e^(x_i - m), m the maximum;  dy/dx_i = e^(x_i - y)."""

    floats = True
    samples = (*_REDUCTIONS, Sample(Draw(3, 4, low=900, high=1000), axis=(1,), keepdims=False))

    def forward(self, x: Array) -> Array:
        m = np.max(x, axis=self.axis, keepdims=True)
        m = np.where(np.isfinite(m), m, 0).astype(x.dtype)
        total = np.log(np.sum(np.exp(x - m), axis=self.axis, keepdims=True))
        return (m + total).reshape(self.shape(x.shape))

    def backward(self, gy: Value, y: Value, x: Value) -> Value:
        return self.spread(gy, x) * exp(x - self.spread(y, x))


class Position(Op, abstract=True):
    """Shape rule of argmax and argmin; positions have no gradient."""

    axis: int
    samples = (Sample((3, 4), axis=1), Sample((2, 3, 4), axis=0), Sample((5,), axis=-1))

    def shape(self, x: Shape) -> Shape:
        (axis,) = normal_axes(self.axis, len(x))
        return x[:axis] + x[axis + 1:]

    def dtype(self, x: np.dtype) -> np.dtype:
        return np.dtype(np.int64)

    def backward(self, gy: Value, y: Value, x: Value) -> None:
        return None


class ArgMax(Position):
    """y = position of the (first) largest element along an axis."""

    def forward(self, x: Array) -> Array:
        return np.argmax(x, axis=self.axis)


class ArgMin(Position):
    """y = position of the (first) smallest element along an axis."""

    def forward(self, x: Array) -> Array:
        return np.argmin(x, axis=self.axis)


def _axes(axis: Axis) -> tuple[int, ...] | None:
    return (int(axis),) if isinstance(axis, int | np.integer) else axis


def sum(x: Value, axis: Axis = None, keepdims: bool = False) -> Value:
    """Sum over the axes."""
    return Sum(axis=_axes(axis), keepdims=keepdims)(x)


def mean(x: Value, axis: Axis = None, keepdims: bool = False) -> Value:
    """Mean over the axes."""
    return Mean(axis=_axes(axis), keepdims=keepdims)(x)


def var(x: Value, axis: Axis = None, keepdims: bool = False, *, correction: int = 0) -> Value:
    """Variance over the axes; correction 1 divides by n - 1."""
    return Var(axis=_axes(axis), keepdims=keepdims, correction=correction)(x)


def max(x: Value, axis: Axis = None, keepdims: bool = False) -> Value:
    """Largest element over the axes."""
    return Max(axis=_axes(axis), keepdims=keepdims)(x)


def min(x: Value, axis: Axis = None, keepdims: bool = False) -> Value:
    """Smallest element over the axes."""
    return Min(axis=_axes(axis), keepdims=keepdims)(x)


def logsumexp(x: Value, axis: Axis = None, keepdims: bool = False) -> Value:
    """ln of the sum of e^x over the axes, without overflow."""
    return LogSumExp(axis=_axes(axis), keepdims=keepdims)(x)


def argmax(x: Value, axis: int = -1) -> Value:
    """Position (int64) of the first largest element along one axis."""
    return ArgMax(axis=axis)(x)


def argmin(x: Value, axis: int = -1) -> Value:
    """Position (int64) of the first smallest element along one axis."""
    return ArgMin(axis=axis)(x)
