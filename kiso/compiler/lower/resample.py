"""Twin of ops/resample.py: four clamped loads for each pixel, and a gathered gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from kiso import ops
from kiso.compiler.loops import Expr, Fn, Program, const, maximum, minimum, reduce, select, unary
from kiso.compiler.lower.rules import lowers

__all__ = ["affine_sample", "affine_sample_grad"]


def _position(theta: Fn, n: Expr, i: Expr, j: Expr, axis: int, size: tuple[int, int],
              edge: bool) -> Expr:
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
    part = at - base
    first, pairs = base.cast(np.int64), list[tuple[Expr, Expr]]()
    for index, weight in ((first, 1 - part), (first + 1, part)):
        inside = (index >= 0) & (index < size)
        pairs.append((maximum(minimum(index, size - 1), 0), select(inside, weight, 0)))
    return pairs


@lowers(ops.AffineSample, reads="often")
def affine_sample(p: Program, op: ops.AffineSample, x: Fn, theta: Fn) -> Fn:
    """y[n, c, i, j] = sum over the four pixels (u, v) around the position of w_u w_v x[n, c, u, v],
    + fill (1 - sum of the weights)."""
    size = (x.shape[2], x.shape[3])

    def at(n: Expr, c: Expr, i: Expr, j: Expr) -> Expr:
        rows, columns = (_neighbours(_position(theta, n, i, j, axis, size, op.fill is None),
                                     size[axis]) for axis in (0, 1))
        y: Any = const(0, x.dtype)
        seen: Any = const(0, x.dtype)
        for u, wu in rows:
            for v, wv in columns:
                weight = (wu * wv).cast(x.dtype)
                y, seen = y + weight * x.at(n, c, u, v), seen + weight
        return y + (1 - seen) * op.fill if op.fill else y
    return Fn(x.shape, x.dtype, at)


@lowers(ops.AffineSampleGrad, reads="often")
def affine_sample_grad(p: Program, op: ops.AffineSampleGrad, gy: Fn, theta: Fn) -> Fn:
    """gx[n, c, u, v] = sum over all i, j of w_u w_v gy[n, c, i, j].

    Pixel u has the weight max(0, 1 - |position - u|) at a position. Every pixel looks at all
    others: right, but slow; pictures are inputs, whose gradient a training step does not need.
    """
    size = (gy.shape[2], gy.shape[3])

    def weight(n: Expr, i: Expr, j: Expr, axis: int, pixel: Expr) -> Expr:
        away = _position(theta, n, i, j, axis, size, op.edge) - pixel.cast(theta.dtype)
        return maximum(1 - unary("abs", away), 0)

    def at(n: Expr, c: Expr, u: Expr, v: Expr) -> Expr:
        def part(i: Expr, j: Expr) -> Expr:
            w = weight(n, i, j, 0, u) * weight(n, i, j, 1, v)
            return w.cast(gy.dtype) * gy.at(n, c, i, j)
        return reduce("sum", size, part)
    return Fn(gy.shape, gy.dtype, at)
