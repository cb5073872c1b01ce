"""The loop language: what a kernel computes, element by element, on one page.

    kernel = buffer[i, j, ...] = expression            for all i, j, ... (the buffer's shape)
    expression = number | index | buffer[expression, ...] | f(expression, ...)
               | select(condition, a, b) | cast(expression, type)
               | reduce(kind, axes, expression)        kind: sum, max, min, argmax

An op is lowered to a `Fn`: its result as a function from indices to an expression. A transpose is
then a permutation of indices, padding a select, pooling a reduction, and nothing is said about
loops, memory layout, vectors or threads: those belong to the code generator. Fusion is calling the
producer's `Fn` inside the consumer's.

Rules: a reduction may hold another one only if that is the same for all values of its axes (the
maximum of a row, inside of the sum over the row). `argmax` gives the place (int64, row-major over
its axes) of the first largest value. Only int64 has remainders; its division and remainder are by
numbers > 0 and round down. A load must be inside its buffer even where a select drops it: clamp the
index.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, TypeVar

import numpy as np

from kiso.errors import GraphError
from kiso.ops.op import Op, Shape

__all__ = ["COMPARE", "HEAVY", "Axis", "Buffer", "Call", "Const", "Contract", "Expr", "Fn", "Index",
           "Kernel", "Load", "Program", "Reduce", "binary", "bounded", "const", "find", "maximum",
           "minimum", "reads", "select", "subexpressions", "unary"]

UNARY = ("exp", "expm1", "log", "log1p", "sqrt", "sin", "cos", "tanh", "erf", "floor", "neg", "abs",
         "sign")
COMPARE = ("eq", "ne", "lt", "le", "gt", "ge")
BINARY = ("add", "sub", "mul", "div", "mod", "pow", "max", "min", "and", "or", "xor", "shl", "shr",
          *COMPARE)  # div of integers rounds down; and, or of bools are logical
HEAVY = ("exp", "expm1", "log", "log1p", "tanh", "sin", "cos", "erf", "pow")  # series, divisions
FEW = 8  # operations that cost no more than reading a number
# What is computed at once between two integers that are known.
FOLDED: dict[str, Callable[..., Any]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.floor_divide, "mod": np.mod,
    "max": np.maximum, "min": np.minimum, "eq": np.equal, "ne": np.not_equal, "lt": np.less,
    "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal}


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
        place = self.order.index
        return tuple(prod(self.shape[a] for a in self.order[place(axis) + 1:])
                     for axis in range(len(self.shape)))

    @property
    def nbytes(self) -> int:
        """Its size in memory."""
        return prod(self.shape) * self.dtype.itemsize


def _function(name: str) -> Callable[[Any, Any], Expr]:
    return lambda a, b: binary(name, a, b)


def _turned(name: str) -> Callable[[Any, Any], Expr]:
    return lambda a, b: binary(name, b, a)


class Expr:
    """A scalar expression: its type and the expressions that it is made of. Python's operators
    build larger ones; == and != compare objects, so those are x.eq(y) and x.ne(y)."""

    name = ""  # of a function

    def __init__(self, dtype: Any, *parts: Expr):
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.parts = parts

    __add__, __radd__ = _function("add"), _turned("add")
    __sub__, __rsub__ = _function("sub"), _turned("sub")
    __mul__, __rmul__ = _function("mul"), _turned("mul")
    __truediv__, __rtruediv__ = _function("div"), _turned("div")
    __floordiv__, __mod__ = _function("div"), _function("mod")
    __and__, __or__, __xor__ = _function("and"), _function("or"), _function("xor")
    __lshift__, __rshift__ = _function("shl"), _function("shr")
    __lt__, __le__ = _function("lt"), _function("le")
    __gt__, __ge__ = _function("gt"), _function("ge")
    eq, ne = _function("eq"), _function("ne")

    def __neg__(self) -> Expr:
        return unary("neg", self)

    def cast(self, dtype: Any) -> Expr:
        """The same number in another type; float to integer drops the fraction."""
        kind = np.dtype(dtype)
        return self if kind == self.dtype else Call("cast", kind, self)

    def replace(self, known: dict[Expr, Expr], index: Mapping[Axis, Expr],
                names: Mapping[Buffer, Buffer] | None = None) -> Expr:
        """The expression with other parts (`known` grows), other index values, other buffers."""
        if self in known:
            return known[self]
        parts = [x.replace(known, index, names) for x in self.parts]
        made = self
        if isinstance(self, Index):
            made = index.get(self.axis, self)
        elif isinstance(self, Load):
            made = Load((names or {}).get(self.buffer, self.buffer), parts)
        elif isinstance(self, Call):
            made = binary(self.name, *parts) if len(parts) == 2 else \
                Call(self.name, self.dtype, *parts)
        elif isinstance(self, Reduce):
            made = Reduce(self.kind, self.axes, parts[0])
        known[self] = made
        return made


class Const(Expr):
    """A number."""

    def __init__(self, value: float | int | bool, dtype: Any):
        super().__init__(dtype)
        self.value = value


class Index(Expr):
    """The value of a loop variable, int64."""

    def __init__(self, axis: Axis):
        super().__init__(np.int64)
        self.axis = axis


class Load(Expr):
    """buffer[indices]."""

    def __init__(self, buffer: Buffer, indices: Sequence[Expr]):
        if len(indices) != len(buffer.shape):
            raise GraphError(f"{len(indices)} indices for a buffer of shape {buffer.shape}.")
        super().__init__(buffer.dtype, *indices)
        self.buffer = buffer
        self.indices = self.parts


class Call(Expr):
    """name(parts): one of UNARY, or of BINARY for two numbers of one type; cast(x), x in another
    type; select(condition, a, b), a where the condition (bool) holds, else b (both computed)."""

    def __init__(self, name: str, dtype: Any, *parts: Expr):
        super().__init__(dtype, *parts)
        self.name = name


class Reduce(Expr):
    """kind (sum, max, min, argmax) of the body over all values of the axes; extents >= 1, or 0 for
    an empty sum."""

    def __init__(self, kind: str, axes: Sequence[Axis], body: Expr):
        super().__init__(np.int64 if kind == "argmax" else body.dtype, body)
        self.kind = kind
        self.axes = tuple(axes)
        self.body = body


def const(value: Any, dtype: Any = np.int64) -> Const:
    """A number of a type."""
    return Const(np.dtype(dtype).type(value).item(), dtype)


def unary(name: str, x: Expr) -> Expr:
    """One of UNARY applied to x."""
    assert name in UNARY, name
    return Call(name, x.dtype, x)


def binary(name: str, a: Any, b: Any) -> Expr:
    """One of BINARY; a Python number takes the other's type. Index arithmetic is folded."""
    assert name in BINARY, name
    a, b = _alike(name, a, b)
    dtype = np.dtype(bool) if name in COMPARE else a.dtype
    if a.dtype.kind == "i":
        if isinstance(a, Const) and isinstance(b, Const):
            if name not in FOLDED or (name in ("div", "mod") and b.value == 0):
                return Call(name, dtype, a, b)
            value = FOLDED[name](a.dtype.type(a.value), b.dtype.type(b.value))
            return Const(value.item(), dtype)
        neutral = {"add": 0, "sub": 0, "mul": 1, "div": 1}.get(name)
        if isinstance(b, Const) and b.value == neutral:
            return a
        if isinstance(a, Const) and name in ("add", "mul") and a.value == neutral:
            return b
    return Call(name, dtype, a, b)


def maximum(a: Any, b: Any) -> Expr:
    """The larger of two."""
    return binary("max", a, b)


def minimum(a: Any, b: Any) -> Expr:
    """The smaller of two."""
    return binary("min", a, b)


def bounded(e: Expr, low: int, high: int, size: int) -> tuple[Expr, list[Expr]]:
    """e, which lies in low .. high, clamped to 0 .. size - 1, and the tests whether it was there.

    Without need there is neither.
    """
    inside, tests = e, list[Expr]()
    if high >= size:
        inside, tests = minimum(inside, size - 1), [e < size]
    if low < 0:
        inside, tests = maximum(inside, 0), [*tests, e >= 0]
    return inside, tests


def select(condition: Expr, a: Any, b: Any) -> Expr:
    """a where the condition holds, else b; a Python number takes the other's type."""
    if condition.dtype != np.bool_:
        raise GraphError(f"select: the condition is {condition.dtype}, expected bool.")
    a, b = _alike("select", a, b)
    return Call("select", a.dtype, condition, a, b)


def _alike(name: str, a: Any, b: Any) -> tuple[Expr, Expr]:
    """Two expressions of one type."""
    a = a if isinstance(a, Expr) else const(a, b.dtype)
    b = b if isinstance(b, Expr) else const(b, a.dtype)
    if a.dtype != b.dtype:
        raise GraphError(f"{name}: types {a.dtype} and {b.dtype} differ; cast one.")
    return a, b


def subexpressions(*roots: Expr) -> list[Expr]:
    """The roots and all inside of them, each once (expressions share parts)."""
    found: dict[Expr, None] = {}
    waiting = list(roots)
    while waiting:
        part = waiting.pop()
        if part not in found:
            found[part] = None
            waiting += part.parts
    return list(found)


Kind = TypeVar("Kind", bound=Expr)


def find(kind: type[Kind], *roots: Expr) -> list[Kind]:
    """The subexpressions of one kind: find(Load, e)."""
    return [e for e in subexpressions(*roots) if isinstance(e, kind)]


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

    def cheap(self) -> bool:
        """Whether computing an element again costs no more than reading it from memory: a few
        operations on the element at the same place of one array, and numbers of arrays that are
        far smaller (one for each channel)."""
        axes, value = self.element()
        inside = subexpressions(value)
        large = [e for e in inside if isinstance(e, Load)
                 and prod(e.buffer.shape) * 16 > prod(self.shape)]
        same = all([i.axis if isinstance(i, Index) else None for i in e.indices] == [*axes]
                   for e in large)
        heavy = any(isinstance(e, Reduce) or e.name in HEAVY for e in inside)
        return same and not heavy and len({e.buffer for e in large}) <= 1 and \
            sum(isinstance(e, Call) for e in inside) <= FEW

    def element(self) -> tuple[tuple[Axis, ...], Expr]:
        """A loop variable for each axis, and the element at their values."""
        axes = tuple(map(Axis, self.shape))
        return axes, self.at(*map(Index, axes))


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

    @property
    def buffers(self) -> tuple[Buffer, ...]:
        """What the kernel writes."""
        return (self.buffer,)


def reads(kernel: Kernel | Contract) -> list[Buffer]:
    """Buffers that a kernel may read."""
    if isinstance(kernel, Contract):
        return list(dict.fromkeys(kernel.inputs))
    return list(dict.fromkeys(e.buffer for e in find(Load, *(e for _, e in kernel.results))))


class Program:
    """Kernels in order; lowering rules add to it."""

    def __init__(self, kernels: Sequence[Kernel | Contract] = ()) -> None:
        self.kernels = list(kernels)
        self.making = ""  # the value that is being lowered: name of the kernels on the way to it

    @staticmethod
    def buffer(shape: Shape, dtype: Any, name: str = "", order: Sequence[int] | None = None
               ) -> Buffer:
        """A new array, in row-major order unless another one is given."""
        return Buffer(tuple(shape), np.dtype(dtype), tuple(order or range(len(shape))), name)

    def store(self, fn: Fn, name: str = "", into: Buffer | None = None) -> Fn:
        """Compute a Fn into memory and return the stored array; without a buffer of its own it lies
        in memory like an array of as many axes that it reads (channels last stay last)."""
        axes, expr = fn.element()
        orders = [e.buffer.order for e in find(Load, expr) if len(e.indices) == len(axes)]
        order = next((o for o in orders if o != tuple(range(len(o)))), None)
        buffer = into or self.buffer(fn.shape, fn.dtype, name, order)
        if any(i.axis in outer.axes for outer in find(Reduce, expr)
               for inner in find(Reduce, outer.body) for i in find(Index, inner.body)):
            raise GraphError(f"kernel {name}: a reduction holds another one; store the inner one "
                             "first (Program.settled).")
        self.kernels.append(Kernel(buffer, axes, expr, name if into else self.making))
        return Fn.of(buffer)

    def settled(self, fn: Fn) -> Fn:
        """The Fn itself, or stored if it computes a reduction: what a reduction may hold."""
        return self.store(fn) if find(Reduce, fn.element()[1]) else fn
