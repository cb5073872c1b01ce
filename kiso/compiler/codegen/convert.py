"""A kernel of the loop language as a Dag and loops: axes split and merged so that they run long.

A reshape turns an index into quotient and remainder. Where their divisor divides the extent, the
axis is split in two (i = hi * c + lo) and both vanish. Neighbouring axes that every address uses
as one (i * n + j, j < n) are merged again, so that the inner loop is long.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from kiso.compiler.codegen.dag import I64, Dag, Node, reachable, terms, value
from kiso.compiler.loops import Axis, Buffer, Const, Expr, Index, Kernel, Load, Reduce

__all__ = ["Nest", "convert"]

Splits = dict[str, tuple[int, ...]]  # name of an axis: steps of its parts but the last (1)


@dataclass
class Nest:
    """buffer[offset] = value for every result, in loops over `axes`, the slowest first."""

    results: list[tuple[Buffer, Node, Node]]
    axes: list[Node]
    extent: dict[Node, int]  # merged axes have extent 1
    reduces: list[Node]  # args: (body, place of the element in the reduction); extra: kind, axes
    nodes: list[Node]  # all that are used
    buffers: list[Buffer]  # those that are read


class _Converter(Dag):
    """A Dag that is made from expressions."""

    def __init__(self, splits: Splits):
        super().__init__()
        self.splits = splits
        self.index: dict[Axis, Node] = {}
        self.done: dict[Expr, Node] = {}

    def loops(self, axis: Axis, name: str) -> list[Node]:
        """The loop variables of an axis: one, or several if it is split."""
        made: list[Node] = []
        total = self.number(0)
        for above, step in pairwise([axis.extent, *self.splits.get(name, ()), 1]):
            loop = self.node("axis", I64, (), (name, above // step, step))
            made.append(loop)
            total = self.add(total, loop, step)
        self.index[axis] = total
        return made

    def element(self, load: Load) -> Node:
        """The place of an element in its buffer."""
        total = self.number(0)
        for i, stride in zip([self.of(i) for i in load.indices], load.buffer.strides, strict=True):
            total = self.add(total, i, stride)
        return total

    def of(self, e: Expr) -> Node:
        """The node of an expression."""
        if e not in self.done:
            self.done[e] = self._of(e)
        return self.done[e]

    def _of(self, e: Expr) -> Node:
        if isinstance(e, Const):
            return self._constant(e.value, e)
        if isinstance(e, Index):
            return self.index[e.axis]
        if isinstance(e, Load):
            return self.node("load", e.dtype, (self.element(e),), e.buffer)
        if isinstance(e, Reduce):
            return self._reduce(e)
        return self.operation(e.name, e.dtype, [self.of(x) for x in e.parts])

    def _constant(self, number: Any, e: Expr) -> Node:
        return self.number(int(number)) if e.dtype == I64 else self.node(
            "const", e.dtype, (), (number, str(number)))  # the text tells 0.0 from -0.0

    def _reduce(self, e: Reduce) -> Node:
        if any(a.extent == 0 for a in e.axes):
            return self._constant(0, e)
        loops: list[Node] = []
        place = self.number(0)
        for k, axis in enumerate(e.axes):
            # Numbered within the reduction, so that equal reductions are one node.
            loops += self.loops(axis, f"r{k}n{axis.extent}")
            place = self.add(self.binary("mul", place, self.number(axis.extent)), self.index[axis])
        return self.node("reduce", e.dtype, (self.of(e.body), place), (e.kind, tuple(loops)))


def _more_splits(nodes: list[Node], old: Splits) -> Splits:
    """These, and divisors that divide the extent of the single axis in their dividend."""
    found = {name: set(steps) for name, steps in old.items()}
    for n in nodes:
        if n.op not in ("div", "mod") or n.dtype != I64:
            continue
        c = value(n.args[1]) or 0
        sums, constant = terms(n.args[0])
        for atom, k in sums.items():
            if c > 1 and constant == 0 and atom.op == "axis" and k > 0 and c % k == 0:
                name, extent, own = atom.extra
                step = own * (c // k)
                if own < step < extent * own and extent * own % step == 0:
                    found.setdefault(name, set()).add(step)
    chains: Splits = {}
    for name, steps in found.items():  # the largest first, each a divisor of the one before
        chain: list[int] = []
        for step in sorted(steps, reverse=True):
            if not chain or chain[-1] % step == 0:
                chain.append(step)
        chains[name] = tuple(chain)
    return chains


def convert(kernel: Kernel) -> Nest:
    """Loops and Dag of a kernel."""
    splits: Splits = {}
    while True:
        dag = _Converter(splits)
        loops = [dag.loops(a, f"o{k}") for k, a in enumerate(kernel.axes)]
        results = [(element.buffer, dag.element(element), dag.of(e))
                   for element, e in kernel.results]
        nodes = reachable(n for _, *both in results for n in both)
        more = _more_splits(nodes, splits)
        if sum(map(len, more.values())) <= sum(map(len, splits.values())):
            break
        splits = more
    axes = [a for k in kernel.buffer.order for a in loops[k]]
    extent: dict[Node, int] = {n: n.extra[1] for n in (*nodes, *axes) if n.op == "axis"}
    reduces = [n for n in nodes if n.op == "reduce"]
    buffers: list[Buffer] = list(dict.fromkeys(n.extra for n in nodes if n.op == "load"))
    nest = Nest(results, axes, extent, reduces, nodes, buffers)
    _merge(nest)
    return nest


def _merge(nest: Nest) -> None:
    """Make one loop of neighbours that all index expressions use as one."""
    used = [n for _, *both in nest.results for n in both]
    used += [a for n in nest.nodes if n.op != "linear" for a in n.args]
    uses = [terms(n)[0] for n in used if n.dtype == I64]
    reduced: dict[tuple[Node, ...], None] = dict.fromkeys(n.extra[1] for n in nest.reduces)
    shared = [a for axes in reduced for a in axes]
    for order in (nest.axes, *(r for r in reduced if all(shared.count(a) == 1 for a in r))):
        inner: Node | None = None
        for axis in reversed([a for a in order if nest.extent[a] > 1]):
            n = nest.extent[inner] if inner else 0
            if inner and all(u.get(axis, 0) == n * u.get(inner, 0) for u in uses):
                nest.extent[inner], nest.extent[axis] = n * nest.extent[axis], 1
            else:
                inner = axis
