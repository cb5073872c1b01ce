"""Twin of ops/resample.py: four clamped loads for each pixel, and a gathered gradient."""

from __future__ import annotations

import numpy as np

from kiso import ops
from kiso.compiler.loops import Expr, Fn, const, maximum, minimum, reduce, select, unary
from kiso.compiler.lower.rules import element
from kiso.ops.op import Shape

__all__: list[str] = []


def _position(theta: Fn, n: Expr, i: Expr, j: Expr, axis: int, size: Shape, edge: bool) -> Expr:
    """Row (axis 0) or column (1) where pixel (i, j) is read: A (i - ci, j - cj) + t + (ci, cj).

    From one pixel outside on nothing is seen: the position stays within -1 .. size; with `edge`
    within 0 .. size - 1.
    """
    kind = theta.dtype
    (ci, cj), row = ((s - 1) / 2 for s in size), const(axis)
    turned = (theta.at(n, row, const(0)) * (i.cast(kind) - ci)
              + theta.at(n, row, const(1)) * (j.cast(kind) - cj))
    at = turned + theta.at(n, row, const(2)) + (size[axis] - 1) / 2
    low, high = (0, size[axis] - 1) if edge else (-1, size[axis])
    return minimum(maximum(at, low), high)


def _neighbours(at: Expr, size: int) -> list[tuple[Expr, Expr]]:
    """The two pixels on either side of a position: (index, weight), 0 for one outside."""
    base = unary("floor", at)
    part, first = at - base, base.cast(np.int64)
    return [(maximum(minimum(index, size - 1), 0),
             select((index >= 0) & (index < size), weight, 0))
            for index, weight in ((first, 1 - part), (first + 1, part))]


@element(ops.AffineSample, reads="often")
def affine_sample(op: ops.AffineSample, x: Fn, theta: Fn, n: Expr, c: Expr, i: Expr, j: Expr
                  ) -> Expr:
    """y[n, c, i, j] = sum over the four pixels (u, v) around the position of w_u w_v x[n, c, u, v],
    + fill (1 - sum of the weights)."""
    size = x.shape[2:]
    rows, columns = (_neighbours(_position(theta, n, i, j, axis, size, op.fill is None),
                                 size[axis]) for axis in (0, 1))
    seen = [((wu * wv).cast(x.dtype), u, v) for u, wu in rows for v, wv in columns]
    zero = const(0, x.dtype)
    y = sum((w * x.at(n, c, u, v) for w, u, v in seen), zero)
    return y + (1 - sum((w for w, _, _ in seen), zero)) * op.fill if op.fill else y


@element(ops.AffineSampleGrad, reads="often")
def affine_sample_grad(op: ops.AffineSampleGrad, gy: Fn, theta: Fn, n: Expr, c: Expr, u: Expr,
                       v: Expr) -> Expr:
    """gx[n, c, u, v] = sum over all i, j of w_u w_v gy[n, c, i, j].

    Pixel u has the weight max(0, 1 - |position - u|) at a position. Every pixel looks at all
    others: right, but slow; pictures are inputs, whose gradient a training step does not need.
    """
    size = gy.shape[2:]

    def weight(i: Expr, j: Expr, axis: int, pixel: Expr) -> Expr:
        away = _position(theta, n, i, j, axis, size, op.edge) - pixel.cast(theta.dtype)
        return maximum(1 - unary("abs", away), 0)

    def term(i: Expr, j: Expr) -> Expr:
        return (weight(i, j, 0, u) * weight(i, j, 1, v)).cast(gy.dtype) * gy.at(n, c, i, j)
    return reduce("sum", size, term)
