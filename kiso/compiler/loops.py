"""The loop language: what a kernel computes, element by element, on one page.

    kernel = buffer[i, j, ...] = expression            for all i, j, ... (the buffer's shape)
    expression = number | index | buffer[expression, ...] | f(expression, ...)
               | select(condition, a, b) | cast(expression, type)
               | reduce(kind, axes, expression)        kind: sum, max, min, argmax

An op is lowered to a `Fn`: its result as a function from indices to an expression. A transpose is
then a permutation of indices, padding a select, pooling a reduction, and nothing is said about
loops, memory layout, vectors or threads: those belong to the code generator. Fusion is calling the
producer's `Fn` inside the consumer's. meaning.py gives the meaning of a kernel in NumPy.

Rules: a reduction may hold another one only if that is the same for all values of its axes (the
maximum of a row, inside of the sum over the row). `argmax` gives the place (int64, row-major over
its axes) of the first largest value. Only int64 has remainders; its division and remainder are by
numbers > 0 and round down. A load must be inside its buffer even where a select drops it: clamp the
index.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from kiso.compiler.expression import (
    COMPARE,
    HEAVY,
    Axis,
    Binary,
    Buffer,
    Cast,
    Const,
    Expr,
    Index,
    Load,
    Reduce,
    Select,
    Unary,
    binary,
    const,
    maximum,
    minimum,
    parts,
    reduce,
    select,
    subexpressions,
    unary,
)
from kiso.errors import GraphError
from kiso.ops.op import Op, Shape

__all__ = ["COMPARE", "HEAVY", "Axis", "Binary", "Buffer", "Cast", "Const", "Contract", "Expr",
           "Fn", "Index", "Kernel", "Load", "Program", "Reduce", "Select", "Unary", "binary",
           "cheap", "const", "maximum", "minimum", "parts", "reduce", "select", "subexpressions",
           "unary"]


@dataclass(frozen=True, eq=False)
class Fn:
    """An array as a function: `at(i, j, ...)` gives the expression of one element."""

    shape: Shape
    dtype: np.dtype[Any]
    at: Callable[..., Expr]
    moves: bool = False  # only loads and index arithmetic: cheaper to repeat than to store

    @staticmethod
    def of(buffer: Buffer) -> Fn:
        """A stored array."""
        return Fn(buffer.shape, buffer.dtype, lambda *i: Load(buffer, i), moves=True)


FEW = 8  # operations


def cheap(fn: Fn) -> bool:
    """Whether computing an element again costs no more than reading it from memory: a few
    operations on the element at the same place of one array, and numbers of arrays that are far
    smaller (one for each channel)."""
    axes = [Axis(n) for n in fn.shape]
    size = prod(fn.shape)
    large: set[Buffer] = set()
    work = 0
    for e in subexpressions(fn.at(*map(Index, axes))):
        if isinstance(e, Reduce) or getattr(e, "name", "") in HEAVY:
            return False
        work += isinstance(e, Binary | Unary | Select | Cast)
        if isinstance(e, Load) and prod(e.buffer.shape) * 16 > size:
            same = all(isinstance(i, Index) and i.axis is a
                       for i, a in zip(e.indices, axes, strict=False))
            if not same or len(e.indices) != len(axes):
                return False
            large.add(e.buffer)
    return work <= FEW and len(large) <= 1


@dataclass(frozen=True, eq=False)
class Kernel:
    """buffer[axes] = expr for all values of the axes (one for each axis of the buffer).

    `more` holds further results of the same loops: an element of another buffer, and its value.
    """

    buffer: Buffer
    axes: tuple[Axis, ...]
    expr: Expr
    name: str = ""
    more: tuple[tuple[Load, Expr], ...] = ()

    @property
    def results(self) -> tuple[tuple[Load, Expr], ...]:
        """Every element that one turn of the loops writes, and its value."""
        return ((Load(self.buffer, [Index(a) for a in self.axes]), self.expr), *self.more)

    @property
    def buffers(self) -> tuple[Buffer, ...]:
        """What the kernel writes."""
        return (self.buffer, *(element.buffer for element, _ in self.more))


@dataclass(frozen=True, eq=False)
class Contract:
    """buffer = op(inputs) for a matrix product or convolution, left to a kernel of its own.

    turned: which of the two inputs lie in memory with their (two) axes exchanged. `after` is work
    on each result, in this order; what it needs stands behind the two inputs:

        bias      + b[c], for channel or column c
        add       + x, an array like the result
        relu      max(result, 0)
        mask      result where x > 0, else 0
    """

    op: Op
    inputs: tuple[Buffer, ...]
    turned: tuple[bool, ...]
    buffer: Buffer
    name: str = ""
    after: tuple[str, ...] = ()

    def renamed(self, names: Mapping[Buffer, Buffer]) -> Contract:
        """The same with other buffers."""
        return replace(self, inputs=tuple(names.get(b, b) for b in self.inputs),
                       buffer=names.get(self.buffer, self.buffer))

    @property
    def buffers(self) -> tuple[Buffer, ...]:
        """What the kernel writes."""
        return (self.buffer,)


class Program:
    """Kernels in order; lowering rules add to it."""

    def __init__(self) -> None:
        self.kernels: list[Kernel | Contract] = []
        self.making = ""  # the value that is being lowered: name of the kernels on the way to it

    def buffer(self, shape: Shape, dtype: Any, name: str = "") -> Buffer:
        """A new array in row-major order."""
        return Buffer(tuple(shape), np.dtype(dtype), tuple(range(len(shape))), name)

    def store(self, fn: Fn, name: str = "", into: Buffer | None = None) -> Fn:
        """Compute a Fn into memory and return the stored array; without a buffer of its own it lies
        in memory like an array of as many axes that it reads (channels last stay last)."""
        axes = tuple(Axis(n) for n in fn.shape)
        expr = fn.at(*map(Index, axes))
        orders = [e.buffer.order for e in subexpressions(expr)
                  if isinstance(e, Load) and len(e.buffer.shape) == len(fn.shape)]
        order = max(orders, key=lambda o: o != tuple(range(len(o))), default=None)
        buffer = into or Buffer(fn.shape, fn.dtype, order or tuple(range(len(fn.shape))), name)
        outer = [e for e in subexpressions(expr) if isinstance(e, Reduce)]
        if any(isinstance(e, Reduce) and any(
                isinstance(i, Index) and i.axis in r.axes for i in subexpressions(e.body))
                for r in outer for e in subexpressions(r.body)):
            raise GraphError(f"kernel {name}: a reduction holds another one; store the inner one "
                             "first (Program.settled).")
        self.kernels.append(Kernel(buffer, axes, expr, name if into else self.making))
        return Fn.of(buffer)

    def settled(self, fn: Fn) -> Fn:
        """The Fn itself, or stored if it computes a reduction: what a reduction may hold."""
        expr = fn.at(*(Index(Axis(n)) for n in fn.shape))
        return self.store(fn) if any(isinstance(e, Reduce) for e in subexpressions(expr)) else fn
