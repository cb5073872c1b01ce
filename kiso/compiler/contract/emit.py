"""Writing LLVM IR: one function at a time, with index arithmetic that folds Python numbers.

An index is a Python int (known now) or an i64 value (known when the code runs). All arrays are
float32; offsets count floats, never bytes. Loops carry values (accumulators, pointers) explicitly,
so that nothing lives in memory that could live in a register.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from llvmlite import ir as _ir

__all__ = ["AVX2", "AVX512", "NEON", "Code", "Group", "Library", "Machine", "partition"]

ir: Any = _ir  # llvmlite has no types
F32 = ir.FloatType()
I64 = ir.IntType(64)
I32 = ir.IntType(32)
I1 = ir.IntType(1)
PTR = ir.PointerType()


@dataclass(frozen=True)
class Machine:
    """Vector registers of a processor: floats in one, and how many there are."""

    lanes: int
    registers: int


AVX512 = Machine(16, 32)
AVX2 = Machine(8, 16)
NEON = Machine(4, 32)


@dataclass(frozen=True)
class Group:
    """`count` pieces of `size` elements side by side from `start` on."""

    start: int
    count: int
    size: int


def partition(extent: int, limit: int) -> tuple[Group, ...]:
    """Cut 0..extent into as few pieces of at most `limit` as there can be, sizes as even as they
    can be (two sizes, the larger first): 100 by 14 gives 4 x 13 + 4 x 12."""
    if extent <= 0:
        return ()
    count = -(-extent // limit)
    size, larger = divmod(extent, count)
    groups = (Group(0, larger, size + 1), Group(larger * (size + 1), count - larger, size))
    return tuple(g for g in groups if g.count)


class Library:
    """A module that is being written, for one machine; equal functions are written once."""

    def __init__(self, machine: Machine, module: Any = None, prefix: str = ""):
        self.machine = machine
        self.prefix = prefix  # of internal names: modules may be put together
        self.module: Any = ir.Module("contract") if module is None else module
        self.made: dict[Any, Any] = {}

    @cached_property
    def vector(self) -> Any:
        """The type of a full vector."""
        return ir.VectorType(F32, self.machine.lanes)

    def intrinsic(self, name: str, result: Any, arguments: Sequence[Any]) -> Any:
        """A declared LLVM intrinsic."""
        found = self.module.globals.get(name)
        if found is None:
            kind = ir.FunctionType(result, arguments)
            found = ir.Function(self.module, kind, name)
        return found

    def function(self, name: str, pointers: Sequence[str], numbers: Sequence[str],
                 internal: bool = False) -> Code:
        """A new function (pointers..., i64 numbers...) -> nothing; its arrays do not overlap."""
        kind = ir.FunctionType(ir.VoidType(), [PTR] * len(pointers) + [I64] * len(numbers))
        known = f"{self.prefix}{name}" if internal else name
        fn = ir.Function(self.module, kind, self.module.get_unique_name(known))
        fn.attributes.add("nounwind")
        if internal:
            fn.linkage = "internal"
            fn.attributes.add("noinline")
        for arg, label in zip(fn.args, (*pointers, *numbers), strict=True):
            arg.name = label
            if arg.type == PTR:
                arg.add_attribute("noalias")
        return Code(self, fn)


class Code:
    """The function being written, with the place where the next instruction goes."""

    def __init__(self, library: Library, fn: Any):
        self.lib = library
        self.machine = library.machine
        self.fn = fn
        self.b: Any = ir.IRBuilder(fn.append_basic_block("entry"))

    # Numbers

    def value(self, x: Any) -> Any:
        """An index as an i64 value."""
        return ir.Constant(I64, x) if isinstance(x, int) else x

    def add(self, *terms: Any) -> Any:
        """Sum of indices."""
        known = sum(t for t in terms if isinstance(t, int))
        total: Any = None
        for t in terms:
            if not isinstance(t, int):
                total = t if total is None else self.b.add(total, t)
        if total is None:
            return known
        return self.b.add(total, self.value(known)) if known else total

    def mul(self, x: Any, factor: int) -> Any:
        """Index times a constant."""
        if isinstance(x, int):
            return x * factor
        if factor in (0, 1):
            return x if factor else 0
        return self.b.mul(x, self.value(factor))

    # Memory

    def at(self, pointer: Any, offset: Any) -> Any:
        """Address of an element."""
        if isinstance(offset, int) and offset == 0:
            return pointer
        return self.b.gep(pointer, [self.value(offset)], source_etype=F32)

    def hidden(self, pointer: Any) -> Any:
        """The same pointer, of which the optimiser knows nothing."""
        kind = ir.FunctionType(PTR, [PTR])
        return self.b.call(ir.InlineAsm(kind, "", "=r,0"), [pointer])

    def _mask(self, lanes: int) -> Any:
        full = self.machine.lanes
        return ir.Constant(ir.VectorType(I1, full), [int(i < lanes) for i in range(full)])

    @property
    def zero(self) -> Any:
        """A vector of zeros."""
        return ir.Constant(self.lib.vector, [0.0] * self.machine.lanes)

    @property
    def one(self) -> Any:
        """A vector of ones."""
        return ir.Constant(self.lib.vector, [1.0] * self.machine.lanes)

    def load(self, pointer: Any, offset: Any, lanes: int) -> Any:
        """A vector; where fewer lanes than a full vector are wanted, the rest is zero."""
        address = self.at(pointer, offset)
        kind = self.lib.vector
        if lanes >= self.machine.lanes:
            return self.b.load(address, align=4, typ=kind)
        mask = self._mask(lanes)
        name = f"llvm.masked.load.v{self.machine.lanes}f32.p0"
        load = self.lib.intrinsic(name, kind, [PTR, I32, mask.type, kind])
        return self.b.call(load, [address, ir.Constant(I32, 4), mask, self.zero])

    def store(self, x: Any, pointer: Any, offset: Any, lanes: int) -> None:
        """Store the first lanes of a vector."""
        address = self.at(pointer, offset)
        if lanes >= self.machine.lanes:
            self.b.store(x, address, align=4)
            return
        mask = self._mask(lanes)
        name = f"llvm.masked.store.v{self.machine.lanes}f32.p0"
        kinds = [x.type, PTR, I32, mask.type]
        store = self.lib.intrinsic(name, ir.VoidType(), kinds)
        self.b.call(store, [x, address, ir.Constant(I32, 4), mask])

    def prefetch(self, pointer: Any, offset: Any) -> None:
        """Ask for a cache line; the address need not be valid."""
        name = "llvm.prefetch.p0"
        fetch = self.lib.intrinsic(name, ir.VoidType(), [PTR, I32, I32, I32])
        kinds = [ir.Constant(I32, n) for n in (0, 3, 1)]  # to read, into the first level, data
        self.b.call(fetch, [self.at(pointer, offset), *kinds])

    def scalar(self, pointer: Any, offset: Any) -> Any:
        """One float."""
        return self.b.load(self.at(pointer, offset), align=4, typ=F32)

    # Vectors

    def splat(self, x: Any) -> Any:
        """A float in every lane."""
        kind = self.lib.vector
        none = ir.Constant(kind, ir.Undefined)
        one = self.b.insert_element(none, x, ir.Constant(I32, 0))
        lanes = ir.Constant(ir.VectorType(I32, self.machine.lanes), [0] * self.machine.lanes)
        return self.b.shuffle_vector(one, none, lanes)

    def lane(self, x: Any, i: int) -> Any:
        """One float of a vector."""
        return self.b.extract_element(x, ir.Constant(I32, i))

    def shifted(self, x: Any, first: int) -> Any:
        """The lanes of a vector from `first` on, then zeros."""
        n = self.machine.lanes
        order = ir.Constant(ir.VectorType(I32, n), [min(first + i, n) for i in range(n)])
        return self.b.shuffle_vector(x, self.zero, order) if first else x

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """a b + c, rounded once."""
        kind = self.lib.vector
        name = f"llvm.fma.v{self.machine.lanes}f32"
        return self.b.call(self.lib.intrinsic(name, kind, [kind] * 3), [a, b, c])

    def maximum(self, a: Any, b: Any) -> Any:
        """The larger, lane by lane; a where either is no number."""
        return self.b.select(self.b.fcmp_ordered("<", a, b), b, a)

    # Control

    def loop(self, start: Any, stop: Any, body: Callable[..., Any],
             carried: Sequence[Any] = (), some: bool = False) -> list[Any]:
        """for i in start..stop: carried = body(i, *carried). One round at least when both ends are
        Python ints or with `some`; a single round is written without a loop."""
        state = list(carried)
        if isinstance(start, int) and isinstance(stop, int):
            assert stop > start, (start, stop)
            if stop == start + 1:
                return list(body(start, *state) or ())
        before = self.b.block
        again = self.fn.append_basic_block("loop")
        done = self.fn.append_basic_block("done")
        low, high = self.value(start), self.value(stop)
        guarded = not some and not (isinstance(start, int) and isinstance(stop, int))
        if guarded:
            self.b.cbranch(self.b.icmp_signed("<", low, high), again, done)
        else:
            self.b.branch(again)
        self.b.position_at_end(again)
        index = self.b.phi(I64)
        index.add_incoming(low, before)
        phis: list[Any] = []
        for x in state:
            phi = self.b.phi(x.type)
            phi.add_incoming(x, before)
            phis.append(phi)
        result = list(body(index, *phis) or ())
        following = self.b.add(index, self.value(1))
        last = self.b.block
        index.add_incoming(following, last)
        for phi, x in zip(phis, result, strict=True):
            phi.add_incoming(x, last)
        self.b.cbranch(self.b.icmp_signed("<", following, high), again, done)
        self.b.position_at_end(done)
        assert not (guarded and state)  # nothing carried where no round may run
        return result

    def each(self, groups: Sequence[Group], body: Callable[[Any, int], None]) -> None:
        """body(start, size) for every piece of a partition."""
        for g in groups:
            def piece(i: Any, g: Group = g) -> None:
                body(self.add(g.start, self.mul(i, g.size)), g.size)
            self.loop(0, g.count, piece)

    def units(self, groups: Sequence[Group], begin: Any, end: Any,
              body: Callable[[Any, int], None]) -> None:
        """body(start, size) for the pieces begin..end - 1 of a partition (run-time numbers)."""
        first = 0
        for g in groups:
            bound = self.value(first + g.count)
            low = self._clamp(begin, self.value(first), bound)
            high = self._clamp(end, self.value(first), bound)

            def piece(i: Any, size: int = g.size, shift: int = g.start - first * g.size) -> None:
                body(self.add(self.mul(i, size), shift), size)
            self.loop(low, high, piece)
            first += g.count

    def _clamp(self, x: Any, low: Any, high: Any) -> Any:
        above = self.b.select(self.b.icmp_signed("<", x, low), low, x)
        return self.b.select(self.b.icmp_signed("<", above, high), above, high)

    def branch(self, condition: Any, yes: Callable[[], None], no: Callable[[], None]) -> None:
        """if condition: yes() else: no()."""
        with self.b.if_else(condition) as (then, otherwise):
            with then:
                yes()
            with otherwise:
                no()

    def call(self, fn: Any, pointers: Sequence[Any], numbers: Sequence[Any] = ()) -> None:
        """Call a function written before."""
        self.b.call(fn, [*pointers, *map(self.value, numbers)])

    def finish(self) -> Any:
        """Return; the function is complete."""
        self.b.ret_void()
        return self.fn
