"""Twin of ops/elementwise.py, arithmetic.py, compare.py, activation.py and special.py, and binary
cross-entropy: one number from one number of each input, broadcast."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from kiso import ops
from kiso.compiler.loops import Expr, Fn, Program, binary, const, maximum, minimum, select, unary
from kiso.compiler.lower.rules import element, lowers, spread

__all__: list[str] = []


def _clipped(v: Expr, low: float, high: float) -> Expr:
    """v limited to [low, high], numbers of its own type."""
    return minimum(maximum(v, const(low, v.dtype)), const(high, v.dtype))


def _power(v: Expr, n: float) -> Expr:
    """v^n: products for small whole n, else roots and powers of floats."""
    if n in (1, 2, 3):
        return v if n == 1 else v * v if n == 2 else v * v * v
    if n == 0.5:
        return unary("sqrt", v)
    return 1 / v if n == -1 else binary("pow", v, const(n, v.dtype))


def _sigmoid(v: Expr) -> Expr:
    """1 / (1 + e^-v), for v < 0 as e^v / (1 + e^v)."""
    e = unary("exp", -unary("abs", v))
    return select(v >= 0, 1, e) / (1 + e)


def _softened(v: Expr) -> Expr:
    """ln(1 + e^-|v|) = ln(1 + e^v) - max(v, 0)."""
    return unary("log1p", unary("exp", -unary("abs", v)))


# Ops that are one operation of the loop language.
NAMES = {
    ops.Neg: "neg", ops.Abs: "abs", ops.Sign: "sign", ops.Sqrt: "sqrt", ops.Exp: "exp",
    ops.Expm1: "expm1", ops.Log: "log", ops.Log1p: "log1p", ops.Sin: "sin", ops.Cos: "cos",
    ops.Tanh: "tanh", ops.Erf: "erf", ops.Add: "add", ops.Sub: "sub", ops.Mul: "mul",
    ops.Div: "div", ops.Pow: "pow", ops.Maximum: "max", ops.Minimum: "min", ops.Equal: "eq",
    ops.NotEqual: "ne", ops.Less: "lt", ops.LessEqual: "le", ops.Greater: "gt",
    ops.GreaterEqual: "ge"}
# Formulas of the others.
ONE: dict[type[ops.Op], Callable[[Any, Expr], Expr]] = {
    ops.Floor: lambda op, v: unary("floor", v) if v.dtype.kind == "f" else v,
    ops.Clip: lambda op, v: _clipped(v, op.low, op.high),
    ops.Power: lambda op, v: _power(v, op.exponent),
    ops.Step: lambda op, v: (v > 0).cast(v.dtype),
    ops.Sigmoid: lambda op, v: _sigmoid(v),
    ops.Relu: lambda op, v: maximum(v, 0),
    ops.LeakyRelu: lambda op, v: select(v > 0, v, op.slope * v),
    ops.Elu: lambda op, v: select(v > 0, v, op.alpha * unary("expm1", minimum(v, 0))),
    ops.Gelu: lambda op, v: v * (0.5 * (1 + unary("erf", v * math.sqrt(0.5)))),
    ops.GeluTanh: lambda op, v: 0.5 * v * (1 + unary(
        "tanh", math.sqrt(2 / math.pi) * (v + 0.044715 * v * v * v))),
    ops.Silu: lambda op, v: v * _sigmoid(v),
    ops.Softplus: lambda op, v: maximum(v, 0) + _softened(v),
    ops.HardTanh: lambda op, v: _clipped(v, op.low, op.high),
    ops.HardSigmoid: lambda op, v: _clipped(v + 3, 0, 6) / 6,
    ops.HardSwish: lambda op, v: v * (_clipped(v + 3, 0, 6) / 6),
}
TWO: dict[type[ops.Op], Callable[[Any, Expr, Expr], Expr]] = {
    ops.BinaryCrossEntropy: lambda op, v, t: maximum(v, 0) - v * t + _softened(v)}
FORMULAS: dict[type[ops.Op], Callable[..., Expr]] = {**ONE, **TWO}


@lowers(*NAMES, *FORMULAS)
def elementwise(p: Program, op: Any, *xs: Fn) -> Fn:
    """The op's line in the tables, for numbers in the type of the result; those to be compared
    have their common type."""
    shape, types = op.shape(*(x.shape for x in xs)), [x.dtype for x in xs]
    dtype = np.dtype(op.dtype(*types))
    common = np.result_type(*types) if dtype.kind == "b" else dtype

    def at(*i: Expr) -> Expr:
        v = [spread(x, shape, i).cast(common) for x in xs]
        if type(op) in FORMULAS:
            return FORMULAS[type(op)](op, *v)
        return (unary if len(v) == 1 else binary)(NAMES[type(op)], *v)
    return Fn(shape, dtype, at)


@element(ops.Where)
def where(op: ops.Where, condition: Fn, a: Fn, b: Fn, *i: Expr) -> Expr:
    """a where the condition holds, else b."""
    shape = op.shape(condition.shape, a.shape, b.shape)
    dtype = np.result_type(a.dtype, b.dtype)
    return select(spread(condition, shape, i), spread(a, shape, i).cast(dtype),
                  spread(b, shape, i).cast(dtype))


@element(ops.Cast)
def cast(op: ops.Cast, x: Fn, *i: Expr) -> Expr:
    """Another type: to bool is "not 0"; to short or unsigned integers, floats go through int64."""
    v, to = x.at(*i), np.dtype(op.to)
    if to.kind == "b":
        return v if v.dtype.kind == "b" else v.ne(0)
    narrow = to.kind in "iu" and to.name not in ("int32", "int64", "uint64")
    return (v.cast(np.int64) if narrow and v.dtype.kind == "f" else v).cast(to)
