"""Twin of ops/banded.py: an axis times a matrix of which only a band is kept."""

from __future__ import annotations

from kiso import ops
from kiso.compiler.loops import Expr, Fn, bounded
from kiso.compiler.lower.rules import element, over

__all__: list[str] = []


@element(ops.Banded, reads="often")
def banded(op: ops.Banded, x: Fn, first: Fn, weights: Fn, _first: Fn, _weights: Fn, *i: Expr
           ) -> Expr:
    """y[.., j, ..] = sum over k of weights[j, k] x[.., first[j] + k, ..]."""
    j, size = i[op.axis], x.shape[op.axis]

    def term(k: Expr) -> Expr:
        s, _ = bounded(first.at(j) + k, -1, size, size)
        return weights.at(j, k).cast(x.dtype) * x.at(*i[:op.axis], s, *i[op.axis + 1:])
    return over("sum", weights.shape[1:], term)
