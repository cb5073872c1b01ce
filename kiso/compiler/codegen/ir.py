"""Writing LLVM IR as text: values with Python's operators, straight-line code, loops.

    w = Writer()
    y = w.load(p, "float") * 2.0 + 1.0      # %v1 = load ..., %v2 = fmul ..., %v3 = fadd ...
    for i in w.rounds(0, n):                # the body is written once, with a loop around it
        w.store(y, p + i)

A value is scalar (width 1) or a vector of `width` lanes; operators spread scalars over lanes. The
text needs no other package; `runtime` hands it to LLVM.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from kiso.errors import GraphError

__all__ = ["BITS", "FAST", "Index", "Val", "Writer", "llvm_type"]

BITS = {"i1": 1, "i8": 8, "i16": 16, "i32": 32, "i64": 64, "float": 32, "double": 64, "ptr": 64}
FAST = "contract nsz"


def llvm_type(dtype: np.dtype[Any]) -> str:
    """LLVM's name of an element type; bool is i1 as a value (and i8 in memory)."""
    if dtype.kind == "b":
        return "i1"
    if dtype.kind in "iu":
        return f"i{8 * dtype.itemsize}"
    if dtype.kind == "f" and dtype.itemsize in (4, 8):
        return "float" if dtype.itemsize == 4 else "double"
    raise GraphError(f"{dtype} has no compiled form; expected float32, float64, integers or bool.")


def literal(value: Any, ty: str) -> str:
    """A number as IR text; floats as the hexadecimal bits of a double, exact."""
    if ty[0] == "i":
        return str(bool(value)).lower() if ty == "i1" else str(int(value))
    with np.errstate(all="ignore"):
        exact = np.float64(np.float32(value) if ty == "float" else value)
    return f"0x{exact.view(np.uint64):016X}"


def typed(ty: str, width: int) -> str:
    """Full type of a value: `float` or `<16 x float>`."""
    return ty if width == 1 else f"<{width} x {ty}>"


def _arithmetic(whole: str, real: str = "", swap: bool = False) -> Callable[[Val, Any], Val]:
    def apply(self: Val, other: Any) -> Val:
        w = self.w
        if self.ty == "ptr":
            return w.moved(self, w.value(other))
        b = w.value(other, self.ty)
        name = f"{real} {w.fast}" if self.real else whole
        return w.binary(name, b, self) if swap else w.binary(name, self, b)
    return apply


def _comparison(how: str) -> Callable[[Val, Any], Val]:
    return lambda self, other: self.w.compare(how, self, self.w.value(other, self.ty))


class Val:
    """An SSA value or a constant."""

    __slots__ = ("constant", "text", "ty", "w", "width")

    def __init__(self, w: Writer, text: str, ty: str, width: int = 1, constant: bool = False):
        self.w, self.text, self.ty, self.width, self.constant = w, text, ty, width, constant

    @property
    def type(self) -> str:
        """Full type: `float` or `<16 x float>`."""
        return typed(self.ty, self.width)

    @property
    def real(self) -> bool:
        """Whether it is a floating-point number."""
        return self.ty in ("float", "double")

    __add__ = _arithmetic("add", "fadd")
    __radd__ = _arithmetic("add", "fadd", True)
    __sub__ = _arithmetic("sub", "fsub")
    __rsub__ = _arithmetic("sub", "fsub", True)
    __mul__ = _arithmetic("mul", "fmul")
    __rmul__ = _arithmetic("mul", "fmul", True)
    __truediv__ = _arithmetic("sdiv", "fdiv")
    __rtruediv__ = _arithmetic("sdiv", "fdiv", True)
    __floordiv__ = _arithmetic("udiv")  # of whole numbers that are not negative
    __mod__ = _arithmetic("urem")
    __and__ = _arithmetic("and")
    __or__ = _arithmetic("or")
    __lt__ = _comparison("lt")
    __gt__ = _comparison("gt")
    eq = _comparison("eq")
Index = int | Val  # known now, or when the code runs


class Writer:
    """Lines of one function, written in order."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.declared: dict[str, str] = {}
        self.fast = FAST
        self.block = "entry"
        self._count = 0

    def name(self, stem: str = "v") -> str:
        """A fresh name, without its % sign."""
        self._count += 1
        return f"{stem}{self._count}"

    def put(self, code: str, ty: str, width: int = 1) -> Val:
        """`%v = code`."""
        text = "%" + self.name()
        self.lines.append(f"  {text} = {code}")
        return Val(self, text, ty, width)

    def line(self, code: str) -> None:
        """An instruction without a result."""
        self.lines.append("  " + code)

    def value(self, x: Any, ty: str = "i64") -> Val:
        """A Val, or a Python number as a constant of this type."""
        return x if isinstance(x, Val) else Val(self, literal(x, ty), ty, 1, True)

    def widen(self, x: Val, width: int) -> Val:
        """A scalar in every lane."""
        if x.width == width:
            return x
        if x.constant:
            return Val(self, f"splat ({x.ty} {x.text})", x.ty, width, True)
        kind = typed(x.ty, width)
        one = self.put(f"insertelement {kind} poison, {x.ty} {x.text}, i64 0", x.ty, width)
        return self.put(f"shufflevector {kind} {one.text}, {kind} poison, "
                        f"<{width} x i32> zeroinitializer", x.ty, width)

    def alike(self, *xs: Val) -> list[Val]:
        """All of the width of the widest."""
        width = max(x.width for x in xs)
        return [self.widen(x, width) for x in xs]

    def binary(self, code: str, a: Val, b: Val) -> Val:
        """A two-operand instruction."""
        a, b = self.alike(a, b)
        return self.put(f"{code} {a.type} {a.text}, {b.text}", a.ty, a.width)

    def compare(self, how: str, a: Val, b: Val, unsigned: bool = False) -> Val:
        """eq ne lt le gt ge; floats are ordered (false for NaN), but ne is true for NaN."""
        a, b = self.alike(a, b)
        if a.real:
            code = f"fcmp {'u' if how == 'ne' else 'o'}{how}"
        else:
            code = f"icmp {'' if how in ('eq', 'ne') else 'u' if unsigned else 's'}{how}"
        return self.put(f"{code} {a.type} {a.text}, {b.text}", "i1", a.width)

    def select(self, c: Val, a: Any, b: Any) -> Val:
        """a where c, else b."""
        like = a if isinstance(a, Val) else b
        c, a, b = self.alike(c, self.value(a, like.ty), self.value(b, like.ty))
        return self.put(f"select {c.type} {c.text}, {a.type} {a.text}, {b.type} {b.text}",
                        a.ty, a.width)

    def convert(self, code: str, x: Val, ty: str) -> Val:
        """trunc, zext, sext, fptosi, sitofp, fpext, bitcast ... to another element type."""
        return self.put(f"{code} {x.type} {x.text} to {typed(ty, x.width)}", ty, x.width)

    def intrinsic(self, stem: str, *xs: Val) -> Val:
        """llvm.stem overloaded on the type of the first operand."""
        x, *_ = xs = tuple(self.alike(*xs))
        short = f"f{BITS[x.ty]}" if x.real else x.ty
        name = f"llvm.{stem}." + (short if x.width == 1 else f"v{x.width}{short}")
        how = f"call {self.fast}".rstrip() if x.real else "call"
        return self.put(self.called(name, x.type, xs, how), x.ty, x.width)

    def run(self, name: str, *xs: Index) -> None:
        """Call a function that returns nothing; Python numbers are i64."""
        self.line(self.called(name, "void", [self.value(x) for x in xs]))

    def called(self, name: str, returns: str, xs: Sequence[Val], how: str = "call") -> str:
        """The text of a call; intrinsics are declared."""
        if name.startswith("llvm."):
            types = ", ".join(x.type for x in xs)
            self.declared[name] = f"declare {returns} @{name}({types})"
        given = ", ".join(f"{x.type} {x.text}" for x in xs)
        return f"{how} {returns} @{name}({given})"

    def fma(self, a: Val, b: Any, c: Any) -> Val:
        """a * b + c, fused where the processor can."""
        return self.intrinsic("fmuladd", a, self.value(b, a.ty), self.value(c, a.ty))

    def load(self, pointer: Val, ty: str, width: int = 1) -> Val:
        """Read from memory, element-aligned."""
        kind, align = typed(ty, width), _bytes(ty)
        return self.put(f"load {kind}, ptr {pointer.text}, align {align}", ty, width)

    def store(self, x: Val, pointer: Val) -> None:
        """Write to memory, element-aligned."""
        self.line(f"store {x.type} {x.text}, ptr {pointer.text}, align {_bytes(x.ty)}")

    def at(self, pointer: Val, ty: str, offset: Val) -> Val:
        """Pointer to the element at an offset (in elements)."""
        width = offset.width
        return self.put(f"getelementptr inbounds {ty}, ptr {pointer.text}, {offset.type} "
                        f"{offset.text}", "ptr", width)

    def shuffle(self, a: Val, b: Val, lanes: Sequence[int]) -> Val:
        """Lanes of a, and of b after them."""
        mask = ", ".join(f"i32 {k}" for k in lanes)
        return self.put(f"shufflevector {a.type} {a.text}, {b.type} {b.text}, "
                        f"<{len(lanes)} x i32> <{mask}>", a.ty, len(lanes))

    def lane(self, x: Val, i: int) -> Val:
        """One element of a vector."""
        return self.put(f"extractelement {x.type} {x.text}, i64 {i}", x.ty)

    def moved(self, pointer: Val, floats: Val) -> Val:
        """Pointer so many floats on, perhaps beyond the array."""
        return pointer if floats.text == "0" else self.put(
            f"getelementptr float, ptr {pointer.text}, i64 {floats.text}", "ptr")

    def transposed(self, rows: list[Val]) -> list[Val]:
        """Rows and columns exchanged. In a square halves change places, then quarters, ...; more
        rows than columns are several squares side by side."""
        n, width = len(rows), rows[0].width
        if n > width:
            left, right = self.transposed(rows[:n // 2]), self.transposed(rows[n // 2:])
            return [self.shuffle(a, b, range(n)) for a, b in zip(left, right, strict=True)]
        rows, d = list(rows), n // 2
        while d:
            for i in (i for i in range(n) if not i & d):
                a, b = rows[i], rows[i + d]
                rows[i] = self.shuffle(a, b, [k - d + n if k & d else k for k in range(n)])
                rows[i + d] = self.shuffle(a, b, [k + n if k & d else k + d for k in range(n)])
            d //= 2
        return rows

    def function(self, head: str) -> str:
        """All lines as a function `define head` that returns nothing."""
        return "\n".join([f"define {head} {{", "entry:", *self.lines, "  ret void", "}", ""])

    def label(self, name: str) -> None:
        """Begin a block."""
        self.lines.append(f"{name}:")
        self.block = name

    def rounds(self, begin: Index, end: Index, state: list[Val] | None = None,
               guard: bool = True) -> Iterator[Index]:
        """`for i in w.rounds(begin, end):` writes its body once, as that of a loop. A `state` is
        handed on from round to round in place: in the body it holds this round's values, which it
        replaces; after the loop the last ones.

        There may be no round, but not without a guard, or if both ends are known now; then a
        single round needs no loop.
        """
        state = [] if state is None else state
        if isinstance(begin, int) and isinstance(end, int):
            assert begin < end, (begin, end)
            if end == begin + 1:
                yield begin
                return
            guard = False
        first, end = self.value(begin), self.value(end)
        top, done = self.name("loop"), self.name("done")
        before, carried = self.block, list(state)
        if guard:
            go = self.compare("lt", first, end)
            self.line(f"br i1 {go.text}, label %{top}, label %{done}")
        else:
            self.line(f"br label %{top}")
        self.label(top)
        head = len(self.lines)
        i = Val(self, "%" + self.name("i"), "i64")
        phis = [Val(self, "%" + self.name(), c.ty, c.width) for c in carried]
        state[:] = phis
        yield i
        following = self.put(f"add nuw nsw i64 {i.text}, 1", "i64")
        latch = self.block
        again = self.compare("lt", following, end)
        self.line(f"br i1 {again.text}, label %{top}, label %{done}")
        starts = [(i, first, following), *zip(phis, carried, state, strict=True)]
        self.lines[head:head] = [
            f"  {p.text} = phi {p.type} [ {a.text}, %{before} ], [ {b.text}, %{latch} ]"
            for p, a, b in starts]
        self.label(done)
        if guard:
            state[:] = [self.put(f"phi {a.type} [ {a.text}, %{before} ], [ {b.text}, %{latch} ]",
                                 a.ty, a.width) for a, b in zip(carried, state, strict=True)]


def _bytes(ty: str) -> int:
    return max(BITS[ty] // 8, 1)
