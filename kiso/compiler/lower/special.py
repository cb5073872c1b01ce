"""Twin of ops/special.py."""

from __future__ import annotations

from kiso import ops
from kiso.compiler.loops import Fn, Program, unary
from kiso.compiler.lower.elementwise import mapped
from kiso.compiler.lower.rules import lowers

__all__ = ["erf"]


@lowers(ops.Erf)
def erf(p: Program, op: ops.Erf, x: Fn) -> Fn:
    """The error function."""
    return mapped(x, lambda v: unary("erf", v))
