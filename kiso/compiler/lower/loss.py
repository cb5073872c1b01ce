"""Twin of ops/loss.py."""

from __future__ import annotations

from functools import partial

from kiso import ops
from kiso.compiler.loops import Expr, Fn, Program, maximum, select, unary
from kiso.compiler.lower.elementwise import mapped
from kiso.compiler.lower.reduce import over
from kiso.compiler.lower.rules import lowers, spread
from kiso.compiler.lower.softmax import shifted, summed_powers

__all__ = ["binary_cross_entropy", "softmax_cross_entropy"]


@lowers(ops.SoftmaxCrossEntropy, reads="often")
def softmax_cross_entropy(p: Program, op: ops.SoftmaxCrossEntropy, x: Fn, t: Fn) -> Fn:
    """L_n = -sum_k t_nk (z_nk - ln sum_j e^(z_nj)), z = x - max x; 0 times anything is 0."""
    dtype = op.dtype(x.dtype, t.dtype)
    z = shifted(p, x, 1)
    total = p.store(mapped(summed_powers(z, 1), lambda v: unary("log", v)), "log_sum")

    def term(n: Expr, k: Expr) -> Expr:
        target, log_y = t.at(n, k), z.at(n, k) - spread(total, x.shape, (n, k))
        return target.cast(dtype) * select(target.eq(0), 0, log_y).cast(dtype)

    def at(n: Expr) -> Expr:
        return -over("sum", x.shape[1:], partial(term, n))
    return Fn(op.shape(x.shape, t.shape), dtype, at)


@lowers(ops.BinaryCrossEntropy)
def binary_cross_entropy(p: Program, op: ops.BinaryCrossEntropy, x: Fn, t: Fn) -> Fn:
    """max(x, 0) - x t + ln(1 + e^-|x|)."""
    shape, dtype = op.shape(x.shape, t.shape), op.dtype(x.dtype, t.dtype)

    def at(*i: Expr) -> Expr:
        v, target = spread(x, shape, i).cast(dtype), spread(t, shape, i).cast(dtype)
        return maximum(v, 0) - v * target + unary("log1p", unary("exp", -unary("abs", v)))
    return Fn(shape, dtype, at)
