"""Matrix product: the heart of the dense layer (Affine) and, through im2col, of convolution."""

from __future__ import annotations

import math

from kiso.errors import ShapeError
from kiso.ops.broadcast import broadcast_shapes, sum_to
from kiso.ops.op import Array, Op, Shape, Value, shape_of
from kiso.ops.sample import Sample
from kiso.ops.shape import reshape, transpose

__all__ = ["MatMul", "matmul", "swap_last"]


class MatMul(Op):
    """Y = A B for (..., n, k) and (..., k, m), leading axes broadcast.

    dL/dA = dL/dY B^T,  dL/dB = A^T dL/dY.
    """

    samples = (
        Sample((2, 3), (3, 4)),
        Sample((5, 2, 3), (5, 3, 4)),
        Sample((5, 1, 2, 3), (2, 3, 1)),
        Sample((2, 3), (4, 3, 2)),
    )

    def shape(self, a: Shape, b: Shape) -> Shape:
        if len(a) < 2 or len(b) < 2 or a[-1] != b[-2]:
            raise ShapeError(
                f"matmul: {a} @ {b} does not fit: the last axis of the first ({a[-1:]}) must equal "
                f"the second to last axis of the second ({b[-2:-1]}).")
        return (*broadcast_shapes("matmul", a[:-2], b[:-2]), a[-2], b[-1])

    def forward(self, a: Array, b: Array) -> Array:
        return a @ b

    def backward(self, gy: Value, y: Value, a: Value, b: Value) -> tuple[Value, Value]:
        return (sum_to(gy @ swap_last(b), shape_of(a)), sum_to(swap_last(a) @ gy, shape_of(b)))


def swap_last(x: Value) -> Value:
    """Transpose of every matrix in a stack: (..., n, m) -> (..., m, n)."""
    ndim = len(shape_of(x))
    return transpose(x, (*range(ndim - 2), ndim - 1, ndim - 2))


def matmul(a: Value, b: Value) -> Value:
    """A @ B as NumPy's: vectors count as a row on the left and as a column on the right.

    A stack (..., n, k) times one matrix is a single product with all the rows below each other.
    """
    left, right = shape_of(a), shape_of(b)
    if not left or not right:
        raise ShapeError(f"matmul: shapes {left} and {right}: numbers are multiplied with *.")
    if len(left) > 2 and len(right) == 2 and left[-1] == right[0]:
        return reshape(MatMul()(reshape(a, (math.prod(left[:-1]), left[-1])), b),
                       (*left[:-1], right[1]))
    y = MatMul()(reshape(a, (1, *left)) if len(left) == 1 else a,
                 reshape(b, (*right, 1)) if len(right) == 1 else b)
    shape = shape_of(y)
    if len(right) == 1:
        shape = shape[:-1]
    if len(left) == 1:
        shape = (*shape[:-2], *shape[-1:]) if len(right) > 1 else shape[:-1]
    return reshape(y, shape)
