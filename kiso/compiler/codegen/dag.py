"""Expressions as a graph without doubles, with all index arithmetic in linear form.

    node = axis | number | linear(sum of coefficient * atom, + constant)      int64
         | load(offset) | name(nodes) | select | cast | reduce(body, place)

An *atom* is an int64 node that is not a sum: an axis, a loaded row number, a quotient. In linear
form `i * 32 + j - i * 32` is `j`, the address of an element is one sum with constant strides, and
its bounds are known. Bounds decide clamps and quotients at compile time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

__all__ = ["I64", "Dag", "Node", "coefficient", "reachable", "terms", "value"]

I64 = np.dtype(np.int64)
FAR = 1 << 62


class Node:
    """One value; equal nodes are one object within a Dag.

    `extra`: name, extent and step of an axis; coefficients and constant of a linear form; a
    constant's value; a load's buffer; kind and axes of a reduction.
    """

    __slots__ = ("args", "axes", "bounds", "dtype", "extra", "op", "serial")

    def __init__(self, op: str, dtype: np.dtype[Any], args: tuple[Node, ...], extra: Any,
                 serial: int):
        self.op, self.dtype, self.args, self.extra = op, dtype, args, extra
        self.serial = serial
        self.bounds = _bounds(self)  # of integers, both ends included
        self.axes: frozenset[Node] = frozenset([self] if op == "axis" else ()).union(
            *(a.axes for a in args)).difference(extra[1] if op == "reduce" else ())


class Dag:
    """Makes nodes, each once."""

    def __init__(self) -> None:
        self._known: dict[Any, Node] = {}

    def node(self, op: str, dtype: np.dtype[Any], args: Iterable[Node] = (),
             extra: Any = None) -> Node:
        """The node of this description."""
        args = tuple(args)
        key = (op, dtype, tuple(a.serial for a in args), extra)
        if key not in self._known:
            self._known[key] = Node(op, dtype, args, extra, len(self._known))
        return self._known[key]

    def number(self, value: int) -> Node:
        """An int64 constant."""
        return self.linear({}, value)

    def linear(self, sums: dict[Node, int], constant: int) -> Node:
        """Sum of coefficient * atom, + constant."""
        atoms = sorted((a for a, c in sums.items() if c), key=lambda a: a.serial)
        if len(atoms) == 1 and sums[atoms[0]] == 1 and constant == 0:
            return atoms[0]
        return self.node("linear", I64, atoms, (tuple(sums[a] for a in atoms), constant))

    def add(self, a: Node, b: Node, times: int = 1) -> Node:
        """a + times * b."""
        (sums, constant), (more, extra) = terms(a), terms(b)
        for atom, c in more.items():
            sums[atom] = sums.get(atom, 0) + times * c
        return self.linear(sums, constant + times * extra)

    def operation(self, name: str, dtype: np.dtype[Any], args: Sequence[Node]) -> Node:
        """name(args), simplified where linear forms and bounds allow."""
        binary = len(args) == 2 and dtype == I64
        return self.binary(name, *args) if binary else self.node(name, dtype, args)

    def binary(self, name: str, a: Node, b: Node) -> Node:
        """An int64 operation."""
        if name in ("add", "sub"):
            return self.add(a, b, 1 if name == "add" else -1)
        x, y = value(a), value(b)
        if name == "mul" and (x is not None or y is not None):
            other, times = (a, y) if y is not None else (b, x)
            return self.add(self.number(0), other, times or 0)
        if name in ("div", "mod") and y is not None and y > 0:
            return self._divide(name, a, y)
        if name in ("max", "min"):
            lower, upper = (a, b) if a.bounds[1] <= b.bounds[0] else (b, a)
            if lower.bounds[1] <= upper.bounds[0]:
                return upper if name == "max" else lower
        return self.node(name, I64, (a, b))

    def _divide(self, name: str, a: Node, c: int) -> Node:
        """(q c + r) / c = q and (q c + r) mod c = r mod c, term by term."""
        sums, constant = terms(a)
        whole = self.linear({t: k // c for t, k in sums.items() if k % c == 0}, constant // c)
        rest = self.linear({t: k for t, k in sums.items() if k % c}, constant % c)
        low, high = rest.bounds
        if low >= 0 and high < c:
            return whole if name == "div" else rest
        rest = self.node(name, I64, (rest, self.number(c)))
        return rest if name == "mod" else self.add(whole, rest)


def terms(a: Node) -> tuple[dict[Node, int], int]:
    """Coefficient of each atom, and the constant."""
    if a.op == "linear":
        return dict(zip(a.args, a.extra[0], strict=True)), a.extra[1]
    return {a: 1}, 0


def value(a: Node) -> int | None:
    """The number that an int64 node is, if it is one."""
    return a.extra[1] if a.op == "linear" and not a.args else None


def coefficient(n: Node, axis: Node) -> int | None:
    """Step of an index expression along an axis; None if it is not constant."""
    sums = terms(n)[0]
    if any(axis in atom.axes for atom in sums if atom is not axis):
        return None
    return sums.get(axis, 0)


def reachable(roots: Iterable[Node]) -> list[Node]:
    """All nodes that these need, and they themselves, each after what it needs."""
    seen: set[Node] = set()
    stack = list(roots)
    while stack:
        n = stack.pop()
        if n not in seen:
            seen.add(n)
            stack += n.args
    return sorted(seen, key=lambda n: n.serial)


def _bounds(n: Node) -> tuple[int, int]:
    """Least and largest value of an integer, as far as known."""
    if n.dtype.kind == "b":
        return 0, 1
    if n.dtype.kind in "iu" and n.dtype.itemsize < 8:
        return int(np.iinfo(n.dtype).min), int(np.iinfo(n.dtype).max)
    if n.dtype != I64:
        return -FAR, FAR
    lows, highs = [a.bounds[0] for a in n.args], [a.bounds[1] for a in n.args]
    if n.op == "linear":
        ends = [(c * low, c * high) for c, low, high in zip(n.extra[0], lows, highs, strict=True)]
        low, high = (n.extra[1] + sum(pick(e) for e in ends) for pick in (min, max))
        return max(low, -FAR), min(high, FAR)
    if n.op == "axis":
        return 0, max(n.extra[1] - 1, 0)
    if n.op in ("div", "mod") and (c := value(n.args[1]) or 0) > 0:
        return (0, c - 1) if n.op == "mod" else (lows[0] // c, highs[0] // c)
    if n.op in ("max", "min"):
        pick = max if n.op == "max" else min
        return pick(lows), pick(highs)
    if n.op == "select":
        return min(lows[1:]), max(highs[1:])
    return n.args[0].bounds if n.op == "cast" and n.args[0].dtype.kind in "iub" else (-FAR, FAR)
