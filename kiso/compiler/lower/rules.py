"""The table of lowering rules, op class -> function from `Fn`s to `Fn`s, and what rules share.

Most rules are one element of the result, a function of the inputs and of the element's indices:

    @element(ops.Flip, moves=True)
    def flip(op, x, *i):
        return x.at(*(x.shape[a] - 1 - k if a in op.axes else k for a, k in enumerate(i)))

A rule(p, op, *inputs) with @lowers makes the `Fn`s itself. It adds kernels to the Program by
`p.store(fn)` for what it needs more than once (a maximum before the exponentials). The result is
not stored by the rule: the plan decides that. `reads="once"` promises that every element of an
input is read at most once for the whole result, so that the producer may be computed on the way;
otherwise inputs come stored. `moves`: see `Fn`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from math import prod
from typing import Any

import numpy as np

from kiso.compiler.loops import Axis, Expr, Fn, Index, Program, Reduce, const, select
from kiso.ops.op import Op, Shape

__all__ = ["RULES", "Indices", "Rule", "digits", "element", "lowers", "mapped", "number", "over",
           "product", "spread", "where"]

Indices = Sequence[Expr]


@dataclass(frozen=True)
class Rule:
    """How one op is lowered: rule(program, op, *inputs) -> Fn or tuple of Fns."""

    apply: Callable[..., Any]
    reads_once: bool


RULES: dict[type[Op], Rule] = {}


def lowers(*kinds: type[Op], reads: str = "once") -> Callable[[Any], Any]:
    """Register a rule(program, op, *inputs) for these ops; reads is "once" or "often"."""
    assert reads in ("once", "often")

    def register(apply: Callable[..., Any]) -> Callable[..., Any]:
        for kind in kinds:
            assert kind not in RULES, kind
            RULES[kind] = Rule(apply, reads == "once")
        return apply
    return register


def element(*kinds: type[Op], reads: str = "once", moves: bool = False) -> Callable[[Any], Any]:
    """Register a rule(op, *inputs, *indices) -> Expr for these ops."""
    def register(at: Callable[..., Expr]) -> Callable[..., Expr]:
        def apply(p: Program, op: Any, *inputs: Fn) -> Fn:
            dtype = np.dtype(op.dtype(*(x.dtype for x in inputs)))
            return Fn(op.shape(*(x.shape for x in inputs)), dtype,
                      lambda *i: at(op, *inputs, *i), moves)
        lowers(*kinds, reads=reads)(apply)
        return at
    return register


def mapped(x: Fn, f: Callable[[Expr], Expr], dtype: Any = None) -> Fn:
    """f of every element."""
    return Fn(x.shape, np.dtype(dtype or x.dtype), lambda *i: f(x.at(*i)))


def spread(x: Fn, shape: Shape, index: Indices) -> Expr:
    """x broadcast to `shape`, at these indices of the larger shape."""
    lead = len(shape) - len(x.shape)
    own = [const(0) if n == 1 and shape[lead + k] != 1 else index[lead + k]
           for k, n in enumerate(x.shape)]
    return x.at(*own)


def product(a: Expr, b: Expr) -> Expr:
    """a b, in their common type."""
    dtype = np.result_type(a.dtype, b.dtype)
    return a.cast(dtype) * b.cast(dtype)


def over(kind: str, extents: Sequence[int], body: Callable[..., Expr]) -> Expr:
    """sum, max or min of body(i, j, ...) over all i, j, ... below the extents; an axis of length 1
    needs no loop."""
    axes = [Axis(n) for n in extents]
    value = body(*(const(0) if a.extent == 1 else Index(a) for a in axes))
    loops = [a for a in axes if a.extent != 1]
    return Reduce(kind, loops, value) if loops else value


def where(tests: Sequence[Expr], value: Expr, otherwise: Any = 0) -> Expr:
    """The value if all tests hold."""
    return select(reduce(Expr.__and__, tests), value, otherwise) if tests else value


def number(index: Indices, shape: Sequence[int]) -> Expr:
    """Row-major number of an element: (i, j) -> i * shape[1] + j."""
    n: Expr = const(0)
    for i, size in zip(index, shape, strict=True):
        n = n * size + i
    return n


def digits(n: Expr, shape: Sequence[int]) -> list[Expr]:
    """Indices of the element with this row-major number, the inverse of `number`."""
    index: list[Expr] = []
    for axis, size in enumerate(shape):
        place = n // max(1, prod(shape[axis + 1:]))
        index.append(const(0) if size == 1 else place if axis == 0 else place % size)
    return index
