"""Twin of ops/softmax.py."""

from __future__ import annotations

from kiso import ops
from kiso.compiler.loops import Fn, Program, unary
from kiso.compiler.lower.elementwise import mapped
from kiso.compiler.lower.reduce import folded
from kiso.compiler.lower.rules import lowers, spread

__all__ = ["log_softmax", "shifted", "softmax", "summed_powers"]


def shifted(p: Program, x: Fn, axis: int) -> Fn:
    """z = x - max x along the axis; the maximum is stored."""
    kept = tuple(1 if k == axis else n for k, n in enumerate(x.shape))
    m = p.store(folded("max", x, (axis,), kept), "max")
    return Fn(x.shape, x.dtype, lambda *i: x.at(*i) - spread(m, x.shape, i))


def summed_powers(z: Fn, axis: int) -> Fn:
    """sum of e^z along the axis, which keeps length 1."""
    kept = tuple(1 if k == axis else n for k, n in enumerate(z.shape))
    return folded("sum", mapped(z, lambda v: unary("exp", v)), (axis,), kept)


@lowers(ops.Softmax, reads="often")
def softmax(p: Program, op: ops.Softmax, x: Fn) -> Fn:
    """e^z / sum e^z with z = x - max x."""
    axis = op.axis % len(x.shape)
    z = shifted(p, x, axis)
    total = p.store(summed_powers(z, axis), "sum")
    return Fn(x.shape, x.dtype, lambda *i: unary("exp", z.at(*i)) / spread(total, x.shape, i))


@lowers(ops.LogSoftmax, reads="often")
def log_softmax(p: Program, op: ops.LogSoftmax, x: Fn) -> Fn:
    """z - ln sum e^z with z = x - max x."""
    axis = op.axis % len(x.shape)
    z = shifted(p, x, axis)
    total = p.store(mapped(summed_powers(z, axis), lambda v: unary("log", v)), "log_sum")
    return Fn(x.shape, x.dtype, lambda *i: z.at(*i) - spread(total, x.shape, i))
