"""Nodes of a Dag as IR, scalar or over the lanes of a vector."""

from __future__ import annotations

import operator
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

from kiso.compiler.codegen.dag import Node, coefficient, terms, value
from kiso.compiler.codegen.ir import BITS, Val, Writer, llvm_type
from kiso.compiler.codegen.vmath import FUNCTIONS, whole_power
from kiso.compiler.loops import COMPARE, Buffer
from kiso.errors import GraphError

__all__ = ["Lane", "Scalar", "combine"]

INT32 = 1 << 31
ARITHMETIC: dict[str, Callable[[Val, Val], Val]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv}
LOGICAL = {"add": "or", "max": "or", "mul": "and", "min": "and"}  # of bools


@dataclass(frozen=True)
class Lane:
    """An axis of which `width` neighbours are computed at once, from `base` on."""

    axis: Node
    base: Val
    width: int


class Scalar:
    """Writes each node once within a scope; inner scopes see the outer ones' values."""

    def __init__(self, w: Writer, pointers: dict[Buffer, Val]):
        self.w = w
        self.pointers = pointers
        self.scopes: list[dict[Node, Val]] = [{}]
        self.lane: Lane | None = None

    @contextmanager
    def scope(self, known: dict[Node, Val]) -> Generator[None, None, None]:
        """Values that hold inside a loop."""
        self.scopes.append(dict(known))
        try:
            yield
        finally:
            self.scopes.pop()

    def of(self, n: Node) -> Val:
        """The value of a node."""
        for known in reversed(self.scopes):
            if n in known:
                return known[n]
        made = self._make(n)
        self.scopes[-1][n] = made
        return made

    def _make(self, n: Node) -> Val:
        w = self.w
        if n.op == "axis":
            assert self.lane is not None and n is self.lane.axis, f"{n.extra} has no loop here"
            steps = ", ".join(f"i64 {k}" for k in range(self.lane.width))
            lanes = Val(w, f"<{steps}>", "i64", self.lane.width, True)
            return w.binary("add", self.lane.base, lanes)
        if n.op == "const":
            return w.value(n.extra[0], llvm_type(n.dtype))
        if n.op == "load":
            return self._load(n)
        args = [self.of(a) for a in n.args]
        if n.op == "linear":
            return self._sum(n, args)
        if n.op == "cast":
            return self._cast(n, args[0])
        if n.op == "select":
            return w.select(*args)
        if n.op in FUNCTIONS and n.dtype.kind == "f":
            return FUNCTIONS[n.op](*args)
        return self._unary(n, *args) if len(args) == 1 else self._binary(n, *args)

    def _sum(self, n: Node, atoms: list[Val]) -> Val:
        """A linear form of these values of its atoms."""
        sums, constant = terms(n)
        # Addresses made of loop variables stay far from the ends of int64; data may wrap.
        wrap = "nsw " if all(a.op == "axis" for a in sums) else ""
        total: Val | None = None
        for atom, c in zip(atoms, sums.values(), strict=True):
            term = atom if c == 1 else self.w.binary(f"mul {wrap}", atom, self.w.value(c))
            total = term if total is None else self.w.binary(f"add {wrap}", total, term)
        last = self.w.value(constant)
        if total is None:
            return last
        return self.w.binary(f"add {wrap}", total, last) if constant else total

    def _first(self, offset: Node, lane: Lane) -> Val:
        """The offset of lane 0."""
        return self._sum(offset, [lane.base if a is lane.axis else self.of(a)
                                  for a in terms(offset)[0]])

    def read(self, n: Node, place: Val, width: int = 1) -> Val:
        """So many neighbours in memory, from a place in the buffer of a load on."""
        memory = "i8" if n.dtype.kind == "b" else llvm_type(n.dtype)
        return self.w.load(self.w.at(self.pointers[n.extra], memory, place), memory, width)

    def _load(self, n: Node) -> Val:
        w, offset, lane = self.w, n.args[0], self.lane
        step = coefficient(offset, lane.axis) if lane else 0
        if lane is None or step == 0:
            x = self.read(n, self.of(offset))
        elif step is not None and 1 <= step <= 4:
            x = self.read(n, self._first(offset, lane), (lane.width - 1) * step + 1)
            if step > 1:
                x = w.shuffle(x, x, range(0, lane.width * step, step))
        else:
            places = self.of(offset)
            x = Val(w, "poison", "i8" if n.dtype.kind == "b" else llvm_type(n.dtype), lane.width)
            for k in range(lane.width):
                one = self.read(n, w.lane(places, k))
                x = w.put(f"insertelement {x.type} {x.text}, {x.ty} {one.text}, i64 {k}",
                          x.ty, lane.width)
        return w.compare("ne", x, w.value(0, x.ty)) if n.dtype.kind == "b" else x

    def store(self, buffer: Buffer, offset: Node, x: Val) -> None:
        """buffer[offset] = x; lanes lie side by side."""
        w, lane = self.w, self.lane
        if x.ty == "i1":
            x = w.convert("zext", x, "i8")
        if lane is not None:
            x = w.widen(x, lane.width)
        place = self._first(offset, lane) if lane else self.of(offset)
        w.store(x, w.at(self.pointers[buffer], x.ty, place))

    def _cast(self, n: Node, x: Val) -> Val:
        w, to, source, kind = self.w, llvm_type(n.dtype), n.args[0].dtype.kind, n.dtype.kind
        if kind == "b":
            return w.compare("ne", x, w.value(0, x.ty))
        if source == "f":
            code = {"u": "fptoui", "i": "fptosi", "f": "fpext" if to == "double" else "fptrunc"}
            return w.convert(code[kind], x, to)
        if kind == "f":
            low, high = n.args[0].bounds
            if x.ty == "i64" and low >= -INT32 and high < INT32:
                x = w.convert("trunc", x, "i32")  # vectors of 32-bit integers convert faster
            return w.convert("uitofp" if source in "ub" else "sitofp", x, to)
        if BITS[to] > BITS[x.ty]:
            return w.convert("zext" if source in "ub" else "sext", x, to)
        return w.convert("trunc", x, to) if BITS[to] < BITS[x.ty] else x

    def _unary(self, n: Node, x: Val) -> Val:
        w, real, unsigned = self.w, n.dtype.kind == "f", n.dtype.kind in "ub"
        if n.op == "neg":
            return w.put(f"fneg {x.type} {x.text}", x.ty, x.width) if real else 0 - x
        if n.op == "abs" and not unsigned:
            return w.intrinsic("fabs", x) if real else w.select(x < 0, 0 - x, x)
        if n.op == "abs":
            return x
        if n.op == "sign":
            zero = w.value(0, x.ty)
            positive = w.compare("gt", x, zero, unsigned)
            negative = w.compare("lt", x, zero, unsigned)
            return w.select(positive, 1, w.select(negative, -1, x))
        if n.op in ("sqrt", "floor"):
            return w.intrinsic(n.op, x)
        raise GraphError(f"{n.op} has no compiled form.")

    def _binary(self, n: Node, a: Val, b: Val) -> Val:
        w, kind = self.w, n.args[0].dtype.kind
        if n.op in COMPARE:
            return w.compare(n.op, a, b, kind in "ub")
        if n.op in ("and", "or", "xor", "shl"):
            return w.binary(n.op, a, b)
        if n.op == "shr":
            return w.binary("lshr" if kind == "u" else "ashr", a, b)
        if kind != "f" and n.op == "pow":
            return whole_power(a, b)
        if n.op == "mod" or (n.op == "div" and kind != "f"):
            return self._divide(n, a, b)
        return combine(n.op, kind, a, b)

    def _divide(self, n: Node, a: Val, b: Val) -> Val:
        """Quotient or remainder of an index, rounded down, by a number > 0."""
        w, divisor, (low, high) = self.w, value(n.args[1]), n.args[0].bounds
        if divisor is None or divisor <= 0:
            raise GraphError(f"{n.op}: only int64 numbers > 0 are compiled as divisors.")
        if low >= 0:
            name = "udiv" if n.op == "div" else "urem"
            if high >= INT32 or divisor >= INT32:
                return w.binary(name, a, b)
            small = [w.convert("trunc", x, "i32") for x in (a, b)]
            return w.convert("zext", w.binary(name, *small), "i64")  # cheap in vectors
        q = w.binary("sdiv", a, b)
        r = a - q * b
        if n.op == "mod":
            return w.select(r < 0, r + b, r)
        return w.select(r < 0, q - 1, q)


def combine(name: str, kind: str, a: Val, b: Val) -> Val:
    """add, sub, mul, div, max or min of two numbers of a kind (of NumPy's types)."""
    if kind == "b":
        return a.w.binary(LOGICAL.get(name, name), a, b)
    if name in ("max", "min"):
        stem = {"f": f"{name}imum", "u": f"u{name}"}.get(kind, f"s{name}")
        return a.w.intrinsic(stem, a, b)
    return ARITHMETIC[name](a, b)
