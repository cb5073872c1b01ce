"""Reductions as loops around the scalar code, or around a tile of lanes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf, prod
from typing import Any

import numpy as np

from kiso.compiler.codegen.convert import Nest
from kiso.compiler.codegen.dag import Node, coefficient
from kiso.compiler.codegen.ir import FAST, Index, Val, llvm_type
from kiso.compiler.codegen.scalar import Scalar, combine

__all__ = ["Reduction", "joint", "reach"]

BLOCK = 256  # float terms that are added one by one
SUM = f"reassoc {FAST}"  # a sum may be regrouped, so that it becomes several partial sums
NOWHERE = 1 << 31  # a place beyond all others


def reach(axis: Node, loads: list[Node]) -> int:
    """How far apart in memory neighbours along an axis are, over all loads."""
    return sum(abs(coefficient(x.args[0], axis) or 0) for x in loads)


def joint(a: Node, b: Node) -> bool:
    """Whether two reductions can share their loops, if none is in the other: sums of floats."""
    return a.extra == b.extra and a.extra[0] == "sum" and a.axes == b.axes and \
        a.dtype == b.dtype and a.dtype.kind == "f"


class Reduction:
    """Writes a Reduce node, or several joint ones, where the axes around have values."""

    def __init__(self, nest: Nest, scalar: Scalar, nodes: list[Node], loads: list[Node]):
        self.nest, self.scalar, self.w = nest, scalar, scalar.w
        self.kind: str = nodes[0].extra[0]
        self.body, self.place = nodes[0].args
        self.bodies = [n.args[0] for n in nodes]
        lane = scalar.lane
        self.width = lane.width if lane is not None and lane.axis in nodes[0].axes else 1
        self.axes: list[Node] = [a for a in nodes[0].extra[1] if nest.extent[a] > 1]
        if self.kind != "argmax":  # neighbours in memory are the innermost loop
            far = 0 if self.width == 1 else 1 << 60
            self.axes.sort(key=lambda a: -(reach(a, loads) or far))

    def write(self) -> list[Val]:
        """The reduced values, each one number or one for each lane."""
        dtype = self.body.dtype
        start = self._value(_start(self.kind, dtype), llvm_type(dtype))
        if self.kind == "argmax":
            return [self._argmax(start)]
        if self.kind == "sum" and dtype.kind == "f":
            zeros = [start] * len(self.bodies)
            return self._loops(self.axes, zeros, self._add, zeros)
        name = "add" if self.kind == "sum" else self.kind
        return [self._folded(name, start)]

    def _value(self, number: float, ty: str = "i64") -> Val:
        return self.w.widen(self.w.value(number, ty), self.width)

    def _folded(self, name: str, start: Val) -> Val:
        """One operation over all terms."""
        kind = self.body.dtype.kind
        return self._loops(self.axes, [start], lambda c: [
            combine(name, kind, c[0], self.scalar.of(self.body))])[0]

    def _count(self, axes: list[Node]) -> int:
        return prod(self.nest.extent[a] for a in axes)

    def _loops(self, axes: list[Node], carried: Sequence[Val],
               step: Callable[[Sequence[Val]], list[Val]], zeros: Sequence[Val] = ()) -> list[Val]:
        """A step for all places, the first axis outermost; a few are written out.

        From `zeros` on a sum is taken in blocks: rounding errors grow with the block, not with the
        terms.
        """
        if not axes:
            return [self.w.widen(x, self.width) for x in step(carried)]
        w, n, rest = self.w, self.nest.extent[axes[0]], axes[1:]
        block = BLOCK if self.width > 1 else BLOCK * 32
        alone = bool(zeros) and self._count(rest) >= 16 and self._count(axes) > block

        def plus(some: Sequence[Val], more: Sequence[Val]) -> list[Val]:
            # not to be regrouped into one long sum
            return [w.binary("fadd", a, b) for a, b in zip(some, more, strict=True)]

        def terms(begin: Index, end: Index, sums: Sequence[Val]) -> list[Val]:
            state = list(sums)
            few = n <= 8 and self._count(self.axes) <= 16
            for i in range(n) if few else w.rounds(begin, end, state, guard=False):
                with self.scalar.scope({axes[0]: w.value(i)}):
                    state[:] = plus(state, self._loops(rest, zeros, step, zeros)) if alone else \
                        self._loops(rest, state, step, zeros)
            return state
        with self.scalar.scope({}):
            if not zeros or n < 2 * block:
                return terms(0, n, carried)
            state = list(carried)
            for t in w.rounds(0, -(-n // block), state):
                end = w.intrinsic("smin", w.value(t * block + block), w.value(n))
                state[:] = plus(state, terms(t * block, end, zeros))
            return state

    def _add(self, totals: Sequence[Val]) -> list[Val]:
        """One more term of every sum."""
        terms = [self.scalar.of(b) for b in self.bodies]  # not regrouped: exp needs rounding
        add = f"fadd {SUM if self.width == 1 else FAST}"
        return [self.w.binary(add, a, b) for a, b in zip(totals, terms, strict=True)]

    def _argmax(self, start: Val) -> Val:
        w, of = self.w, self.scalar.of

        def better(carried: Sequence[Val]) -> list[Val]:
            x = of(self.body)
            more = w.compare("gt", x, carried[0], self.body.dtype.kind in "ub")
            return [w.select(more, x, carried[0]), w.select(more, of(self.place), carried[1])]
        if self.width > 1 or self.place.bounds[1] >= NOWHERE:
            return self._loops(self.axes, [start, self._value(0)], better)[1]
        # Two loops that become vectors: the maximum, then the first place where it stands.
        best, nowhere = self._folded("max", start), self._value(NOWHERE)

        def earlier(carried: Sequence[Val]) -> list[Val]:
            here = of(self.body).eq(best)
            return [w.intrinsic("smin", carried[0], w.select(here, of(self.place), nowhere))]
        first = self._loops(self.axes, [nowhere], earlier)[0]
        return w.select(first.eq(NOWHERE), 0, first)


def _start(kind: str, dtype: np.dtype[Any]) -> float:
    """The neutral element."""
    if kind == "sum":
        return 0
    if dtype.kind in "bf":
        low, high = (-inf, inf) if dtype.kind == "f" else (0, 1)
    else:
        low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    return high if kind == "min" else low
