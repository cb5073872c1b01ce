"""Twin of ops/reduce.py, matmul.py, softmax.py, loss.py and norm.py: sums and largest elements."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from kiso import ops
from kiso.compiler.loops import Axis, Expr, Fn, Index, Program, Reduce, binary, const, select, unary
from kiso.compiler.lower.rules import element, lowers, mapped, over, product, spread
from kiso.compiler.lower.shape import regrouped
from kiso.ops.op import Shape
from kiso.ops.reduce import normal_axes

__all__: list[str] = []

EXP, LOG = partial(unary, "exp"), partial(unary, "log")
REDUCTIONS = {ops.Sum: "sum", ops.Mean: "sum", ops.Max: "max", ops.Min: "min"}


def _folded(kind: str, x: Fn, axes: Sequence[int], to: Shape | None = None) -> Fn:
    """x reduced over `axes`; they have length 1 in the result's shape, or all of them are left out
    of it, or some at the beginning."""
    shape = tuple(1 if a in axes else n for a, n in enumerate(x.shape)) if to is None else to

    def at(*i: Expr) -> Expr:
        first = len(x.shape) - len(shape)
        stay = i if first == len(axes) else [k for a, k in enumerate(i, first) if a not in axes]

        def body(*r: Expr) -> Expr:
            outer, inner = iter(stay), iter(r)
            return x.at(*(next(inner if a in axes else outer) for a in range(len(x.shape))))
        return over(kind, [x.shape[a] for a in axes], body)
    return Fn(shape, x.dtype, at)


def _minus(x: Fn, m: Fn) -> Fn:
    """x - m, broadcast."""
    return Fn(x.shape, x.dtype, lambda *i: x.at(*i) - spread(m, x.shape, i))


@lowers(*REDUCTIONS)
def reduction(p: Program, op: Any, x: Fn) -> Fn:
    """Sum (integers and bools in int64), mean, largest or smallest element over the axes."""
    x, dtype = p.settled(x), op.dtype(x.dtype)
    found = _folded(REDUCTIONS[type(op)], mapped(x, lambda v: v.cast(dtype), dtype),
                    normal_axes(op.axis, len(x.shape)), op.shape(x.shape))
    return mapped(found, lambda v: v / op.count(x)) if isinstance(op, ops.Mean) else found


@lowers(ops.SumTo)
def sum_to(p: Program, op: ops.SumTo, x: Fn) -> Fn:
    """Sum over leading axes and those that have length 1 in the result."""
    lead = len(x.shape) - len(op.to)
    axes = [a for a, n in enumerate(x.shape) if a < lead or n != op.to[a - lead]]
    return _folded("sum", p.settled(x), axes, op.to)


@lowers(ops.Var, reads="often")
def var(p: Program, op: ops.Var, x: Fn) -> Fn:
    """Mean first, then the sum of squared distances from it."""
    axes, n = normal_axes(op.axis, len(x.shape)), op.count(x)
    m = p.store(mapped(_folded("sum", x, axes), lambda v: v / n), "mean")
    total = _folded("sum", mapped(_minus(x, m), lambda v: v * v), axes, op.shape(x.shape))
    return mapped(total, lambda v: v / (n - op.correction))


@lowers(ops.ArgMax, ops.ArgMin)
def position(p: Program, op: Any, x: Fn) -> Fn:
    """Position of the first largest element; the smallest is the largest in reversed order."""
    (axis,) = normal_axes(op.axis, len(x.shape))
    x = p.settled(x)
    kind = x.dtype.kind

    def key(v: Expr) -> Expr:
        if isinstance(op, ops.ArgMax) or kind == "f":
            return v if isinstance(op, ops.ArgMax) else -v
        ones = True if kind == "b" else -1 if kind == "i" else np.iinfo(x.dtype).max
        return binary("xor", v, const(ones, x.dtype))  # -v would overflow at the ends

    def at(*i: Expr) -> Expr:
        k = Axis(x.shape[axis])
        return Reduce("argmax", (k,), key(x.at(*i[:axis], Index(k), *i[axis:])))
    return Fn(op.shape(x.shape), np.dtype(np.int64), at)


@element(ops.MatMul, reads="often")
def matmul(op: ops.MatMul, a: Fn, b: Fn, *i: Expr) -> Expr:
    """y[.., n, m] = sum over k of a[.., n, k] b[.., k, m], leading axes broadcast: the plain
    meaning; large products become a contract kernel."""
    *lead, rows, columns = op.shape(a.shape, b.shape)
    *stack, n, m = i
    inner = a.shape[-1:]
    return over("sum", inner, lambda *k: product(
        spread(a, (*lead, rows, *inner), (*stack, n, *k)),
        spread(b, (*lead, *inner, columns), (*stack, *k, m))))


@lowers(ops.LogSumExp, reads="often")
def logsumexp(p: Program, op: ops.LogSumExp, x: Fn) -> Fn:
    """m + ln sum e^(x - m) with the maximum m (0 where it is infinite)."""
    axes, shape = normal_axes(op.axis, len(x.shape)), op.shape(x.shape)
    m = p.store(mapped(_folded("max", x, axes), lambda v: select(
        unary("abs", v) < math.inf, v, 0)), "max")
    total = _folded("sum", mapped(_minus(x, m), EXP), axes, shape)
    return Fn(shape, x.dtype, lambda *i: (m.at(*regrouped(m.shape, shape, i)) + LOG(total.at(*i))))


def _powers(p: Program, x: Fn, axis: int) -> tuple[Fn, Fn]:
    """z = x - max x along the axis (the maximum is stored), and the sum of e^z."""
    axes = (axis % len(x.shape),)
    z = _minus(x, p.store(_folded("max", x, axes), "max"))
    return z, _folded("sum", mapped(z, EXP), axes)


@lowers(ops.LogSoftmax, reads="often")
def log_softmax(p: Program, op: ops.LogSoftmax, x: Fn) -> Fn:
    """z - ln sum e^z with z = x - max x."""
    z, total = _powers(p, x, op.axis)
    return _minus(z, p.store(mapped(total, LOG), "log_sum"))


@lowers(ops.Softmax, reads="often")
def softmax(p: Program, op: ops.Softmax, x: Fn) -> Fn:
    """e^z / sum e^z with z = x - max x."""
    z, powers = _powers(p, x, op.axis)
    total = p.store(powers, "sum")
    return Fn(x.shape, x.dtype, lambda *i: EXP(z.at(*i)) / spread(total, x.shape, i))


@lowers(ops.SoftmaxCrossEntropy, reads="often")
def softmax_cross_entropy(p: Program, op: ops.SoftmaxCrossEntropy, x: Fn, t: Fn) -> Fn:
    """L_n = -sum_k t_nk log_softmax(x)_nk; 0 times anything is 0."""
    dtype, log_y = op.dtype(x.dtype, t.dtype), log_softmax(p, ops.LogSoftmax(axis=1), x)

    def term(*i: Expr) -> Expr:
        target = t.at(*i)
        return target.cast(dtype) * select(target.eq(0), 0, log_y.at(*i)).cast(dtype)
    return mapped(_folded("sum", Fn(x.shape, dtype, term), (1,), x.shape[:1]), lambda v: -v)


def _scale(p: Program, gamma: Fn, var: Fn, eps: float, dtype: Any) -> Fn:
    """gamma_c / sqrt(var_c + eps), stored."""
    return p.store(Fn(gamma.shape, dtype, lambda *c: (
        gamma.at(*c).cast(dtype) / unary("sqrt", var.at(*c) + eps).cast(dtype))), "scale")


@lowers(ops.BatchNorm, reads="often")
def batch_norm(p: Program, op: ops.BatchNorm, x: Fn, gamma: Fn, beta: Fn) -> tuple[Fn, Fn, Fn]:
    """m_c = sum x / M,  v_c = sum (x - m_c)^2 / M,  y = (x - m_c) (gamma_c / sqrt(v_c + eps))
    + beta_c, with M elements x[n, c, *s] for each channel c. All but y is stored."""
    dtype = np.result_type(x.dtype, gamma.dtype, beta.dtype)
    others = [a for a in range(len(x.shape)) if a != 1]

    def mean(f: Fn, name: str) -> Fn:
        total = _folded("sum", f, others, gamma.shape)
        return p.store(mapped(total, lambda v: v / math.prod(x.shape[a] for a in others)), name)

    wide = mapped(x, lambda v: v.cast(dtype), dtype)
    m = mean(wide, "mean")
    centred = Fn(x.shape, dtype, lambda *i: wide.at(*i) - m.at(i[1]))
    v = mean(mapped(centred, lambda d: d * d), "var")
    scale = _scale(p, gamma, v, op.eps, dtype)
    return Fn(x.shape, dtype, lambda *i: (
        centred.at(*i) * scale.at(i[1]) + beta.at(i[1]).cast(dtype))), m, v


@lowers(ops.BatchNormInference)
def batch_norm_inference(p: Program, op: ops.BatchNormInference, x: Fn, gamma: Fn, beta: Fn,
                         mean: Fn, var: Fn) -> Fn:
    """y = x scale_c + (beta_c - mean_c scale_c),  scale_c = gamma_c / sqrt(var_c + eps)."""
    dtype = op.dtype(*(f.dtype for f in (x, gamma, beta, mean, var)))
    scale = _scale(p, gamma, var, op.eps, dtype)
    shift = p.store(Fn(gamma.shape, dtype, lambda *c: (
        beta.at(*c).cast(dtype) - mean.at(*c).cast(dtype) * scale.at(*c))), "shift")
    return Fn(x.shape, dtype, lambda *i: (x.at(*i).cast(dtype) * scale.at(i[1]) + shift.at(i[1])))
