"""The loop language: what a kernel computes, element by element, on one page.

    kernel = buffer[i, j, ...] = expression            for all i, j, ... (the buffer's shape)
    expression = number | index | buffer[expression, ...] | f(expression, ...)
               | select(condition, a, b) | cast(expression, type)
               | reduce(kind, axes, expression)        kind: sum, max, min, argmax

An op is lowered to a `Fn`: its result as a function from indices to an expression. A transpose is
then a permutation of indices, padding a select, pooling a reduction, and nothing is said about
loops, memory layout, vectors or threads: those belong to the code generator. Fusion is calling the
producer's `Fn` inside the consumer's. meaning.py gives the meaning of a kernel in NumPy.

Rules: a reduction holds no other reduction (store the inner one first). `argmax` gives the place
(int64, row-major over its axes) of the first largest value. Integer division and remainder round
down. A load must be inside its buffer even where a select drops it: clamp the index.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from kiso.errors import GraphError
from kiso.ops.op import Op, Shape

__all__ = ["Axis", "Binary", "Buffer", "Cast", "Const", "Contract", "Expr", "Fn", "Index",
           "Kernel", "Load", "Program", "Reduce", "Select", "Unary", "cheap", "const", "maximum",
           "minimum", "parts", "reduce", "select", "subexpressions", "unary"]

FLOAT_UNARY = ("exp", "expm1", "log", "log1p", "sqrt", "sin", "cos", "tanh", "erf", "floor")
UNARY = (*FLOAT_UNARY, "neg", "abs", "sign", "not")
COMPARE = ("eq", "ne", "lt", "le", "gt", "ge")
BINARY = ("add", "sub", "mul", "div", "mod", "pow", "max", "min", "and", "or", "xor", "shl", "shr",
          *COMPARE)  # div of integers rounds down; and, or of bools are logical

_numbers = itertools.count()


@dataclass(frozen=True, eq=False)
class Axis:
    """A loop variable that runs from 0 to extent - 1."""

    extent: int


@dataclass(frozen=True, eq=False)
class Buffer:
    """An array in memory. `order` lists its axes from the slowest to the fastest in memory."""

    shape: Shape
    dtype: np.dtype[Any]
    order: tuple[int, ...]
    name: str = ""

    @property
    def strides(self) -> tuple[int, ...]:
        """Distance in elements between neighbours along each axis."""
        steps = [0] * len(self.shape)
        step = 1
        for axis in reversed(self.order):
            steps[axis] = step
            step *= self.shape[axis]
        return tuple(steps)


class Expr:
    """A scalar expression. Python's operators build larger ones."""

    dtype: np.dtype[Any]

    def __add__(self, other: Any) -> Expr:
        return binary("add", self, other)

    def __radd__(self, other: Any) -> Expr:
        return binary("add", other, self)

    def __sub__(self, other: Any) -> Expr:
        return binary("sub", self, other)

    def __rsub__(self, other: Any) -> Expr:
        return binary("sub", other, self)

    def __mul__(self, other: Any) -> Expr:
        return binary("mul", self, other)

    def __rmul__(self, other: Any) -> Expr:
        return binary("mul", other, self)

    def __truediv__(self, other: Any) -> Expr:
        return binary("div", self, other)

    def __rtruediv__(self, other: Any) -> Expr:
        return binary("div", other, self)

    def __floordiv__(self, other: Any) -> Expr:
        return binary("div", self, other)

    def __mod__(self, other: Any) -> Expr:
        return binary("mod", self, other)

    def __and__(self, other: Any) -> Expr:
        return binary("and", self, other)

    def __or__(self, other: Any) -> Expr:
        return binary("or", self, other)

    def __xor__(self, other: Any) -> Expr:
        return binary("xor", self, other)

    def __lshift__(self, other: Any) -> Expr:
        return binary("shl", self, other)

    def __rshift__(self, other: Any) -> Expr:
        return binary("shr", self, other)

    def __lt__(self, other: Any) -> Expr:
        return binary("lt", self, other)

    def __le__(self, other: Any) -> Expr:
        return binary("le", self, other)

    def __gt__(self, other: Any) -> Expr:
        return binary("gt", self, other)

    def __ge__(self, other: Any) -> Expr:
        return binary("ge", self, other)

    def eq(self, other: Any) -> Expr:
        """self == other, as an expression."""
        return binary("eq", self, other)

    def ne(self, other: Any) -> Expr:
        """self != other, as an expression."""
        return binary("ne", self, other)

    def __neg__(self) -> Expr:
        return unary("neg", self)

    def cast(self, dtype: Any) -> Expr:
        """The same number in another type; float to integer drops the fraction."""
        kind = np.dtype(dtype)
        return self if kind == self.dtype else Cast(self, kind)


@dataclass(frozen=True, eq=False)
class Const(Expr):
    """A number."""

    value: float | int | bool
    dtype: np.dtype[Any]


@dataclass(frozen=True, eq=False)
class Index(Expr):
    """The value of a loop variable, int64."""

    axis: Axis
    dtype: np.dtype[Any] = np.dtype(np.int64)  # noqa: RUF009


class Load(Expr):
    """buffer[indices]."""

    def __init__(self, buffer: Buffer, indices: Sequence[Expr]):
        if len(indices) != len(buffer.shape):
            raise GraphError(f"{len(indices)} indices for a buffer of shape {buffer.shape}.")
        self.buffer = buffer
        self.indices = tuple(indices)
        self.dtype = buffer.dtype


class Unary(Expr):
    """name(x), see UNARY."""

    def __init__(self, name: str, x: Expr):
        self.name = name
        self.x = x
        self.dtype = x.dtype


class Binary(Expr):
    """name(a, b), see BINARY; a and b have one type."""

    def __init__(self, name: str, a: Expr, b: Expr):
        self.name = name
        self.a = a
        self.b = b
        self.dtype = np.dtype(bool) if name in COMPARE else a.dtype


class Select(Expr):
    """a where the condition (bool) holds, else b. Both are computed."""

    def __init__(self, condition: Expr, a: Expr, b: Expr):
        self.condition = condition
        self.a = a
        self.b = b
        self.dtype = a.dtype


class Cast(Expr):
    """x in another type."""

    def __init__(self, x: Expr, dtype: np.dtype[Any]):
        self.x = x
        self.dtype = dtype


class Reduce(Expr):
    """kind (sum, max, min, argmax) of the body over all values of the axes; extents >= 1, or 0 for
    an empty sum."""

    def __init__(self, kind: str, axes: Sequence[Axis], body: Expr):
        self.kind = kind
        self.axes = tuple(axes)
        self.body = body
        self.dtype = np.dtype(np.int64) if kind == "argmax" else body.dtype


def const(value: Any, dtype: Any = np.int64) -> Const:
    """A number of a type."""
    return Const(np.dtype(dtype).type(value).item(), np.dtype(dtype))


def unary(name: str, x: Expr) -> Expr:
    """One of UNARY applied to x."""
    assert name in UNARY, name
    return Unary(name, x)


def binary(name: str, a: Any, b: Any) -> Expr:
    """One of BINARY; a Python number takes the other's type. Index arithmetic is folded."""
    assert name in BINARY, name
    if not isinstance(a, Expr):
        a = const(a, b.dtype)
    if not isinstance(b, Expr):
        b = const(b, a.dtype)
    if a.dtype != b.dtype:
        raise GraphError(f"{name}: types {a.dtype} and {b.dtype} differ; cast one.")
    if a.dtype.kind == "i":
        if isinstance(a, Const) and isinstance(b, Const):
            return _folded(name, a, b)
        neutral = {"add": 0, "sub": 0, "mul": 1, "div": 1}.get(name)
        if isinstance(b, Const) and b.value == neutral:
            return a
        if isinstance(a, Const) and name in ("add", "mul") and a.value == neutral:
            return b
    return Binary(name, a, b)


def _folded(name: str, a: Const, b: Const) -> Expr:
    names = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.floor_divide,
             "mod": np.mod, "max": np.maximum, "min": np.minimum, "eq": np.equal,
             "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater,
             "ge": np.greater_equal}
    if name not in names or (name in ("div", "mod") and b.value == 0):
        return Binary(name, a, b)
    value = names[name](a.dtype.type(a.value), b.dtype.type(b.value))
    return Const(value.item(), np.asarray(value).dtype)


def maximum(a: Any, b: Any) -> Expr:
    """The larger of two."""
    return binary("max", a, b)


def minimum(a: Any, b: Any) -> Expr:
    """The smaller of two."""
    return binary("min", a, b)


def select(condition: Expr, a: Any, b: Any) -> Expr:
    """a where the condition holds, else b; a Python number takes the other's type."""
    if not isinstance(a, Expr):
        a = const(a, b.dtype)
    if not isinstance(b, Expr):
        b = const(b, a.dtype)
    if a.dtype != b.dtype or condition.dtype != np.bool_:
        raise GraphError(f"select: types {condition.dtype}, {a.dtype} and {b.dtype}; expected "
                         "bool and twice the same.")
    return Select(condition, a, b)


def reduce(kind: str, extents: Sequence[int], body: Callable[..., Expr]) -> Expr:
    """kind over new axes of these extents: reduce("sum", (3, 3), lambda i, j: ...)."""
    axes = [Axis(n) for n in extents]
    return Reduce(kind, axes, body(*map(Index, axes)))


def parts(e: Expr) -> tuple[Expr, ...]:
    """The expressions that e is made of."""
    if isinstance(e, Load):
        return e.indices
    if isinstance(e, Select):
        return e.condition, e.a, e.b
    if isinstance(e, Binary):
        return e.a, e.b
    if isinstance(e, Unary | Cast):
        return (e.x,)
    return (e.body,) if isinstance(e, Reduce) else ()


def subexpressions(e: Expr) -> list[Expr]:
    """e and all inside of it, each once (expressions share parts)."""
    found: dict[Expr, None] = {}
    waiting = [e]
    while waiting:
        part = waiting.pop()
        if part not in found:
            found[part] = None
            waiting += parts(part)
    return list(found)


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


HEAVY = ("exp", "expm1", "log", "log1p", "tanh", "sin", "cos", "erf", "pow")
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
    """buffer[axes] = expr for all values of the axes (one for each axis of the buffer)."""

    buffer: Buffer
    axes: tuple[Axis, ...]
    expr: Expr
    name: str = ""


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
        bodies = [e.body for e in subexpressions(expr) if isinstance(e, Reduce)]
        if any(isinstance(e, Reduce) for body in bodies for e in subexpressions(body)):
            raise GraphError(f"kernel {name}: a reduction holds another one; store the inner one "
                             "first (Program.settled).")
        self.kernels.append(Kernel(buffer, axes, expr, name if into else self.making))
        return Fn.of(buffer)

    def settled(self, fn: Fn) -> Fn:
        """The Fn itself, or stored if it computes a reduction: what a reduction may hold."""
        expr = fn.at(*(Index(Axis(n)) for n in fn.shape))
        return self.store(fn) if any(isinstance(e, Reduce) for e in subexpressions(expr)) else fn
