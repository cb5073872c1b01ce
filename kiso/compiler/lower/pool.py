"""Twin of ops/pool.py: windows as reductions, gradients gathered from the windows over a position.

A maximum needs no value for the padding: a place outside is moved to the nearest element, which
lies in the same window, and an element that comes twice does not change the maximum.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from kiso import ops
from kiso.compiler.loops import Const, Expr, Fn, Program, const, maximum, minimum
from kiso.compiler.lower.rules import digits, element, lowers, number, over, where_all
from kiso.compiler.lower.windows import Windows
from kiso.ops.op import Shape

__all__: list[str] = []


def _windows(op: Any, x: Shape) -> Windows:
    return Windows.of(op, x[2:], op.kernel, op.pooled(x)[2:])


@element(ops.MaxPool, reads="often")
def max_pool(op: Any, x: Fn, n: Expr, c: Expr, *i: Expr) -> Expr:
    """y[n, c, *i] = max over *k of x[n, c, *(i T + k - P)]."""
    w = _windows(op, x.shape)
    return over("max", w.kernel, lambda *k: x.at(n, c, *w.places(i, k)[0]))


def _winners(p: Program, op: Any, x: Fn) -> Fn:
    """Place of the first maximum of each window, as its number in the kernel: the smallest number
    of an element that equals the maximum, or the last one if none does (NaN), as in the op."""
    w, count = _windows(op, x.shape), prod(op.kernel)
    dtype = np.min_scalar_type(count)

    def at(n: Expr, c: Expr, *i: Expr) -> Expr:
        most = max_pool(op, x, n, c, *i)

        def place(*k: Expr) -> Expr:
            s, tests = w.places(i, k)
            own = number(k, w.kernel).cast(np.int32)
            return where_all([*tests, x.at(n, c, *s).eq(most)], own, count - 1)
        return over("min", w.kernel, place).cast(dtype)
    return p.store(Fn((*x.shape[:2], *w.out), dtype, at), "winner")


@lowers(ops.MaxPoolGrad, reads="often")
def max_pool_grad(p: Program, op: ops.MaxPoolGrad, x: Fn, gy: Fn) -> Fn:
    """gx[n, c, *s] = sum of gy[n, c, *i] over the windows i that have their maximum at s."""
    w, winner = _windows(op, x.shape), _winners(p, op, x)

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
    w, winner = _windows(op, x.shape), _winners(p, op, x)
    return Fn(winner.shape, g.dtype, lambda n, c, *i: w.read(
        g, (n, c), i, digits(winner.at(n, c, *i).cast(np.int64), w.kernel)))


def _count(op: Any, w: Windows, i: Sequence[Expr], dtype: np.dtype[Any]) -> Expr:
    """Elements of window i: a product over the axes; see ops/pool.py for what counts."""
    total: Expr = const(1)
    for a, i_a, (before, after) in zip(w.axes, i, op.padding, strict=True):
        low, high = (-before, a.size + after) if op.count_include_pad else (0, a.size)
        first, last = -before, (a.O - 1) * a.T - before  # starts of windows
        if first >= low and last + a.K <= high:
            total = total * a.K
        else:
            start = i_a * a.T - before
            total = total * (minimum(start + a.K, high) - maximum(start, low))
    return const(total.value, dtype) if isinstance(total, Const) else total.cast(dtype)


@element(ops.AvgPool, reads="often")
def avg_pool(op: ops.AvgPool, x: Fn, n: Expr, c: Expr, *i: Expr) -> Expr:
    """y[n, c, *i] = sum over *k of x[n, c, *(i T + k - P)] / count_i."""
    w = _windows(op, x.shape)
    return over("sum", w.kernel, lambda *k: w.read(x, (n, c), i, k)) / _count(op, w, i, x.dtype)


@element(ops.AvgPoolGrad, reads="often")
def avg_pool_grad(op: ops.AvgPoolGrad, gy: Fn, n: Expr, c: Expr, *s: Expr) -> Expr:
    """gx[n, c, *s] = sum of gy[n, c, *i] / count_i over the windows i that hold s."""
    w = _windows(op, op.shape(gy.shape))
    return w.gathered(s, lambda i, _: gy.at(n, c, *i) / _count(op, w, i, gy.dtype))
