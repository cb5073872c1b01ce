"""Twin of ops/arithmetic.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from kiso import ops
from kiso.compiler.loops import Fn, Program, binary, const, unary
from kiso.compiler.lower.rules import lowers, spread

__all__ = ["neg", "power", "two"]

NAMES = {ops.Add: "add", ops.Sub: "sub", ops.Mul: "mul", ops.Div: "div", ops.Pow: "pow"}


@lowers(*NAMES)
def two(p: Program, op: Any, a: Fn, b: Fn) -> Fn:
    """One scalar operation, both inputs broadcast and in the type of the result."""
    shape, dtype, name = op.shape(a.shape, b.shape), op.dtype(a.dtype, b.dtype), NAMES[type(op)]
    return Fn(shape, dtype, lambda *i: binary(
        name, spread(a, shape, i).cast(dtype), spread(b, shape, i).cast(dtype)))


@lowers(ops.Neg)
def neg(p: Program, op: Any, x: Fn) -> Fn:
    """-x."""
    return Fn(x.shape, x.dtype, lambda *i: -x.at(*i))


@lowers(ops.Power)
def power(p: Program, op: ops.Power, x: Fn) -> Fn:
    """x^n: products for small whole n, else roots and powers of floats."""
    n, dtype = op.exponent, np.dtype(op.dtype(x.dtype))

    def at(*i: Any) -> Any:
        v = x.at(*i)
        if n in (1, 2, 3):
            return v if n == 1 else v * v if n == 2 else v * v * v
        if n == 0.5:
            return unary("sqrt", v)
        return 1 / v if n == -1 else binary("pow", v, const(n, dtype))
    return Fn(x.shape, dtype, at)
