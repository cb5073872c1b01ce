"""Twin of ops/norm.py: statistics and the factor of each channel are stored, then one map."""

from __future__ import annotations

from math import prod

import numpy as np

from kiso import ops
from kiso.compiler.loops import Expr, Fn, Program, reduce, unary
from kiso.compiler.lower.rules import lowers

__all__ = ["batch_norm", "batch_norm_inference"]


@lowers(ops.BatchNorm, reads="often")
def batch_norm(p: Program, op: ops.BatchNorm, x: Fn, gamma: Fn, beta: Fn) -> tuple[Fn, Fn, Fn]:
    """m_c = sum x / M,  v_c = sum (x - m_c)^2 / M,  y = (x - m_c) (gamma_c / sqrt(v_c + eps))
    + beta_c, with M elements x[n, c, *s] for each channel c."""
    N, C, *S = x.shape
    M = prod((N, *S))
    dtype = np.result_type(x.dtype, gamma.dtype, beta.dtype)

    def mean(c: Expr) -> Expr:
        def part(n: Expr, *s: Expr) -> Expr:
            return x.at(n, c, *s).cast(dtype)
        return reduce("sum", (N, *S), part) / M

    def centred(n: Expr, c: Expr, *s: Expr) -> Expr:
        return x.at(n, c, *s).cast(dtype) - m.at(c)

    def variance(c: Expr) -> Expr:
        def part(n: Expr, *s: Expr) -> Expr:
            d = centred(n, c, *s)
            return d * d
        return reduce("sum", (N, *S), part) / M

    def factor(c: Expr) -> Expr:
        return gamma.at(c).cast(dtype) / unary("sqrt", v.at(c) + op.eps)

    def normal(n: Expr, c: Expr, *s: Expr) -> Expr:
        return centred(n, c, *s) * scale.at(c) + beta.at(c).cast(dtype)

    m = p.store(Fn((C,), dtype, mean), "mean")
    v = p.store(Fn((C,), dtype, variance), "var")
    scale = p.store(Fn((C,), dtype, factor), "scale")
    return Fn(x.shape, dtype, normal), m, v


@lowers(ops.BatchNormInference)
def batch_norm_inference(p: Program, op: ops.BatchNormInference, x: Fn, gamma: Fn, beta: Fn,
                         mean: Fn, var: Fn) -> Fn:
    """y = x scale_c + (beta_c - mean_c scale_c),  scale_c = gamma_c / sqrt(var_c + eps)."""
    dtype = op.dtype(*(f.dtype for f in (x, gamma, beta, mean, var)))
    def factor(c: Expr) -> Expr:
        return gamma.at(c).cast(dtype) / unary("sqrt", var.at(c) + op.eps).cast(dtype)

    def constant(c: Expr) -> Expr:
        return beta.at(c).cast(dtype) - mean.at(c).cast(dtype) * scale.at(c)

    def normal(n: Expr, c: Expr, *s: Expr) -> Expr:
        return x.at(n, c, *s).cast(dtype) * scale.at(c) + shift.at(c)

    scale = p.store(Fn(gamma.shape, dtype, factor), "scale")
    shift = p.store(Fn(gamma.shape, dtype, constant), "shift")
    return Fn(x.shape, dtype, normal)
