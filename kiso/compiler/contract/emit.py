"""Writing contract kernels: functions over float32 arrays, vectors of one width.

An index is a Python int (known now) or an i64 value (known when the code runs). Offsets count
floats, never bytes. Loops are Python's `for`: their body is written once.

    for row, rows in code.each(partition(100, 14)):       # two loops: 4 x 13 and 4 x 12 rows
        code.write(code.read(source + row * pitch, 16), target + row * 16, 16)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kiso.compiler.codegen.ir import Index, Val, Writer
from kiso.compiler.contract.tiles import Group, Machine

__all__ = ["Code", "Driver", "Index", "Library", "Val"]


@dataclass(frozen=True)
class Driver:
    """An LLVM function (pointers..., i64 begin, i64 end) that does the units begin..end - 1 of its
    work. Every thread passes its own `scratch` (floats, any contents, aligned to 64 bytes)."""

    name: str
    pointers: tuple[str, ...]
    units: int
    scratch: int


class Library:
    """A module that is being written, for one machine; equal internal functions are written once.
    `prefix` goes before their names: modules may be put together."""

    def __init__(self, machine: Machine, prefix: str = ""):
        self.machine = machine
        self.prefix = prefix
        self.codes: list[Code] = []
        self.known: dict[Any, str] = {}

    def function(self, name: str, pointers: Sequence[str],
                 numbers: Sequence[str] = ("begin", "end"), internal: bool = False) -> Code:
        """A new function (pointers..., i64 numbers...) -> nothing; its arrays do not overlap."""
        code = Code(self.machine, name, pointers, numbers, internal)
        self.codes.append(code)
        return code

    def once(self, stem: str, pointers: Sequence[str], numbers: Sequence[str],
             write: Callable[..., None], *what: Any) -> str:
        """The name of the internal function that write(code, *what) writes."""
        key = (write, what)
        if key not in self.known:
            self.known[key] = name = f"{self.prefix}{stem}.{len(self.codes)}"
            write(self.function(name, pointers, numbers, internal=True), *what)
        return self.known[key]

    def grouped(self, driver: Driver, groups: int, steps: Mapping[str, int]) -> Driver:
        """The driver that does the units of one for each group, one group after the other: from
        group to group the pointers named in `steps` move on by so many floats."""
        if groups == 1:
            return driver
        code, each = self.function(f"{driver.name}_groups", driver.pointers), driver.units
        begin, end = code.numbers
        for g in code.rounds(begin // each, (end + (each - 1)) // each):
            pointers = (p + g * steps.get(name, 0)
                        for name, p in zip(driver.pointers, code.pointers, strict=True))
            code.run(driver.name, *pointers,
                     *(code.clamped(x - g * each, 0, each) for x in (begin, end)))
        return code.driver(groups * each, driver.scratch)

    def text(self) -> str:
        """IR of all functions."""
        declared = {line: None for code in self.codes for line in code.declared.values()}
        return "\n".join([*(code.text() for code in self.codes), *declared, ""])


class Code(Writer):
    """One function: its arguments, and what kernels do besides arithmetic."""

    def __init__(self, machine: Machine, name: str, pointers: Sequence[str],
                 numbers: Sequence[str], internal: bool):
        super().__init__()
        self.machine, self.title, self.given = machine, name, tuple(pointers)
        self.fast = ""
        self.pointers = [Val(self, "%" + self.name(p), "ptr") for p in pointers]
        self.numbers = [Val(self, "%" + self.name(n), "i64") for n in numbers]
        self.kind = ("internal void", "noinline nounwind") if internal else ("void", "nounwind")
        self.zero = Val(self, "zeroinitializer", "float", machine.lanes, True)

    def text(self) -> str:
        """The whole function."""
        given = ", ".join([*(f"ptr noalias {p.text}" for p in self.pointers),
                           *(f"i64 {n.text}" for n in self.numbers)])
        kind, attributes = self.kind
        return self.function(f"{kind} @{self.title}({given}) {attributes}")

    def driver(self, units: int, scratch: int = 0) -> Driver:
        """How to call it, if its numbers are begin and end."""
        return Driver(self.title, self.given, units, scratch)

    def binary(self, code: str, a: Val, b: Val) -> Val:
        """As any writer; an index plus 0, times 0 or 1 needs no instruction."""
        if a.constant and code in ("add", "mul"):
            a, b = b, a
        known = (code, b.text) if b.constant and b.ty == "i64" else ()
        if known in (("add", "0"), ("sub", "0"), ("mul", "1"), ("udiv", "1")):
            return a
        return b if known == ("mul", "0") else super().binary(code, a, b)

    def equal(self, x: Index, n: int) -> Val:
        """x == n, a bool."""
        return self.value(x).eq(n)

    # Memory

    def read(self, pointer: Val, lanes: int) -> Val:
        """A vector; where fewer lanes than a full vector are wanted, the rest is zero."""
        full = self.machine.lanes
        if lanes >= full:
            return self.load(pointer, "float", full)
        given = pointer, self.value(4, "i32"), self._mask(lanes), self.zero
        name = f"llvm.masked.load.v{full}f32.p0"
        return self.put(self.called(name, self.zero.type, given), "float", full)

    def write(self, x: Val, pointer: Val, lanes: int) -> None:
        """Store the first lanes of a vector."""
        full = self.machine.lanes
        if lanes >= full:
            self.store(x, pointer)
        else:
            self.run(f"llvm.masked.store.v{full}f32.p0", x, pointer, self.value(4, "i32"),
                     self._mask(lanes))

    def _mask(self, lanes: int) -> Val:
        full = self.machine.lanes
        bits = ", ".join(f"i1 {'true' if i < lanes else 'false'}" for i in range(full))
        return Val(self, f"<{bits}>", "i1", full, True)

    def prefetch(self, pointer: Val, written: bool = False) -> None:
        """Ask for a cache line, to be read or written, in the first level; the address need not be
        valid. One to be written leaves the other cores' caches at once."""
        self.run("llvm.prefetch.p0", pointer, *(self.value(n, "i32") for n in (written, 3, 1)))

    def hidden(self, pointer: Val) -> Val:
        """The same pointer, of which the optimiser knows nothing."""
        return self.put(f'call ptr asm "", "=r,0"(ptr {pointer.text})', "ptr")

    def shifted(self, x: Val, first: int) -> Val:
        """The lanes of a vector from `first` on, then zeros."""
        n = self.machine.lanes
        return self.shuffle(x, self.zero, [min(first + i, n) for i in range(n)]) if first else x

    # Control

    def each(self, groups: Sequence[Group]) -> Iterator[tuple[Index, int]]:
        """(start, size) of every piece of a partition."""
        for g in groups:
            for i in self.rounds(0, g.count):
                yield i * g.size + g.start, g.size

    def units(self, groups: Sequence[Group], begin: Index, end: Index,
              ) -> Iterator[tuple[Index, int]]:
        """(start, size) of the pieces begin..end - 1 of a partition (run-time numbers)."""
        first = 0
        for g in groups:
            low, high = (self.clamped(x, first, first + g.count) for x in (begin, end))
            for i in self.rounds(low, high):
                yield i * g.size + (g.start - first * g.size), g.size
            first += g.count

    def sums(self, groups: Sequence[Group]) -> Iterator[tuple[Index, int, bool, bool]]:
        """(start, size, first, last) of the pieces of a long sum, in order; the first and the last
        one are written apart."""
        end = groups[-1].start + groups[-1].count * groups[-1].size
        for g in groups:
            stop = g.start + g.count * g.size
            low = int(g.start == 0)
            high = g.count - int(stop == end and g.count > low)
            if low:
                yield 0, g.size, True, g.size == end
            if high > low:
                for i in self.rounds(low, high):
                    yield i * g.size + g.start, g.size, False, False
            if high < g.count:
                yield stop - g.size, g.size, False, True

    def clamped(self, x: Index, low: int, high: int) -> Val:
        """x, but at least `low` and at most `high`."""
        x = self.value(x)
        above = self.select(x < low, low, x)
        return self.select(above < high, above, high)

    def either(self, condition: Val) -> Iterator[bool]:
        """True where the condition holds, then False where it does not: both ways are written."""
        labels = {here: self.name(stem) for here, stem in ((True, "then"), (False, "else"))}
        after = self.name("after")
        self.line(f"br i1 {condition.text}, label %{labels[True]}, label %{labels[False]}")
        for here, label in labels.items():
            self.label(label)
            yield here
            self.line(f"br label %{after}")
        self.label(after)
