"""Expressions as a graph without doubles, with all index arithmetic in linear form.

    node = axis | number | linear(sum of coefficient * atom, + constant)      int64
         | load(offset) | name(nodes) | select | cast | reduce(axes, body)

An *atom* is an int64 node that is not a sum: an axis, a loaded row number, a quotient. In linear
form `i * 32 + j - i * 32` is `j`, the address of an element is one sum with constant strides, and
its bounds are known. Bounds decide comparisons (a padding test that is always true), clamps and
quotients at compile time.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from kiso.compiler.loops import Buffer

__all__ = ["Dag", "Node"]

I64 = np.dtype(np.int64)
FAR = 1 << 62


class Node:
    """One value; equal nodes are one object within a Dag."""

    __slots__ = ("args", "axes", "bounds", "dtype", "extra", "op", "serial")

    def __init__(self, op: str, dtype: np.dtype[Any], args: tuple[Node, ...], extra: Any,
                 serial: int):
        self.op, self.dtype, self.args, self.extra = op, dtype, args, extra
        self.serial = serial
        self.bounds: tuple[int, int] = (-FAR, FAR)  # of integers, both ends included
        self.axes: frozenset[Node] = frozenset().union(*(a.axes for a in args))


class Dag:
    """Makes nodes, each once."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self._known: dict[Any, Node] = {}

    def node(self, op: str, dtype: np.dtype[Any], args: Iterable[Node] = (),
             extra: Any = None) -> Node:
        """The node of this description."""
        args = tuple(args)
        key = (op, dtype, tuple(a.serial for a in args), extra)
        found = self._known.get(key)
        if found is None:
            found = Node(op, dtype, args, extra, len(self.nodes))
            self.nodes.append(found)
            self._known[key] = found
            _set_bounds(found)
        return found

    def axis(self, name: str, extent: int) -> Node:
        """A loop variable from 0 to extent - 1; of the same name and extent it is the same."""
        node = self.node("axis", I64, (), (name, extent))
        node.bounds = (0, max(extent - 1, 0))
        node.axes = frozenset([node])
        return node

    def number(self, value: int) -> Node:
        """An int64 constant."""
        return self.linear({}, value)

    def linear(self, terms: dict[Node, int], constant: int) -> Node:
        """Sum of coefficient * atom, + constant."""
        atoms = sorted((a for a, c in terms.items() if c), key=lambda a: a.serial)
        if len(atoms) == 1 and terms[atoms[0]] == 1 and constant == 0:
            return atoms[0]
        return self.node("linear", I64, atoms, (tuple(terms[a] for a in atoms), constant))

    def add(self, a: Node, b: Node, times: int = 1) -> Node:
        """a + times * b."""
        terms, constant = parts(a)
        terms = dict(terms)
        more, extra = parts(b)
        for atom, c in more.items():
            terms[atom] = terms.get(atom, 0) + times * c
        return self.linear(terms, constant + times * extra)

    def binary(self, name: str, a: Node, b: Node) -> Node:
        """An int64 operation, simplified where linear forms or bounds allow."""
        if name in ("add", "sub"):
            return self.add(a, b, 1 if name == "add" else -1)
        x, y = value(a), value(b)
        if name == "mul" and (x is not None or y is not None):
            other, times = (a, y) if y is not None else (b, x)
            return self.add(self.number(0), other, times or 0)
        if name in ("div", "mod") and y is not None and y > 0:
            return self._divide(name, a, y)
        if name in ("max", "min"):
            (alo, ahi), (blo, bhi) = a.bounds, b.bounds
            if ahi <= blo:
                return b if name == "max" else a
            if bhi <= alo:
                return a if name == "max" else b
        if name in ("shl", "shr") and y is not None and 0 <= y < 62:
            return self.binary("mul" if name == "shl" else "div", a, self.number(1 << y))
        return self.node(name, I64, (a, b))

    def _divide(self, name: str, a: Node, c: int) -> Node:
        """(q c + r) / c = q and (q c + r) mod c = r mod c, term by term."""
        terms, constant = parts(a)
        q = {t: k // c for t, k in terms.items() if k % c == 0}
        r = {t: k for t, k in terms.items() if k % c}
        whole = self.linear(q, constant // c)
        rest = self.linear(r, constant % c)
        low, high = rest.bounds
        if low >= 0 and high < c:
            return whole if name == "div" else rest
        if name == "mod":
            return self.node("mod", I64, (rest, self.number(c)))
        return self.add(whole, self.node("div", I64, (rest, self.number(c))))

    def compare(self, name: str, a: Node, b: Node) -> Node:
        """An int64 comparison; decided here if the bounds allow."""
        low, high = self.add(a, b, -1).bounds
        known = {"lt": (high < 0, low >= 0), "le": (high <= 0, low > 0),
                 "gt": (low > 0, high <= 0), "ge": (low >= 0, high < 0),
                 "eq": (low == high == 0, low > 0 or high < 0),
                 "ne": (low > 0 or high < 0, low == high == 0)}[name]
        if any(known):
            return self.node("const", np.dtype(bool), (), (known[0],))
        return self.node(name, np.dtype(bool), (a, b))

    def load(self, buffer: Buffer, offset: Node) -> Node:
        """The element at an offset in elements."""
        return self.node("load", buffer.dtype, (offset,), buffer)


def parts(a: Node) -> tuple[dict[Node, int], int]:
    """Coefficient of each atom, and the constant."""
    if a.op == "linear":
        return dict(zip(a.args, a.extra[0], strict=True)), a.extra[1]
    return {a: 1}, 0


def value(a: Node) -> int | None:
    """The number that an int64 node is, if it is one."""
    return a.extra[1] if a.op == "linear" and not a.args else None


def _set_bounds(n: Node) -> None:
    if n.dtype.kind == "b":
        n.bounds = (0, 1)
    elif n.dtype.kind in "iu" and n.dtype.itemsize < 8:
        info = np.iinfo(n.dtype)
        n.bounds = (int(info.min), int(info.max))
    if n.op == "linear":
        coefficients, constant = n.extra
        ends = [[c * e for e in a.bounds] for a, c in zip(n.args, coefficients, strict=True)]
        low = constant + sum(min(e) for e in ends)
        high = constant + sum(max(e) for e in ends)
        n.bounds = (max(low, -FAR), min(high, FAR))
    elif n.op == "mod" and n.dtype == I64 and value(n.args[1]):
        n.bounds = (0, (value(n.args[1]) or 1) - 1)
    elif n.op == "div" and n.dtype == I64 and value(n.args[1]):
        c = value(n.args[1]) or 1
        n.bounds = (n.args[0].bounds[0] // c, n.args[0].bounds[1] // c) if c > 0 else n.bounds
    elif n.op in ("max", "min") and n.dtype == I64:
        pick = max if n.op == "max" else min
        (alo, ahi), (blo, bhi) = n.args[0].bounds, n.args[1].bounds
        n.bounds = (pick(alo, blo), pick(ahi, bhi))
    elif n.op == "select" and n.dtype == I64:
        (alo, ahi), (blo, bhi) = n.args[1].bounds, n.args[2].bounds
        n.bounds = (min(alo, blo), max(ahi, bhi))
    elif n.op == "cast" and n.dtype == I64 and n.args[0].dtype.kind in "iub":
        n.bounds = n.args[0].bounds
