"""Twin of ops/pool.py: windows as reductions, gradients gathered from the windows over a position.

A maximum needs no value for the padding: a place outside is moved to the nearest element, which
lies in the same window, and an element that comes twice does not change the maximum.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from kiso import ops
from kiso.compiler.loops import Const, Expr, Fn, Program, const, maximum, minimum
from kiso.compiler.lower.im2col import Windows, digits, number, over, where_all
from kiso.compiler.lower.rules import lowers
from kiso.ops.op import Shape

__all__ = ["avg_pool", "avg_pool_grad", "max_pool", "max_pool_grad", "max_pool_pick"]


def _windows(op: Any, x: Shape) -> Windows:
    return Windows.of(op, x[2:], op.kernel, op.pooled(x)[2:])


@lowers(ops.MaxPool, reads="often")
def max_pool(p: Program, op: ops.MaxPool, x: Fn) -> Fn:
    """y[n, c, *i] = max over *k of x[n, c, *(i T + k - P)]."""
    w = _windows(op, x.shape)

    def at(n: Expr, c: Expr, *i: Expr) -> Expr:
        return over("max", w.kernel, lambda *k: x.at(n, c, *w.places(i, k)[0]))
    return Fn(op.shape(x.shape), x.dtype, at)


def _winners(p: Program, w: Windows, x: Fn) -> Fn:
    """Place of the first maximum of each window, as its number in the kernel: the smallest number
    of an element that equals the maximum, or the last one if none does (NaN), as in the op."""
    count = prod(w.kernel)
    dtype = np.min_scalar_type(count)

    def at(n: Expr, c: Expr, *i: Expr) -> Expr:
        most = over("max", w.kernel, lambda *k: x.at(n, c, *w.places(i, k)[0]))

        def place(*k: Expr) -> Expr:
            s, tests = w.places(i, k)
            own = number(k, w.kernel).cast(np.int32)
            return where_all([*tests, x.at(n, c, *s).eq(most)], own, count - 1)
        return over("min", w.kernel, place).cast(dtype)
    return p.store(Fn((*x.shape[:2], *w.out), dtype, at), "winner")


@lowers(ops.MaxPoolGrad, reads="often")
def max_pool_grad(p: Program, op: ops.MaxPoolGrad, x: Fn, gy: Fn) -> Fn:
    """gx[n, c, *s] = sum of gy[n, c, *i] over the windows i that have their maximum at s."""
    w = _windows(op, x.shape)
    winner = _winners(p, w, x)

    def at(n: Expr, c: Expr, *s: Expr) -> Expr:
        def part(*r: Expr) -> Expr:
            i, k, tests = w.covering(s, r)
            wins = winner.at(n, c, *i).eq(number(k, w.kernel).cast(winner.dtype))
            return where_all([*tests, wins], gy.at(n, c, *i))
        return over("sum", w.covers, part)
    return Fn(x.shape, gy.dtype, at)


@lowers(ops.MaxPoolPick, reads="often")
def max_pool_pick(p: Program, op: ops.MaxPoolPick, x: Fn, g: Fn) -> Fn:
    """y[n, c, *i] = g where x has the maximum of window i."""
    w = _windows(op, x.shape)
    winner = _winners(p, w, x)

    def at(n: Expr, c: Expr, *i: Expr) -> Expr:
        return w.read(g, (n, c), i, digits(winner.at(n, c, *i).cast(np.int64), w.kernel))
    return Fn(winner.shape, g.dtype, at)


def _count(op: Any, w: Windows, i: tuple[Expr, ...], dtype: np.dtype[Any]) -> Expr:
    """Elements of window i: a product over the axes; see ops/pool.py for what counts."""
    total: Expr = const(1)
    for a, i_a in enumerate(i):
        K, n, (before, after) = w.kernel[a], w.size[a], op.padding[a]
        low, high = (-before, n + after) if op.count_include_pad else (0, n)
        first, last = -before, (w.out[a] - 1) * w.stride[a] - before  # starts of windows
        if first >= low and last + K <= high:
            total = total * K
        else:
            start = i_a * w.stride[a] - before
            total = total * (minimum(start + K, high) - maximum(start, low))
    return const(total.value, dtype) if isinstance(total, Const) else total.cast(dtype)


@lowers(ops.AvgPool, reads="often")
def avg_pool(p: Program, op: ops.AvgPool, x: Fn) -> Fn:
    """y[n, c, *i] = sum over *k of x[n, c, *(i T + k - P)] / count_i."""
    w = _windows(op, x.shape)

    def at(n: Expr, c: Expr, *i: Expr) -> Expr:
        total = over("sum", w.kernel, lambda *k: w.read(x, (n, c), i, k))
        return total / _count(op, w, i, x.dtype)
    return Fn(op.shape(x.shape), x.dtype, at)


@lowers(ops.AvgPoolGrad, reads="often")
def avg_pool_grad(p: Program, op: ops.AvgPoolGrad, gy: Fn) -> Fn:
    """gx[n, c, *s] = sum of gy[n, c, *i] / count_i over the windows i that hold s."""
    shape: Shape = op.shape(gy.shape)
    w = _windows(op, shape)

    def at(n: Expr, c: Expr, *s: Expr) -> Expr:
        def share(*r: Expr) -> Expr:
            i, _, tests = w.covering(s, r)
            return where_all(tests, gy.at(n, c, *i) / _count(op, w, tuple(i), gy.dtype))
        return over("sum", w.covers, share)
    return Fn(shape, gy.dtype, at)
