"""Reductions as loops around the scalar code, or around a tile of lanes."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, prod
from typing import Any

import numpy as np

from kiso.compiler.codegen.convert import Nest
from kiso.compiler.codegen.dag import Node, coefficient
from kiso.compiler.codegen.ir import FAST, Val, Writer, llvm_type
from kiso.compiler.codegen.scalar import Scalar

__all__ = ["Reduction", "joint", "reach"]

BLOCK = 256  # float terms that are added one by one
SUM = "reassoc " + FAST  # a sum may be regrouped, so that it becomes several partial sums
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
        node = nodes[0]
        self.kind: str = node.extra[0]
        self.body, self.place = node.args
        self.bodies = [n.args[0] for n in nodes]
        lane = scalar.lane
        self.width = lane.width if lane is not None and lane.axis in node.axes else 1
        self.axes: list[Node] = [a for a in node.extra[1] if nest.extent[a] > 1]
        if self.kind != "argmax":  # neighbours in memory are the innermost loop
            far = 0 if self.width == 1 else 1 << 60
            self.axes.sort(key=lambda a: -(reach(a, loads) or far))

    def write(self) -> list[Val]:
        """The reduced values, each one number or one for each lane."""
        dtype = self.body.dtype
        start = self._widened(_start(self.kind, dtype), llvm_type(dtype))
        if self.kind == "argmax":
            return [self._argmax(start)]
        if self.kind == "sum" and dtype.kind == "f":
            zeros = [start] * len(self.bodies)
            return self._sum(self.axes, zeros, zeros)

        def step(carried: list[Val]) -> list[Val]:
            return [_combine(self.w, self.kind, dtype, carried[0], self.scalar.of(self.body))]
        return self._loops(step, [start])

    def _widened(self, number: float | int, ty: str) -> Val:
        return self.w.widen(self.w.value(number, ty), self.width)

    def _loops(self, step: Callable[[list[Val]], list[Val]], carried: list[Val]) -> list[Val]:
        """All axes, the first outermost."""
        w = self.w

        def nested(axes: list[Node], carried: list[Val]) -> list[Val]:
            if not axes:
                return [w.widen(x, self.width) for x in step(carried)]

            def inside(i: Val, carried: list[Val]) -> list[Val]:
                with self.scalar.scope({axes[0]: i}):
                    return nested(axes[1:], carried)
            return self._run(axes[0], inside, carried)
        with self.scalar.scope({}):
            return nested(self.axes, carried)

    def _argmax(self, start: Val) -> Val:
        w, dtype = self.w, self.body.dtype

        def better(carried: list[Val]) -> list[Val]:
            x = self.scalar.of(self.body)
            more = w.compare("gt", x, carried[0], dtype.kind in "ub")
            return [w.select(more, x, carried[0]),
                    w.select(more, self.scalar.of(self.place), carried[1])]
        if self.width > 1 or self.place.bounds[1] >= NOWHERE:
            return self._loops(better, [start, self._widened(0, "i64")])[1]
        # Two loops that become vectors: the maximum, then the first place where it stands.
        best = self._loops(lambda c: [_combine(w, "max", dtype, c[0], self.scalar.of(self.body))],
                           [start])[0]

        def earlier(carried: list[Val]) -> list[Val]:
            here = self.scalar.of(self.body).eq(best)
            place = w.select(here, self.scalar.of(self.place), w.value(NOWHERE, "i64"))
            return [w.intrinsic("smin", carried[0], place)]
        first = self._loops(earlier, [w.value(NOWHERE, "i64")])[0]
        return w.select(first.eq(NOWHERE), 0, first)

    def _count(self, axes: list[Node]) -> int:
        return prod(self.nest.extent[a] for a in axes)

    def _sum(self, axes: list[Node], totals: list[Val], zeros: list[Val]) -> list[Val]:
        """Sum in blocks, each from 0: rounding errors grow with the block, not with the terms."""
        w, block = self.w, BLOCK if self.width > 1 else BLOCK * 32
        if not axes:
            terms = [self.scalar.of(b) for b in self.bodies]  # not regrouped: exp needs rounding
            with w.flags(SUM if self.width == 1 else FAST):
                return [w.widen(a + b, self.width) for a, b in zip(totals, terms, strict=True)]
        n, rest = self.nest.extent[axes[0]], axes[1:]
        alone = self._count(rest) >= 16 and self._count(axes) > block

        def plus(some: list[Val], more: list[Val]) -> list[Val]:
            with w.flags(""):  # not to be regrouped into one long sum
                return [a + b for a, b in zip(some, more, strict=True)]

        def inside(i: Val, carried: list[Val]) -> list[Val]:
            with self.scalar.scope({axes[0]: i}):
                if alone:
                    return plus(carried, self._sum(rest, zeros, zeros))
                return self._sum(rest, carried, zeros)

        def part(t: Val, carried: list[Val]) -> list[Val]:
            begin = t * w.value(block, "i64")
            end = w.intrinsic("smin", begin + block, w.value(n, "i64"))
            return plus(carried, w.loop(begin, end, inside, zeros))
        with self.scalar.scope({}):
            if n >= 2 * block:
                return w.loop(w.value(0, "i64"), w.value(-(-n // block), "i64"), part, totals)
            return self._run(axes[0], inside, totals)

    def _run(self, axis: Node, inside: Callable[[Val, list[Val]], list[Val]],
             carried: list[Val]) -> list[Val]:
        """One loop; a few terms are written out."""
        n = self.nest.extent[axis]
        if n <= 8 and self._count(self.axes) <= 16:
            for k in range(n):
                carried = inside(self.w.value(k, "i64"), carried)
            return carried
        return self.w.loop(self.w.value(0, "i64"), self.w.value(n, "i64"), inside, carried)


def _start(kind: str, dtype: np.dtype[Any]) -> float | int:
    """The neutral element."""
    if kind == "sum":
        return 0
    if dtype.kind == "f":
        return inf if kind == "min" else -inf
    if dtype.kind == "b":
        return 1 if kind == "min" else 0
    info = np.iinfo(dtype)
    return int(info.max if kind == "min" else info.min)


def _combine(w: Writer, kind: str, dtype: np.dtype[Any], a: Val, b: Val) -> Val:
    if dtype.kind == "b":
        return w.binary("and" if kind == "min" else "or", a, b)
    if kind == "sum":
        return a + b
    stem = {"f": f"{kind}imum", "u": f"u{kind}"}.get(dtype.kind, f"s{kind}")
    return w.intrinsic(stem, a, b)
