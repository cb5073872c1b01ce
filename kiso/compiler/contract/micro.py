"""The micro-kernel: a small block of results held in registers while one long sum runs.

    acc[p][v] = sum over r of A[a_rows[p] + r . a] * B[r . b + v]
    C[c_rows[p] + v] = epilogue((0 or C) + acc[p][v])

p counts rows (pixels, samples), v vectors of columns. r runs through a nest of loops of constant
extents; loop k moves A by its stride a and B by its stride b. Elements of A are spread over a
vector, B comes in contiguous vectors. Dense layers, convolutions and their gradients differ only
in these numbers (after Georganas et al., "High-Performance Deep Learning via a Single Building
Block", 2019).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from math import prod
from typing import Any

from kiso.compiler.contract.emit import Code, Library

__all__ = ["EPILOGUES", "PLAIN", "UNROLL", "Ahead", "Block", "Epilogue", "Loop", "Spot", "bias",
           "chain", "mask", "micro", "relu", "residual", "rounds"]

UNROLL = 4  # steps of the innermost loop in a round
FETCHED = 4  # stretches of memory that are fetched side by side


@dataclass(frozen=True)
class Loop:
    """One loop of a reduction: how often, and how far A and B move each time (in floats). The
    extent of a `free` one is an argument of the kernel (1 or more; the innermost: a multiple of
    UNROLL); its number here only stands for it in estimates."""

    extent: int
    a: int
    b: int
    free: bool = False


@dataclass(frozen=True)
class Ahead:
    """What the next kernels will read is fetched into the cache on the way: in each round of the
    innermost loop `lines` places, `gap` apart, then on by `step` (in floats)."""

    lines: int
    gap: int
    step: int


@dataclass(frozen=True)
class Block:
    """The numbers of a micro-kernel. `width` columns of the last vectors are real. With `joint`
    results side by side in one vector, these are `apart` in C. `beside`: A has an element of its
    own for each column, side by side, instead of one for a whole row (depthwise)."""

    a_rows: tuple[int, ...]
    c_rows: tuple[int, ...]
    width: int
    loops: tuple[Loop, ...]
    padded: bool = True     # B may be read up to the full vector
    load: bool = False      # add to C
    final: bool = True      # apply the epilogue
    ahead: Ahead | None = None
    joint: int = 1
    apart: int = 0
    beside: bool = False


@dataclass(frozen=True)
class Spot:
    """Where a vector of results goes: C[offset], columns column.. (i64 values), lanes real."""

    offset: Any
    column: Any
    lanes: int


@dataclass(frozen=True)
class Epilogue:
    """Work on finished results: emit(code, vector, spot, pointers) -> vector, where `pointers` are
    further arguments of the driver, named here. `alike`: which of them lie as C does."""

    pointers: tuple[str, ...]
    emit: Callable[[Code, Any, Spot, Sequence[Any]], Any]
    alike: tuple[bool, ...] = ()


def _nothing(code: Code, x: Any, spot: Spot, pointers: Sequence[Any]) -> Any:
    return x


def _bias(code: Code, x: Any, spot: Spot, pointers: Sequence[Any]) -> Any:
    return code.b.fadd(x, code.load(pointers[0], spot.column, spot.lanes))


def _relu(code: Code, x: Any, spot: Spot, pointers: Sequence[Any]) -> Any:
    return code.maximum(x, code.zero)


def _residual(code: Code, x: Any, spot: Spot, pointers: Sequence[Any]) -> Any:
    return code.b.fadd(x, code.load(pointers[0], spot.offset, spot.lanes))


def _mask(code: Code, x: Any, spot: Spot, pointers: Sequence[Any]) -> Any:
    # A product, not a choice: NaN stays NaN, as in the op.
    on = code.b.fcmp_ordered(">", code.load(pointers[0], spot.offset, spot.lanes), code.zero)
    return code.b.fmul(x, code.b.select(on, code.one, code.zero))


PLAIN = Epilogue((), _nothing)
bias = Epilogue(("bias",), _bias, (False,))              # + bias[column]
relu = Epilogue((), _relu)                     # max(x, 0)
residual = Epilogue(("residual",), _residual, (True,))  # + residual[offset], laid out as C
mask = Epilogue(("other",), _mask, (True,))             # x where other[offset] > 0, else 0
EPILOGUES = {"bias": bias, "add": residual, "relu": relu, "mask": mask}  # see loops.Contract


@cache
def chain(*epilogues: Epilogue) -> Epilogue:
    """One after the other."""
    def emit(code: Code, x: Any, spot: Spot, pointers: Sequence[Any]) -> Any:
        first = 0
        for e in epilogues:
            x = e.emit(code, x, spot, pointers[first:first + len(e.pointers)])
            first += len(e.pointers)
        return x
    return Epilogue(tuple(p for e in epilogues for p in e.pointers), emit,
                    tuple(a for e in epilogues for a in e.alike))


def merged(loops: Sequence[Loop]) -> list[Loop]:
    """The same reduction in fewer loops: one inside the other without a gap becomes one."""
    result: list[Loop] = []
    for loop in loops:
        if loop.extent == 1 and not loop.free:
            continue
        outer = result[-1] if result else None
        gap = outer and (outer.a - loop.extent * loop.a or outer.b - loop.extent * loop.b)
        if outer and not (gap or outer.free or loop.free):
            result[-1] = Loop(outer.extent * loop.extent, loop.a, loop.b)
        else:
            result.append(loop)
    return result or [Loop(1, 0, 0)]


def rounds(loops: Sequence[Loop]) -> int:
    """Rounds of the innermost loop in a kernel (see `Ahead`)."""
    *outer, last = merged(loops)
    short = last.extent <= 2 * UNROLL and not last.free
    inner = 1 if short else last.extent // UNROLL
    return max(1, prod(loop.extent for loop in outer) * inner)


def micro(library: Library, block: Block, epilogue: Epilogue = PLAIN) -> Any:
    """The function (a, b, c, next, epilogue's pointers..., offset, column, extents of free
    loops...) of a micro-kernel: `offset` is that of its first result in C, `column` the number of
    its first column; `next` is there only with `ahead`."""
    key = ("micro", block, epilogue if block.final else PLAIN)
    if key not in library.made:
        library.made[key] = _Writer(library, block, key[2]).write()
    return library.made[key]


@dataclass(frozen=True)
class _Stream:
    """Cache lines to fetch in every round, and how far on they are in the next one."""

    lines: list[int]
    step: int


class _Writer:
    def __init__(self, library: Library, block: Block, epilogue: Epilogue):
        self.block = block
        self.epilogue = epilogue
        self.streams: list[_Stream] = []
        lanes = library.machine.lanes
        left = range(block.width, 0, -lanes)
        self.lanes = [min(lanes, w) for w in left]  # real lanes of each vector
        name = f"micro_{len(block.a_rows)}x{len(self.lanes)}"
        following = ("next",) if block.ahead else ()
        free = [f"extent{i}" for i, loop in enumerate(block.loops) if loop.free]
        self.code = library.function(name, ("a", "b", "c", *following, *epilogue.pointers),
                                     ("offset", "column", *free), internal=True)

    def write(self) -> Any:
        code, block = self.code, self.block
        pointers = 3 + bool(block.ahead) + len(self.epilogue.pointers)
        a, b, c, *extra = code.fn.args[:pointers]
        offset, column, *self.extents = code.fn.args[pointers:]
        starts: list[Any] = []
        if block.ahead:
            following, *extra = extra
            starts = [following]
            gaps = [i * block.ahead.gap for i in range(block.ahead.lines)]
            self.streams = [_Stream(gaps, block.ahead.step)]
        step = code.machine.lanes
        places = [(r, v) for r in block.c_rows for v in range(len(self.lanes))]
        # The places of C, and what the epilogue reads, come to the cache while the sum is computed.
        alike = [c, *(x for x, like in zip(extra, self.epilogue.alike, strict=block.final) if like)]
        stretches = self._stretches()
        for pointer in alike:
            if stretches:
                starts.append(code.at(pointer, offset))
                self.streams.append(stretches)
            elif pointer is not c or block.load:
                for (r, v), e in product(places, range(block.joint)):
                    code.prefetch(pointer, code.add(offset, r + v * step + e * block.apart))
        sums = [code.zero] * len(places)
        if all(loop.extent for loop in block.loops):
            sums = self._nest(merged(block.loops), [a, b, *starts, *sums])[2 + len(starts):]
        for (whole, (r, v)), e in product(zip(sums, places, strict=True), range(block.joint)):
            here = code.add(offset, r + v * step + e * block.apart)
            x = code.shifted(whole, e * block.width)
            if block.load:
                x = code.b.fadd(x, code.load(c, here, self.lanes[v]))
            if block.final:
                spot = Spot(here, code.add(column, v * step), self.lanes[v])
                x = self.epilogue.emit(code, x, spot, extra)
            code.store(x, c, here, self.lanes[v])
        return code.finish()

    def _stretches(self) -> _Stream | None:
        """The places of C, if they are a few stretches of memory, a part of each in every round;
        the end runs ahead into the next kernel's."""
        block, pixel = self.block, len(self.lanes) * self.code.machine.lanes
        rows = block.c_rows
        begins = [r for r in rows if r - pixel not in rows]
        if block.joint > 1 or block.width < pixel or len(rows) % len(begins) or \
                len(begins) > FETCHED:
            return None
        step = -(-len(rows) // len(begins) * pixel // rounds(block.loops))
        return _Stream([r + i for r in begins for i in range(0, step, 16)], step)

    def _nest(self, loops: Sequence[Loop], state: list[Any]) -> list[Any]:
        """All rounds of these loops. The state is [a, b, *streams, *sums]; gives it moved
        on."""
        code, head = self.code, loops[0]
        if len(loops) == 1:
            return self._inner(head, state)
        extent = self.extents.pop(0) if head.free else head.extent

        def body(_: Any, a: Any, b: Any, *rest: Any) -> list[Any]:
            inner = self._nest(loops[1:], [a, b, *rest])
            return [code.at(a, head.a), code.at(b, head.b), *inner[2:]]
        return code.loop(0, extent, body, state, some=True)

    def _inner(self, loop: Loop, state: list[Any]) -> list[Any]:
        """The innermost loop, unrolled: wholly if short, else by four."""
        code, first = self.code, 2 + len(self.streams)
        unroll = loop.extent if loop.extent <= 2 * UNROLL and not loop.free else UNROLL
        rows = set(self.block.a_rows)
        # Rows may read in this step what others read in the next (pixels side by side of one
        # channel). If the compiler saw that, it would keep these values and run out of registers.
        shared = any(r + u * loop.a in rows for r in rows for u in range(1, unroll) if loop.a)

        def body(_: Any, a: Any, b: Any, *rest: Any) -> list[Any]:
            moved: list[Any] = []
            for place, stream in zip(rest, self.streams, strict=False):
                for line in stream.lines:
                    code.prefetch(place, line)
                moved.append(code.at(place, stream.step))
            now = list(rest[len(moved):])
            for u in range(unroll):
                if shared:
                    now = self._step(code.hidden(code.at(a, u * loop.a)), b, 0, u * loop.b, now)
                else:
                    now = self._step(a, b, u * loop.a, u * loop.b, now)
            return [code.at(a, unroll * loop.a), code.at(b, unroll * loop.b), *moved, *now]
        if loop.free:
            count = code.b.udiv(self.extents.pop(), code.value(unroll))
            return code.loop(0, count, body, state, some=True)
        state = code.loop(0, loop.extent // unroll, body, state)
        for u in range(loop.extent % unroll):
            state[first:] = self._step(state[0], state[1], u * loop.a, u * loop.b, state[first:])
        return state

    def _step(self, a: Any, b: Any, to_a: int, to_b: int, sums: list[Any]) -> list[Any]:
        """One r: a row of B times a column of A."""
        code, full = self.code, self.code.machine.lanes
        row = [code.load(b, to_b + v * full, full if self.block.padded else lanes)
               for v, lanes in enumerate(self.lanes)]
        result: list[Any] = []
        for p, place in enumerate(self.block.a_rows):
            here = place + to_a
            if self.block.beside:
                factors = [code.load(a, here + v * full, n) for v, n in enumerate(self.lanes)]
            else:
                factors = [code.splat(code.scalar(a, here))] * len(row)
            result += [code.fma(x, w, sums[p * len(row) + v])
                       for v, (x, w) in enumerate(zip(factors, row, strict=True))]
        return result
