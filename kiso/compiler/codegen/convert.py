"""A kernel of the loop language as a Dag and loops: axes split and merged so that they run long.

A reshape turns an index into quotient and remainder. Where their divisor divides the extent, the
axis is split in two (i = hi * c + lo) and both vanish. Neighbouring axes that every address uses
as one (i * n + j, j < n) are merged again, so that the inner loop is long.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import prod

import numpy as np

from kiso.compiler.codegen.dag import I64, Dag, Node, parts, value
from kiso.compiler.loops import (
    COMPARE,
    Axis,
    Binary,
    Buffer,
    Cast,
    Const,
    Contract,
    Expr,
    Index,
    Kernel,
    Load,
    Reduce,
    Select,
    Unary,
    subexpressions,
)

__all__ = ["Nest", "coefficient", "convert", "loads_below", "reachable", "reads", "sections"]

BOOL = np.dtype(bool)


@dataclass
class Nest:
    """buffer[offset] = value for every result, in loops over `axes`, the slowest first."""

    results: list[tuple[Buffer, Node, Node]]
    axes: list[Node]
    extent: dict[Node, int]  # merged axes have extent 1
    reduces: list[Node]  # args: (body, place of the element in the reduction); extra: kind, axes
    nodes: list[Node]  # all that are used
    buffers: list[Buffer]  # those that are read

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.extent[a] for a in self.axes)


Splits = dict[str, tuple[int, ...]]
Limit = tuple[str, int, int]  # name of an axis, begin, end


class _Converter:
    def __init__(self, splits: Splits, limit: Limit | None):
        self.dag = Dag()
        self.limit = limit
        self.splits = splits
        self.index: dict[Axis, Node] = {}
        self.done: dict[Expr, Node] = {}

    def axis(self, axis: Axis, name: str) -> list[Node]:
        """Make the loop variables of an axis: one, or several if it is split."""
        loops: list[Node] = []
        total = self.dag.number(0)
        cuts = [axis.extent, *self.splits.get(name, ()), 1]
        for k in range(len(cuts) - 1):
            step = cuts[k + 1]
            loops.append(self.dag.axis(f"{name}.{k}" if len(cuts) > 2 else name, cuts[k] // step))
            if self.limit is not None and self.limit[0] == loops[-1].extra[0]:
                loops[-1].bounds = (self.limit[1], self.limit[2] - 1)
            total = self.dag.add(total, loops[-1], step)
        self.index[axis] = total
        return loops

    def offset(self, buffer: Buffer, indices: list[Node]) -> Node:
        total = self.dag.number(0)
        for i, stride in zip(indices, buffer.strides, strict=True):
            total = self.dag.add(total, i, stride)
        return total

    def of(self, e: Expr) -> Node:
        found = self.done.get(e)
        if found is None:
            found = self.done[e] = self._of(e)
        return found

    def _of(self, e: Expr) -> Node:
        dag = self.dag
        if isinstance(e, Const):
            return dag.number(int(e.value)) if e.dtype == I64 else dag.node(
                "const", e.dtype, (), (e.value, str(e.value)))
        if isinstance(e, Index):
            return self.index[e.axis]
        if isinstance(e, Load):
            return dag.load(e.buffer, self.offset(e.buffer, [self.of(i) for i in e.indices]))
        if isinstance(e, Reduce):
            return self._reduce(e)
        if isinstance(e, Select):
            c, a, b = self.of(e.condition), self.of(e.a), self.of(e.b)
            known = truth(c)
            if known is not None:
                return a if known else b
            return a if a is b else dag.node("select", e.dtype, (c, a, b))
        if isinstance(e, Cast):
            return dag.node("cast", e.dtype, (self.of(e.x),))
        if isinstance(e, Unary):
            x = self.of(e.x)
            if e.name == "neg" and e.dtype == I64:
                return dag.add(dag.number(0), x, -1)
            return dag.node(e.name, e.dtype, (x,))
        assert isinstance(e, Binary)
        return self._binary(e)

    def _binary(self, e: Binary) -> Node:
        dag, a, b = self.dag, self.of(e.a), self.of(e.b)
        if a.dtype == I64:
            return dag.compare(e.name, a, b) if e.name in COMPARE else dag.binary(e.name, a, b)
        if e.dtype == BOOL and e.name in ("and", "or"):
            for x, other in ((a, b), (b, a)):
                known = truth(x)
                if known is not None:
                    return other if known == (e.name == "and") else x
        return dag.node(e.name, e.dtype, (a, b))

    def _reduce(self, e: Reduce) -> Node:
        if any(a.extent == 0 for a in e.axes):
            return self.dag.number(0) if e.dtype == I64 else self.dag.node(
                "const", e.dtype, (), (0, "0"))
        loops: list[Node] = []
        place = self.dag.number(0)
        for k, axis in enumerate(e.axes):
            # Numbered within the reduction, so that equal reductions are one node.
            loops += self.axis(axis, f"r{k}n{axis.extent}")
            place = self.dag.add(self.dag.binary("mul", place, self.dag.number(axis.extent)),
                                 self.index[axis])
        node = self.dag.node("reduce", e.dtype, (self.of(e.body), place), (e.kind, tuple(loops)))
        node.axes = node.axes - frozenset(loops)
        return node


def truth(c: Node) -> bool | None:
    """The value of a condition that is known."""
    if c.op != "const":
        return None
    return bool(c.extra[0])


def reachable(roots: list[Node]) -> list[Node]:
    """All nodes that these need, and they themselves, each after what it needs."""
    seen: dict[Node, None] = {}
    stack = list(roots)
    while stack:
        n = stack.pop()
        if n not in seen:
            seen[n] = None
            stack += n.args
    return sorted(seen, key=lambda n: n.serial)


def _new_splits(nodes: list[Node], extents: dict[str, int], old: Splits) -> Splits:
    """Divisors that divide the extent of the single axis in their dividend."""
    found: dict[str, set[int]] = {}
    for n in nodes:
        if n.op not in ("div", "mod") or n.dtype != I64:
            continue
        c = value(n.args[1])
        terms, constant = parts(n.args[0])
        if not c or c < 2 or constant:
            continue
        for atom, k in terms.items():
            if atom.op == "axis" and k > 0 and c % k == 0:
                name = atom.extra[0].split(".")[0]
                # The part with this coefficient begins at its own step of the unsplit axis.
                cuts = [*old.get(name, ()), 1]
                part = int(atom.extra[0].split(".")[1]) if "." in atom.extra[0] else 0
                step = cuts[part] * (c // k)
                above = ([extents[name], *cuts])[part]
                if above % step == 0 and cuts[part] < step < above:
                    found.setdefault(name, set()).add(step)
    return {name: _chain({*old.get(name, ()), *steps}) for name, steps in found.items()}


def _chain(steps: set[int]) -> tuple[int, ...]:
    """The largest first, each a divisor of the one before."""
    chain: list[int] = []
    for step in sorted(steps, reverse=True):
        if not chain or chain[-1] % step == 0:
            chain.append(step)
    return tuple(chain)


def convert(kernel: Kernel, limit: Limit | None = None) -> Nest:
    """Loops and Dag of a kernel; `limit` holds one axis to a part of its range."""
    splits: Splits = {}
    while True:
        converter = _Converter(splits, limit)
        loops = [converter.axis(a, f"o{k}") for k, a in enumerate(kernel.axes)]
        results = [(element.buffer,
                    converter.offset(element.buffer, [converter.of(i) for i in element.indices]),
                    converter.of(e)) for element, e in kernel.results]
        nodes = reachable([n for _, *both in results for n in both])
        extents = {f"o{k}": a.extent for k, a in enumerate(kernel.axes)}
        extents |= {name: int(name.split("n")[1]) for n in nodes if n.op == "reduce"
                    for name in (a.extra[0].split(".")[0] for a in n.extra[1])}
        more = {**splits, **_new_splits(nodes, extents, splits)}
        if more == splits or sum(map(len, more.values())) <= sum(map(len, splits.values())):
            break
        splits = more
    axes = [a for k in kernel.buffer.order for a in loops[k]]
    extent: dict[Node, int] = {n: n.extra[1] for n in (*nodes, *axes) if n.op == "axis"}
    reduces = [n for n in nodes if n.op == "reduce"]
    buffers: list[Buffer] = list(dict.fromkeys(n.extra for n in nodes if n.op == "load"))
    nest = Nest(results, axes, extent, reduces, nodes, buffers)
    if limit is None:  # sections of a kernel have the same loops
        _merge(nest)
    return nest


def _uses(nest: Nest) -> list[dict[Node, int]]:
    """How every address or other index expression depends on the axes."""
    uses = [parts(n)[0] for _, *both in nest.results for n in both if n.dtype == I64]
    for n in nest.nodes:
        if n.op != "linear":
            uses += [parts(a)[0] for a in n.args if a.dtype == I64]
        else:
            uses += [{a: 1} for a in n.args if a.op == "linear"]
    return uses


def _merge(nest: Nest) -> None:
    """Make one loop of neighbours that all index expressions use as one."""
    uses = _uses(nest)
    orders: list[list[Node]] = [nest.axes]
    reduced = {tuple(n.extra[1]) for n in nest.reduces}
    shared = [a for axes in reduced for a in axes]
    orders += [list(axes) for axes in reduced if all(shared.count(a) == 1 for a in axes)]
    for order in orders:
        live = [a for a in order if nest.extent[a] > 1]
        k = len(live) - 2
        while k >= 0:
            outer, inner = live[k], live[k + 1]
            n = nest.extent[inner]
            if all(u.get(outer, 0) == n * u.get(inner, 0) for u in uses):
                nest.extent[inner] = n * nest.extent[outer]
                nest.extent[outer] = 1
                del live[k]
            k -= 1


def sections(kernel: Kernel) -> list[Nest]:
    """The kernel, or several that each do a part of the inner axis in which padding is decided.

    Where a comparison or a clamp depends on the inner axis alone, it changes at one place only:
    in the parts before and behind this place nothing is left to compare, and loads stand side by
    side.
    """
    nest = convert(kernel)
    inner = next((a for a in reversed(nest.axes) if nest.extent[a] > 1), None)
    if inner is None or nest.reduces or nest.extent[inner] != inner.extra[1]:
        return [nest]
    n = nest.extent[inner]
    cuts = {0, n}
    for x in nest.nodes:
        if x.op in (*COMPARE, "max", "min") and x.args[0].dtype == I64:
            cuts |= {c for c in _changes(x, inner) if 0 < c < n}
    if not 2 < len(cuts) <= 6 or n < 16:
        return [nest]
    edges = sorted(cuts)
    name = inner.extra[0]
    return [convert(kernel, (name, a, b)) for a, b in pairwise(edges)]


def _changes(x: Node, axis: Node) -> tuple[int, ...]:
    """The values of the axis from which on a comparison comes out differently."""
    (left, c), (right, d) = parts(x.args[0]), parts(x.args[1])
    terms = {t: left.get(t, 0) - right.get(t, 0) for t in (*left, *right)}
    terms = {t: k for t, k in terms.items() if k}
    if list(terms) != [axis] or abs(terms[axis]) != 1:
        return ()
    zero = (d - c) * terms[axis]
    if x.op in ("eq", "ne"):
        return zero, zero + 1
    return (zero + (terms[axis] > 0 if x.op in ("le", "gt") else terms[axis] < 0),)


def coefficient(n: Node, axis: Node) -> int | None:
    """Step of an index expression along an axis; None if it is not constant."""
    total = 0
    terms: dict[Node, int] = parts(n)[0]
    for atom, c in terms.items():
        if atom is axis:
            total = c
        elif axis in atom.axes:
            return None
    return total


def loads_below(n: Node) -> list[Node]:
    """All loads that an expression needs."""
    return [x for x in reachable([n]) if x.op == "load"]


def reads(kernel: Kernel | Contract) -> list[Buffer]:
    """Buffers that a kernel may read."""
    if isinstance(kernel, Contract):
        return list(dict.fromkeys(kernel.inputs))
    return list(dict.fromkeys(e.buffer for e in subexpressions(*(e for _, e in kernel.results))
                              if isinstance(e, Load)))
