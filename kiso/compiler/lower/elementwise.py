"""Twin of ops/elementwise.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kiso import ops
from kiso.compiler.loops import Expr, Fn, Program, binary, const, maximum, minimum, select, unary
from kiso.compiler.lower.rules import lowers, spread

__all__ = ["absolute", "cast", "clip", "clipped", "floor", "function", "larger", "mapped", "sign",
           "where"]

UNARY = {ops.Exp: "exp", ops.Expm1: "expm1", ops.Log: "log", ops.Log1p: "log1p",
         ops.Sqrt: "sqrt", ops.Sin: "sin", ops.Cos: "cos"}
LARGER = {ops.Maximum: "max", ops.Minimum: "min"}


def mapped(x: Fn, f: Callable[[Expr], Expr], dtype: Any = None) -> Fn:
    """f of every element."""
    return Fn(x.shape, np.dtype(dtype or x.dtype), lambda *i: f(x.at(*i)))


def clipped(v: Expr, low: float, high: float) -> Expr:
    """v limited to [low, high], numbers of its own type."""
    return minimum(maximum(v, const(low, v.dtype)), const(high, v.dtype))


@lowers(*UNARY)
def function(p: Program, op: Any, x: Fn) -> Fn:
    """exp, log and the like, of floats."""
    return mapped(x, lambda v: unary(UNARY[type(op)], v))


@lowers(ops.Abs)
def absolute(p: Program, op: ops.Abs, x: Fn) -> Fn:
    """|x|; what has no sign stays."""
    return mapped(x, lambda v: v if x.dtype.kind in "bu" else unary("abs", v))


@lowers(ops.Sign)
def sign(p: Program, op: ops.Sign, x: Fn) -> Fn:
    """-1, 0 or 1."""
    return mapped(x, lambda v: unary("sign", v))


@lowers(ops.Floor)
def floor(p: Program, op: ops.Floor, x: Fn) -> Fn:
    """The largest whole number <= x; whole numbers stay."""
    return mapped(x, lambda v: unary("floor", v) if x.dtype.kind == "f" else v)


@lowers(ops.Clip)
def clip(p: Program, op: ops.Clip, x: Fn) -> Fn:
    """min(max(x, low), high)."""
    dtype = op.dtype(x.dtype)
    return mapped(x, lambda v: clipped(v.cast(dtype), op.low, op.high), dtype)


@lowers(ops.Cast)
def cast(p: Program, op: ops.Cast, x: Fn) -> Fn:
    """Another type: to bool is "not 0"; to short or unsigned integers, floats go through int64."""
    to = np.dtype(op.to)
    narrow = to.kind in "iu" and x.dtype.kind == "f" and to.name not in ("int32", "int64", "uint64")

    def at(v: Expr) -> Expr:
        if to.kind == "b":
            return v if x.dtype.kind == "b" else v.ne(0)
        return v.cast(np.int64).cast(to) if narrow else v.cast(to)
    return mapped(x, at, to)


@lowers(*LARGER)
def larger(p: Program, op: Any, a: Fn, b: Fn) -> Fn:
    """max(a, b) or min(a, b), broadcast."""
    shape, dtype, name = op.shape(a.shape, b.shape), op.dtype(a.dtype, b.dtype), LARGER[type(op)]
    return Fn(shape, dtype, lambda *i: binary(
        name, spread(a, shape, i).cast(dtype), spread(b, shape, i).cast(dtype)))


@lowers(ops.Where)
def where(p: Program, op: ops.Where, condition: Fn, a: Fn, b: Fn) -> Fn:
    """a where the condition holds, else b, broadcast."""
    shape = op.shape(condition.shape, a.shape, b.shape)
    dtype = op.dtype(condition.dtype, a.dtype, b.dtype)
    return Fn(shape, dtype, lambda *i: select(
        spread(condition, shape, i),
        spread(a, shape, i).cast(dtype), spread(b, shape, i).cast(dtype)))
