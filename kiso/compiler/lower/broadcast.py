"""Twin of ops/broadcast.py."""

from __future__ import annotations

from kiso import ops
from kiso.compiler.loops import Expr, Fn, Program
from kiso.compiler.lower.reduce import over
from kiso.compiler.lower.rules import lowers, spread

__all__ = ["broadcast_to", "sum_to"]


@lowers(ops.BroadcastTo)
def broadcast_to(p: Program, op: ops.BroadcastTo, x: Fn) -> Fn:
    """y[.., i, j] = x[0, j] where x has an axis of length 1."""
    return Fn(op.to, x.dtype, lambda *i: spread(x, op.to, i), moves=True)


@lowers(ops.SumTo)
def sum_to(p: Program, op: ops.SumTo, x: Fn) -> Fn:
    """Sum over leading axes and those that have length 1 in the result."""
    x, lead = p.settled(x), len(x.shape) - len(op.to)
    axes = [k for k, n in enumerate(x.shape) if k < lead or n != op.to[k - lead]]

    def at(*i: Expr) -> Expr:
        def body(*r: Expr) -> Expr:
            loops = iter(r)
            return x.at(*(next(loops) if k in axes else i[k - lead] for k in range(len(x.shape))))
        return over("sum", [x.shape[k] for k in axes], body)
    return Fn(op.to, x.dtype, at)
