"""Twin of ops/broadcast.py."""

from __future__ import annotations

from kiso import ops
from kiso.compiler.loops import Expr, Fn, Program
from kiso.compiler.lower.rules import lowers, spread

__all__ = ["broadcast_to", "sum_to"]


@lowers(ops.BroadcastTo)
def broadcast_to(p: Program, op: ops.BroadcastTo, x: Fn) -> Fn:
    """y[.., i, j] = x[0, j] where x has an axis of length 1."""
    return Fn(op.to, x.dtype, lambda *i: spread(x, op.to, i), moves=True)
