"""Twin of ops/matmul.py: the plain meaning; large products become a contract kernel."""

from __future__ import annotations

from kiso import ops
from kiso.compiler.loops import Expr, Fn, Program
from kiso.compiler.lower.reduce import over
from kiso.compiler.lower.rules import lowers, spread

__all__ = ["matmul"]


@lowers(ops.MatMul, reads="often")
def matmul(p: Program, op: ops.MatMul, a: Fn, b: Fn) -> Fn:
    """y[.., n, m] = sum over k of a[.., n, k] b[.., k, m], leading axes broadcast."""
    shape, dtype = op.shape(a.shape, b.shape), op.dtype(a.dtype, b.dtype)
    *lead, rows, columns = shape
    inner = a.shape[-1]

    def at(*i: Expr) -> Expr:
        *stack, n, m = i

        def product(k: Expr) -> Expr:
            left = spread(a, (*lead, rows, inner), (*stack, n, k))
            return left.cast(dtype) * spread(b, (*lead, inner, columns), (*stack, k, m)).cast(dtype)
        return over("sum", (inner,), product)
    return Fn(shape, dtype, at)
