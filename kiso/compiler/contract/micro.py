"""The micro-kernel: a small block of results held in registers while one long sum runs.

    acc[p][v] = sum over r of A[a_rows[p] + r . a] * B[r . b + v]
    C[c_rows[p] + v] = acc[p][v], and what is to be done after the sum

p counts rows (pixels, samples), v vectors of columns. r runs through a nest of loops of constant
extents; loop k moves A by its stride a and B by its stride b. Elements of A are spread over a
vector, B comes in contiguous vectors. Dense layers, convolutions and their gradients differ only
in these numbers (after Georganas et al., "High-Performance Deep Learning via a Single Building
Block", 2019).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod

from kiso.compiler.contract.emit import Code, Index, Library, Val

__all__ = ["UNROLL", "Block", "Loop", "Stream", "finished", "micro", "needed", "rounds"]

UNROLL = 4  # steps of the innermost loop in a round
FETCHED = 4  # stretches of memory that are fetched side by side
AHEAD = 4  # kernels whose results are fetched ahead, at most


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
class Stream:
    """Memory that is fetched into the cache on the way: in each round of the innermost loop these
    places, then on by `step` (in floats)."""

    lines: tuple[int, ...]
    step: int
    written: bool = False


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
    after: tuple[str, ...] = ()  # see `finished`
    ahead: Stream | None = None  # what the next kernels will read
    joint: int = 1
    apart: int = 0
    beside: bool = False


def needed(after: Sequence[str]) -> list[str]:
    """Further arrays for what is done after a sum, in order."""
    return [name for name in after if name in ("bias", "add", "mask")]


def finished(code: Code, x: Val, after: Sequence[str], c: Val, offset: Index, column: Index,
             lanes: int, arrays: Sequence[Val]) -> Val:
    """What becomes of a vector of sums that goes to C[offset], columns column.. :

        sum     + C[offset]
        bias    + bias[column]
        add     + other[offset], laid out as C
        mask    x where other[offset] > 0, else 0; NaN stays NaN, as in the op
        relu    max(x, 0)
    """
    rest = iter(arrays)
    for name in after:
        if name == "relu":
            x = code.select(x < 0.0, 0.0, x)
        elif name == "sum":
            x = x + code.read(c + offset, lanes)
        else:
            other = code.read(next(rest) + (column if name == "bias" else offset), lanes)
            x = x * code.select(other > 0.0, 1.0, code.zero) if name == "mask" else x + other
    return x


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
    """Rounds of the innermost loop in a kernel (see `Stream`)."""
    *outer, last = merged(loops)
    short = last.extent <= 2 * UNROLL and not last.free
    inner = 1 if short else last.extent // UNROLL
    return max(1, prod(loop.extent for loop in outer) * inner)


def micro(library: Library, block: Block) -> str:
    """The function (a, b, c, next, arrays for the work after..., offset, column, extents of free
    loops...) of a micro-kernel: `offset` is that of its first result in C, `column` the number of
    its first column; `next` is there only with `ahead`."""
    following = ["next"] if block.ahead else []
    free = ["extent" for loop in block.loops if loop.free]
    vectors = -(-block.width // library.machine.lanes)
    return library.once(f"micro_{len(block.a_rows)}x{vectors}",
                        ["a", "b", "c", *following, *needed(block.after)],
                        ["offset", "column", *free], _write, block)


def _write(code: Code, block: Block) -> None:
    _Kernel(code, block).write()


class _Kernel:
    def __init__(self, code: Code, block: Block):
        self.code, self.block = code, block
        full = code.machine.lanes
        self.lanes = [min(full, w) for w in range(block.width, 0, -full)]  # real, of each vector
        self.extents = code.numbers[2:]
        self.streams: list[Stream] = []

    def write(self) -> None:
        code, block = self.code, self.block
        a, b, c, *arrays = code.pointers
        offset, column = code.numbers[:2]
        starts = [arrays.pop(0)] if block.ahead else []
        self.streams = [block.ahead] if block.ahead else []
        full, results = code.machine.lanes, self._results()
        places = [(r, v) for r in block.c_rows for v in range(len(self.lanes))]
        # The places of C, and what is read after the sum, come to the cache while it is computed.
        for name, array in (("c", c), *zip(needed(block.after), arrays, strict=True)):
            if results and name != "bias":
                starts.append(array + offset)
                self.streams.append(replace(results, written=name == "c"))
            elif name in ("add", "mask") or (name == "c" and "sum" in block.after):
                for (r, v), e in product(places, range(block.joint)):
                    code.prefetch(array + (offset + (r + v * full + e * block.apart)))
        sums = [code.zero] * len(places)
        if all(loop.extent for loop in block.loops):
            state = [a, b, *starts, *sums]
            self._nest(merged(block.loops), state)
            sums = state[2 + len(starts):]
        for (whole, (r, v)), e in product(zip(sums, places, strict=True), range(block.joint)):
            here = offset + (r + v * full + e * block.apart)
            x = code.shifted(whole, e * block.width)
            x = finished(code, x, block.after, c, here, column + v * full, self.lanes[v], arrays)
            code.write(x, c + here, self.lanes[v])

    def _results(self) -> Stream | None:
        """The places of C, a part of each in every round, if they are a few stretches of memory or
        rows as far apart; the end runs ahead into the next kernel's."""
        block, pixel = self.block, len(self.lanes) * self.code.machine.lanes
        rows, turns = block.c_rows, rounds(block.loops)
        begins = [r for r in rows if r - pixel not in rows]
        if block.joint > 1 or block.width < pixel:
            return None
        if len(begins) <= FETCHED and len(rows) % len(begins) == 0:
            step = -(-len(rows) // len(begins) * pixel // turns)
            return Stream(tuple(r + i for r in begins for i in range(0, step, 16)), step)
        apart, each = rows[1] - rows[0], -(-len(rows) // turns)
        if turns > AHEAD * len(rows) or any(r != i * apart for i, r in enumerate(rows)):
            return None
        return Stream(tuple(r + i for r in rows[:each] for i in range(0, pixel, 16)), each * apart)

    def _nest(self, loops: Sequence[Loop], state: list[Val]) -> None:
        """All rounds of these loops. The state is [a, b, *streams, *sums]; they move it on."""
        code, head = self.code, loops[0]
        if len(loops) == 1:
            self._inner(head, state)
            return
        extent = self.extents.pop(0) if head.free else head.extent
        for _ in code.rounds(0, extent, state, guard=False):
            a, b = state[:2]
            self._nest(loops[1:], state)
            state[:2] = a + head.a, b + head.b

    def _inner(self, loop: Loop, state: list[Val]) -> None:
        """The innermost loop, unrolled: wholly if short, else by four."""
        code, first = self.code, 2 + len(self.streams)
        unroll = loop.extent if loop.extent <= 2 * UNROLL and not loop.free else UNROLL
        count = (self.extents.pop() if loop.free else loop.extent) // unroll
        rows = set(self.block.a_rows)
        # Rows may read in this step what others read in the next (pixels side by side of one
        # channel). If the compiler saw that, it would keep these values and run out of registers.
        shared = any(r + u * loop.a in rows for r in rows for u in range(1, unroll) if loop.a)
        for _ in code.rounds(0, count, state, guard=False):
            a, b = state[:2]
            for k, stream in enumerate(self.streams, 2):
                for line in stream.lines:
                    code.prefetch(state[k] + line, stream.written)
                state[k] += stream.step
            sums = state[first:]
            for u in range(unroll):
                if shared:
                    sums = self._step(code.hidden(a + u * loop.a), b, 0, u * loop.b, sums)
                else:
                    sums = self._step(a, b, u * loop.a, u * loop.b, sums)
            state[:2], state[first:] = [a + unroll * loop.a, b + unroll * loop.b], sums
        for u in range(0 if loop.free else loop.extent % unroll):
            a, b = state[:2]
            state[first:] = self._step(a, b, u * loop.a, u * loop.b, state[first:])

    def _step(self, a: Val, b: Val, to_a: int, to_b: int, sums: list[Val]) -> list[Val]:
        """One r: a row of B times a column of A."""
        code, full = self.code, self.code.machine.lanes
        row = [code.read(b + (to_b + v * full), full if self.block.padded else lanes)
               for v, lanes in enumerate(self.lanes)]
        result: list[Val] = []
        for p, place in enumerate(self.block.a_rows):
            here = place + to_a
            if self.block.beside:
                factors = [code.read(a + (here + v * full), n) for v, n in enumerate(self.lanes)]
            else:
                factors = [code.widen(code.load(a + here, "float"), full)] * len(row)
            result += [code.fma(x, w, sums[p * len(row) + v])
                       for v, (x, w) in enumerate(zip(factors, row, strict=True))]
        return result
