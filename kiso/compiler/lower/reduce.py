"""Twin of ops/reduce.py.

`over` is the reduction that other rules use too; an axis of length 1 needs no loop.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kiso import ops
from kiso.compiler.loops import (
    Axis,
    Expr,
    Fn,
    Index,
    Program,
    Reduce,
    binary,
    const,
    select,
    unary,
)
from kiso.compiler.lower.elementwise import mapped
from kiso.compiler.lower.rules import lowers, spread
from kiso.compiler.lower.shape import regrouped
from kiso.ops.op import Shape
from kiso.ops.reduce import normal_axes

__all__ = ["extreme", "folded", "logsumexp", "mean", "over", "position", "sum_", "var"]

EXTREMES = {ops.Max: "max", ops.Min: "min"}


def over(kind: str, extents: Sequence[int], body: Callable[..., Expr]) -> Expr:
    """sum, max or min of body(i, j, ...) over all i, j, ... below the extents."""
    axes = [Axis(n) for n in extents]
    value = body(*(const(0) if a.extent == 1 else Index(a) for a in axes))
    loops = [a for a in axes if a.extent != 1]
    return Reduce(kind, loops, value) if loops else value


def folded(kind: str, x: Fn, axes: Sequence[int], shape: Shape) -> Fn:
    """x reduced over `axes`; `shape` is the result's, with or without these axes of length 1."""
    kept = len(shape) == len(x.shape)

    def at(*i: Expr) -> Expr:
        def body(*r: Expr) -> Expr:
            outer, inner = iter(i), iter(r)
            if kept:
                return x.at(*(next(inner) if k in axes else i[k] for k in range(len(i))))
            return x.at(*(next(inner if k in axes else outer) for k in range(len(x.shape))))
        return over(kind, [x.shape[k] for k in axes], body)
    return Fn(shape, x.dtype, at)


def _keepdims(x: Fn, axes: Sequence[int]) -> Shape:
    return tuple(1 if k in axes else n for k, n in enumerate(x.shape))


@lowers(ops.Sum)
def sum_(p: Program, op: ops.Sum, x: Fn) -> Fn:
    """Sum over the axes, integers and bools in int64."""
    x, dtype = p.settled(x), op.dtype(x.dtype)
    wide = mapped(x, lambda v: v.cast(dtype), dtype)
    return folded("sum", wide, normal_axes(op.axis, len(x.shape)), op.shape(x.shape))


@lowers(ops.Mean)
def mean(p: Program, op: ops.Mean, x: Fn) -> Fn:
    """Sum over the axes divided by the number of elements."""
    total = folded("sum", p.settled(x), normal_axes(op.axis, len(x.shape)), op.shape(x.shape))
    return mapped(total, lambda v: v / op.count(x))


@lowers(ops.Var, reads="often")
def var(p: Program, op: ops.Var, x: Fn) -> Fn:
    """Mean first, then the sum of squared distances from it."""
    axes, n = normal_axes(op.axis, len(x.shape)), op.count(x)
    m = p.store(mapped(folded("sum", x, axes, _keepdims(x, axes)), lambda v: v / n), "mean")

    def square(*i: Expr) -> Expr:
        d = x.at(*i) - spread(m, x.shape, i)
        return d * d
    total = folded("sum", Fn(x.shape, x.dtype, square), axes, op.shape(x.shape))
    return mapped(total, lambda v: v / (n - op.correction))


@lowers(*EXTREMES)
def extreme(p: Program, op: Any, x: Fn) -> Fn:
    """Largest or smallest element over the axes."""
    axes = normal_axes(op.axis, len(x.shape))
    return folded(EXTREMES[type(op)], p.settled(x), axes, op.shape(x.shape))


@lowers(ops.LogSumExp, reads="often")
def logsumexp(p: Program, op: ops.LogSumExp, x: Fn) -> Fn:
    """m + ln sum e^(x - m) with the maximum m (0 where it is infinite)."""
    axes, shape = normal_axes(op.axis, len(x.shape)), op.shape(x.shape)
    largest = folded("max", x, axes, _keepdims(x, axes))
    m = p.store(mapped(largest, lambda v: select(unary("abs", v) < math.inf, v, 0)), "max")
    powers = Fn(x.shape, x.dtype,
                lambda *i: unary("exp", x.at(*i) - spread(m, x.shape, i)))
    total = folded("sum", powers, axes, shape)
    return Fn(shape, x.dtype, lambda *i: (
        m.at(*regrouped(m.shape, shape, i)) + unary("log", total.at(*i))))


@lowers(ops.ArgMax, ops.ArgMin)
def position(p: Program, op: Any, x: Fn) -> Fn:
    """Position of the first largest element; the smallest is the largest in reversed order."""
    (axis,) = normal_axes(op.axis, len(x.shape))
    x = p.settled(x)

    def key(v: Expr) -> Expr:
        if isinstance(op, ops.ArgMax):
            return v
        if x.dtype.kind == "f":
            return -v
        ones = True if x.dtype.kind == "b" else -1 if x.dtype.kind == "i" else \
            np.iinfo(x.dtype).max
        return binary("xor", v, const(ones, x.dtype))  # -v would overflow at the ends

    def at(*i: Expr) -> Expr:
        loop = Axis(x.shape[axis])
        return Reduce("argmax", [loop], key(x.at(*i[:axis], Index(loop), *i[axis:])))
    return Fn(op.shape(x.shape), np.dtype(np.int64), at)
