"""Twin of ops/activation.py: one formula for each function, in the type of its input."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from kiso import ops
from kiso.compiler.loops import Expr, Fn, Program, maximum, minimum, select, unary
from kiso.compiler.lower.elementwise import clipped, mapped
from kiso.compiler.lower.rules import lowers

__all__ = ["activation", "sigmoid", "softplus"]


def sigmoid(v: Expr) -> Expr:
    """1 / (1 + e^-v), for v < 0 as e^v / (1 + e^v)."""
    e = unary("exp", -unary("abs", v))
    return select(v >= 0, 1, e) / (1 + e)


def softplus(v: Expr) -> Expr:
    """ln(1 + e^v) = max(v, 0) + ln(1 + e^-|v|)."""
    return maximum(v, 0) + unary("log1p", unary("exp", -unary("abs", v)))


def _hard_sigmoid(v: Expr) -> Expr:
    return clipped(v + 3, 0, 6) / 6


def _gelu(v: Expr) -> Expr:
    return v * (0.5 * (1 + unary("erf", v * math.sqrt(0.5))))


def _gelu_tanh(v: Expr) -> Expr:
    u = math.sqrt(2 / math.pi) * (v + 0.044715 * v * v * v)
    return 0.5 * v * (1 + unary("tanh", u))


FORMULAS: dict[type[ops.Op], Callable[[Any, Expr], Expr]] = {
    ops.Step: lambda op, v: (v > 0).cast(v.dtype),
    ops.Sigmoid: lambda op, v: sigmoid(v),
    ops.Tanh: lambda op, v: unary("tanh", v),
    ops.Relu: lambda op, v: maximum(v, 0),
    ops.LeakyRelu: lambda op, v: select(v > 0, v, op.slope * v),
    ops.Elu: lambda op, v: select(v > 0, v, op.alpha * unary("expm1", minimum(v, 0))),
    ops.Gelu: lambda op, v: _gelu(v),
    ops.GeluTanh: lambda op, v: _gelu_tanh(v),
    ops.Silu: lambda op, v: v * sigmoid(v),
    ops.Softplus: lambda op, v: softplus(v),
    ops.HardTanh: lambda op, v: clipped(v, op.low, op.high),
    ops.HardSigmoid: lambda op, v: _hard_sigmoid(v),
    ops.HardSwish: lambda op, v: v * _hard_sigmoid(v),
}


@lowers(*FORMULAS)
def activation(p: Program, op: Any, x: Fn) -> Fn:
    """The formula of the op for every element."""
    return mapped(x, lambda v: FORMULAS[type(op)](op, v))
