"""Nodes of a Dag as IR, scalar or over the lanes of a vector."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from kiso.compiler.codegen import vmath
from kiso.compiler.codegen.dag import I64, Node, coefficient, value
from kiso.compiler.codegen.ir import INTEGER, Val, Writer, llvm_type
from kiso.compiler.loops import COMPARE, Buffer
from kiso.errors import GraphError

__all__ = ["Lane", "Scalar"]

INT32 = 1 << 31


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
        if n.op == "linear":
            return self._linear(n, [self.of(a) for a in n.args])
        if n.op == "axis":
            if self.lane is None or n is not self.lane.axis:
                raise GraphError(f"axis {n.extra[0]} has no loop here.")
            steps = ", ".join(f"i64 {k}" for k in range(self.lane.width))
            lanes = Val(w, f"<{steps}>", "i64", self.lane.width, True)
            return w.binary("add", self.lane.base, lanes)
        if n.op == "const":
            return w.value(n.extra[0], llvm_type(n.dtype))
        if n.op == "load":
            return self._load(n)
        args = [self.of(a) for a in n.args]
        if n.op == "cast":
            return self._cast(n, args[0])
        if n.op == "select":
            return w.select(*args)
        return self._unary(n, *args) if len(args) == 1 else self._binary(n, *args)

    def _linear(self, n: Node, atoms: list[Val]) -> Val:
        coefficients, constant = n.extra
        # Addresses made of loop variables stay far from the ends of int64; data may wrap.
        wrap = "nsw " if all(a.op == "axis" for a in n.args) else ""
        total: Val | None = None
        for atom, c in zip(atoms, coefficients, strict=True):
            term = atom if c == 1 else self.w.binary(f"mul {wrap}", atom, self.w.value(c, "i64"))
            total = term if total is None else self.w.binary(f"add {wrap}", total, term)
        if total is None:
            return self.w.value(constant, "i64")
        return total if constant == 0 else self.w.binary(
            f"add {wrap}", total, self.w.value(constant, "i64"))

    def _load(self, n: Node) -> Val:
        w, ty = self.w, llvm_type(n.dtype)
        memory = "i8" if ty == "i1" else ty
        pointer, offset, lane = self.pointers[n.extra], n.args[0], self.lane
        if lane is None or lane.axis not in offset.axes:
            x = w.load(w.at(pointer, memory, self.of(offset)), memory)
        else:
            step = coefficient(offset, lane.axis)
            if step is not None and 1 <= step <= 4:
                x = self._strided(pointer, memory, self._first(offset, lane), step, lane.width)
            else:
                x = self._gather(pointer, memory, self.of(offset), lane.width)
        return w.compare("ne", x, w.value(0, memory)) if ty == "i1" else x

    def vector(self, n: Node, more: Val, width: int) -> Val:
        """So many neighbours in memory, from `more` elements behind the load's own one on."""
        ty = llvm_type(n.dtype)
        return self.w.load(self.w.at(self.pointers[n.extra], ty, self.of(n.args[0]) + more),
                           ty, width)

    def _first(self, offset: Node, lane: Lane) -> Val:
        """The offset of lane 0."""
        if offset is lane.axis:
            return lane.base
        atoms = [lane.base if a is lane.axis else self.of(a) for a in offset.args]
        return self._linear(offset, atoms)

    def _strided(self, pointer: Val, ty: str, offset: Val, step: int, width: int) -> Val:
        span = (width - 1) * step + 1
        x = self.w.load(self.w.at(pointer, ty, offset), ty, span)
        if step == 1:
            return x
        mask = ", ".join(f"i32 {k * step}" for k in range(width))
        return self.w.put(f"shufflevector {x.type} {x.text}, {x.type} poison, "
                          f"<{width} x i32> <{mask}>", ty, width)

    def _gather(self, pointer: Val, ty: str, offset: Val, width: int) -> Val:
        w = self.w
        total = Val(w, "poison", ty, width)
        for k in range(width):
            place = w.put(f"extractelement {offset.type} {offset.text}, i64 {k}", "i64")
            one = w.load(w.at(pointer, ty, place), ty)
            total = w.put(f"insertelement {total.type} {total.text}, {ty} {one.text}, i64 {k}",
                          ty, width)
        return total

    def store(self, buffer: Buffer, offset: Node, x: Val) -> None:
        """buffer[offset] = x."""
        w, lane = self.w, self.lane
        if x.ty == "i1":
            x = w.convert("zext", x, "i8")
        pointer = self.pointers[buffer]
        if lane is None:
            w.store(x, w.at(pointer, x.ty, self.of(offset)))
            return
        x = w.widen(x, lane.width)
        if coefficient(offset, lane.axis) == 1:
            w.store(x, w.at(pointer, x.ty, self._first(offset, lane)))
            return
        places = self.of(offset)
        for k in range(lane.width):
            place = w.put(f"extractelement {places.type} {places.text}, i64 {k}", "i64")
            one = w.put(f"extractelement {x.type} {x.text}, i64 {k}", x.ty)
            w.store(one, w.at(pointer, x.ty, place))

    def _cast(self, n: Node, x: Val) -> Val:
        w, source, to = self.w, n.args[0].dtype, llvm_type(n.dtype)
        if source == n.dtype:
            return x
        if n.dtype.kind == "b":
            return w.compare("ne", x, w.value(0, x.ty))
        if n.dtype.kind == "f" and source.kind == "f":
            return w.convert("fpext" if to == "double" else "fptrunc", x, to)
        if n.dtype.kind == "f":
            low, high = n.args[0].bounds
            if x.ty == "i64" and low >= -INT32 and high < INT32:
                x = w.convert("trunc", x, "i32")  # vectors of 32-bit integers convert faster
            return w.convert("uitofp" if source.kind in "ub" else "sitofp", x, to)
        if source.kind == "f":
            if INTEGER[to] < 32:  # as C does it: by way of int
                return w.convert("trunc", w.convert("fptosi", x, "i32"), to)
            return w.convert("fptoui" if n.dtype.kind == "u" else "fptosi", x, to)
        if INTEGER[to] == INTEGER[x.ty]:
            return x
        if INTEGER[to] < INTEGER[x.ty]:
            return w.convert("trunc", x, to)
        return w.convert("zext" if source.kind in "ub" else "sext", x, to)

    def _unary(self, n: Node, x: Val) -> Val:
        w, real = self.w, n.dtype.kind == "f"
        if n.op in vmath.FUNCTIONS:
            return vmath.FUNCTIONS[n.op](x)
        if n.op == "not":
            return w.binary("xor", x, w.value(1 if x.ty == "i1" else -1, x.ty))
        if n.op == "neg":
            return w.put(f"fneg {x.type} {x.text}", x.ty, x.width) if real else 0 - x
        if n.op == "abs":
            if real:
                return w.intrinsic("fabs", x)
            return x if n.dtype.kind in "ub" else w.select(x < 0, 0 - x, x)
        if n.op == "sign":
            positive = w.compare("gt", x, w.value(0, x.ty), n.dtype.kind in "ub")
            negative = w.compare("lt", x, w.value(0, x.ty), n.dtype.kind in "ub")
            return w.select(positive, 1, w.select(negative, -1, x))
        if n.op in ("sqrt", "floor"):
            return w.intrinsic(n.op, x)
        raise GraphError(f"{n.op} has no compiled form.")

    def _binary(self, n: Node, a: Val, b: Val) -> Val:
        w, kind = self.w, n.args[0].dtype.kind
        unsigned = kind in "ub"
        if n.op in COMPARE:
            return w.compare(n.op, a, b, unsigned)
        if kind == "b":
            name = {"add": "or", "mul": "and", "max": "or", "min": "and"}.get(n.op, n.op)
            return w.binary(name, a, b)
        if n.op in ("and", "or", "xor", "shl"):
            return w.binary(n.op, a, b)
        if n.op == "shr":
            return w.binary("lshr" if unsigned else "ashr", a, b)
        if n.op in ("max", "min"):
            stem = {"f": f"{n.op}imum", "u": f"u{n.op}"}.get(kind, f"s{n.op}")
            return w.intrinsic(stem, a, b)
        if n.op in ("add", "sub", "mul"):
            return a + b if n.op == "add" else a - b if n.op == "sub" else a * b
        if kind == "f":
            if n.op == "div":
                return a / b
            return vmath.pow_(a, b) if n.op == "pow" else vmath.floor_mod(a, b)
        if n.op == "pow":
            return _whole_power(a, b)
        return self._divide(n, a, b, unsigned)

    def _divide(self, n: Node, a: Val, b: Val, unsigned: bool) -> Val:
        """Quotient and remainder of integers, rounded down; 0 for a division by 0, as NumPy."""
        w = self.w
        divisor = value(n.args[1])
        low, high = n.args[0].bounds
        name = "udiv" if n.op == "div" else "urem"
        if n.dtype == I64 and divisor is not None and divisor > 0 and low >= 0:
            if high < INT32 and divisor < INT32:  # quotients of 32 bits are cheap in vectors
                small = [w.convert("trunc", x, "i32") for x in (a, b)]
                return w.convert("zext", w.binary(name, *small), "i64")
            return w.binary(name, a, b)
        zero = b.eq(0)
        if unsigned:
            return w.select(zero, 0, w.binary(name, a, w.select(zero, 1, b)))
        minus = b.eq(-1)  # the most negative number / -1 traps
        safe = w.select(w.binary("or", zero, minus), 1, b)
        q = w.binary("sdiv", a, safe)
        r = a - q * safe
        down = w.binary("and", w.compare("ne", r, w.value(0, r.ty)),
                        w.compare("lt", w.binary("xor", r, safe), w.value(0, r.ty)))
        if n.op == "mod":
            y = w.select(minus, 0, w.select(down, r + safe, r))
        else:
            y = w.select(minus, 0 - a, w.select(down, q - 1, q))
        return w.select(zero, 0, y)


def _whole_power(a: Val, b: Val) -> Val:
    """a^b of integers by squaring; exponents below 2^16 (larger ones overflow but for 0, 1, -1)."""
    w = a.w
    y = w.value(1, a.ty)
    for bit in range(min(16, INTEGER[a.ty])):
        y = w.select((b & (1 << bit)).eq(0), y, y * a)
        a = a * a
    return y


