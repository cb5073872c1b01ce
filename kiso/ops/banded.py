"""Multiplying one axis by a matrix with few numbers in each row: how maps change their size.

    y[.., j, ..] = sum over s of R[j, s] x[.., s, ..]       R (O, S), zero outside of a narrow band

Up-sampling, linear interpolation and averages over windows of any size are such products, one for
each spatial axis. Of every row only the band is kept: where it starts and its K numbers. The
gradient multiplies by the transposed matrix, which is a band as well:

    dL/dx[.., s, ..] = sum over j of R[j, s] dL/dy[.., j, ..]
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from kiso.errors import DTypeError, ShapeError
from kiso.ops.elementwise import cast
from kiso.ops.op import Array, Op, Shape, Value, shape_of
from kiso.ops.sample import Given, Sample

__all__ = ["Banded", "band", "banded"]


def band(R: Array) -> tuple[Array, Array]:
    """Where the band of each row starts (O,), and its numbers (O, K): R[j, first[j] + k]."""
    S = R.shape[1]
    used = R != 0
    first = np.where(used.any(1), used.argmax(1), 0)
    last = np.where(used.any(1), S - 1 - used[:, ::-1].argmax(1), 0)
    K = int((last - first).max()) + 1
    first = np.minimum(first, S - K)  # so that a short row does not reach over the end
    return first.astype(np.int64), np.take_along_axis(R, first[:, None] + np.arange(K), 1)


def _tables(R: Array) -> tuple[Array, Array, Array, Array]:
    """The bands of R and of its transpose: the op's inputs behind x."""
    return *band(R), *band(R.T)


def _sample(x: Shape, R: list[list[float]], axis: int) -> Sample:
    return Sample(x, *map(Given, _tables(np.array(R, float))), axis=axis)


class Banded(Op):
    """y[.., j, ..] = sum over k < K of weights[j, k] x[.., first[j] + k, ..] along an axis.

    first (O,), weights (O, K) hold R's band; back_first (S,), back_weights (S, K') that of R^T.
    dL/dx is the same op with the two pairs exchanged; R is given, it has no gradient.
    """

    fixed: ClassVar[tuple[int, ...]] = (2, 4)
    axis: int
    samples = (
        _sample((2, 3, 4), [[1, 0, 0, 0], [.5, .5, 0, 0], [0, 0, .3, .7]], 2),
        _sample((2, 3, 2), [[1, 0, 0], [.25, .75, 0], [0, 1, 0], [0, .5, .5], [0, 0, 1]], 1),
        _sample((3, 2), [[.2, .3, .5]], 0),
        _sample((2, 1), [[1], [1], [1]], 1),
        _sample((0, 2), [[1, 0], [0, 1]], 1),
    )

    def shape(self, x: Shape, first: Shape, weights: Shape, back_first: Shape,
              back_weights: Shape) -> Shape:
        if x[self.axis:self.axis + 1] != back_first:
            raise ShapeError(f"banded: the matrix has {back_first[0]} columns, but axis "
                             f"{self.axis} of {x} is not as long.")
        return (*x[:self.axis], *first, *x[self.axis + 1:])

    def dtype(self, x: np.dtype, *tables: Any) -> np.dtype:
        if x.kind != "f":
            raise DTypeError(f"banded: x must be floating-point numbers, but it is {x}.")
        return x

    def forward(self, x: Array, first: Array, weights: Array, back_first: Array,
                back_weights: Array) -> Array:
        column = (-1, *(1,) * (x.ndim - self.axis - 1))  # one number for each place of the axis
        y = np.zeros(self.shape(*(a.shape for a in (x, first, weights, back_first, back_weights))),
                     x.dtype)
        for k in range(weights.shape[1]):
            y += weights[:, k].reshape(column).astype(x.dtype) * np.take(x, first + k, self.axis)
        return y

    def backward(self, gy: Value, y: Value, x: Value, first: Value, weights: Value,
                 back_first: Value, back_weights: Value) -> tuple[Value, None, None, None, None]:
        gx = self(gy, back_first, back_weights, first, weights)
        return gx, None, None, None, None


def banded(x: Value, R: Array, axis: int) -> Value:
    """R x along an axis of x, R (O, S) a NumPy matrix with narrow rows; x itself for R = 1."""
    if R.shape[0] == R.shape[1] and np.array_equal(R, np.eye(len(R))):
        return x
    x = x if x.dtype.kind == "f" else cast(x, np.float32)
    return Banded(axis=axis % len(shape_of(x)))(x, *_tables(R.astype(x.dtype)))
