"""Expressions of the loop language (see loops.py): numbers, loop variables, elements of buffers,
functions of them, reductions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from kiso.errors import GraphError
from kiso.ops.op import Shape

__all__ = ["BINARY", "COMPARE", "FLOAT_UNARY", "HEAVY", "UNARY", "Axis", "Binary", "Buffer", "Cast",
           "Const", "Expr", "Index", "Load", "Reduce", "Select", "Unary", "binary", "const",
           "maximum", "minimum", "parts", "reduce", "select", "subexpressions", "unary"]

FLOAT_UNARY = ("exp", "expm1", "log", "log1p", "sqrt", "sin", "cos", "tanh", "erf", "floor")
HEAVY = ("exp", "expm1", "log", "log1p", "tanh", "sin", "cos", "erf", "pow")  # series, divisions
UNARY = (*FLOAT_UNARY, "neg", "abs", "sign", "not")
COMPARE = ("eq", "ne", "lt", "le", "gt", "ge")
BINARY = ("add", "sub", "mul", "div", "mod", "pow", "max", "min", "and", "or", "xor", "shl", "shr",
          *COMPARE)  # div of integers rounds down; and, or of bools are logical

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

    @property
    def nbytes(self) -> int:
        """Its size in memory."""
        return prod(self.shape) * self.dtype.itemsize


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


def subexpressions(*roots: Expr) -> list[Expr]:
    """The roots and all inside of them, each once (expressions share parts)."""
    found: dict[Expr, None] = {}
    waiting = list(roots)
    while waiting:
        part = waiting.pop()
        if part not in found:
            found[part] = None
            waiting += parts(part)
    return list(found)
