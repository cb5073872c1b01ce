"""Twin of ops/index.py.

Compiled code cannot raise an error at a wrong index as NumPy does; the index is clamped, so that
it never reads foreign memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kiso import ops
from kiso.compiler.loops import Expr, Fn, Program, const, maximum, minimum, select
from kiso.compiler.lower.rules import lowers, over

__all__ = ["one_hot", "take", "take_along", "take_along_grad", "take_grad"]


def _row(index: Fn, i: Sequence[Expr], size: int) -> Expr:
    """index[i] as an int64; negative numbers count from the end."""
    k = index.at(*i).cast(np.int64)
    return k if index.dtype.kind == "u" else select(k < 0, k + size, k)


def _inside(k: Expr, size: int) -> Expr:
    return minimum(maximum(k, 0), size - 1)


@lowers(ops.Take, reads="often")
def take(p: Program, op: ops.Take, x: Fn, index: Fn) -> Fn:
    """y[.., r.., j..] = x[.., index[r..], j..]."""
    axis, size = op.axis, x.shape[op.axis]
    end = axis + len(index.shape)
    return Fn(op.shape(x.shape, index.shape), x.dtype, lambda *i: x.at(
        *i[:axis], _inside(_row(index, i[axis:end], size), size), *i[end:]), moves=True)


@lowers(ops.TakeGrad, reads="often")
def take_grad(p: Program, op: ops.TakeGrad, gy: Fn, index: Fn) -> Fn:
    """gx[.., k, j..] = sum over r of gy[.., r.., j..] where index[r..] = k."""
    axis = op.axis

    def at(*i: Expr) -> Expr:
        def picked(*r: Expr) -> Expr:
            value = gy.at(*i[:axis], *r, *i[axis + 1:])
            return select(_row(index, r, op.size).eq(i[axis]), value, const(0, gy.dtype))
        return over("sum", index.shape, picked)
    return Fn(op.shape(gy.shape, index.shape), gy.dtype, at)


@lowers(ops.TakeAlong)
def take_along(p: Program, op: ops.TakeAlong, x: Fn, index: Fn) -> Fn:
    """y[n, j..] = x[n, index[n, j..], j..]."""
    def at(n: Expr, *j: Expr) -> Expr:
        return x.at(n, _inside(index.at(n, *j).cast(np.int64), x.shape[1]), *j)
    return Fn(op.shape(x.shape, index.shape), x.dtype, at, moves=True)


@lowers(ops.TakeAlongGrad, reads="often")
def take_along_grad(p: Program, op: ops.TakeAlongGrad, gy: Fn, index: Fn) -> Fn:
    """gx[n, k, j..] = gy[n, j..] where index[n, j..] = k, else 0."""
    def at(n: Expr, k: Expr, *j: Expr) -> Expr:
        return select(index.at(n, *j).cast(np.int64).eq(k), gy.at(n, *j), const(0, gy.dtype))
    return Fn(op.shape(gy.shape, index.shape), gy.dtype, at)


@lowers(ops.OneHot, reads="often")
def one_hot(p: Program, op: ops.OneHot, index: Fn) -> Fn:
    """y[.., k] = 1 where index[..] = k, else 0: cheaper to compare again than to store."""
    return Fn(op.shape(index.shape), np.dtype(op.to), lambda *i: (
        index.at(*i[:-1]).cast(np.int64).eq(i[-1]).cast(op.to)), moves=True)
