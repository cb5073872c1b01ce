"""The table of lowering rules: op class -> function from `Fn`s to `Fn`s.

    @lowers(ops.Add)
    def add(p, op, a, b):
        shape = op.shape(a.shape, b.shape)
        return Fn(shape, a.dtype, lambda *i: spread(a, shape, i) + spread(b, shape, i))

`p` is the Program, to which a rule adds kernels by `p.store(fn)` for what it needs more than once
(a maximum before the exponentials). The result is not stored by the rule: the plan decides that.
`reads="once"` promises that every element of an input is read at most once for the whole result,
so that the producer may be computed on the way; otherwise inputs come stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kiso.compiler.loops import Expr, Fn, const
from kiso.ops.op import Op, Shape

__all__ = ["RULES", "Rule", "lowers", "spread"]


@dataclass(frozen=True)
class Rule:
    """How one op is lowered: rule(program, op, *inputs) -> Fn or tuple of Fns."""

    apply: Callable[..., Any]
    reads_once: bool


RULES: dict[type[Op], Rule] = {}


def lowers(*kinds: type[Op], reads: str = "once") -> Callable[[Any], Any]:
    """Register a rule for these ops; reads is "once" or "often"."""
    assert reads in ("once", "often")

    def register(apply: Callable[..., Any]) -> Callable[..., Any]:
        for kind in kinds:
            assert kind not in RULES, kind
            RULES[kind] = Rule(apply, reads == "once")
        return apply
    return register


def spread(x: Fn, shape: Shape, index: Sequence[Expr]) -> Expr:
    """x broadcast to `shape`, at these indices of the larger shape."""
    lead = len(shape) - len(x.shape)
    own = [const(0) if n == 1 and shape[lead + k] != 1 else index[lead + k]
           for k, n in enumerate(x.shape)]
    return x.at(*own)
