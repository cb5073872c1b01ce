"""Cutting into pieces, and the cost model: which block of results a micro-kernel should hold.

A block of P rows and V vectors takes P V multiply-adds for each step of the reduction, two in a
cycle, P + V loads, two in a cycle, and no less than the latency of an addition (4 cycles). It
needs P V + V + 1 registers: the sums, a row of B, one element of A.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import prod

__all__ = ["AVX2", "AVX512", "MOST_VECTORS", "NEON", "Group", "Machine", "Panels", "chopped",
           "most_rows", "panels", "partition", "patch", "rounded", "tiling"]

_LATENCY = 4
MOST_VECTORS = 4


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


def chopped(extent: int, size: int) -> tuple[Group, ...]:
    """Cut 0..extent into pieces of `size`, with a shorter one at the end."""
    whole = extent // size
    groups = (Group(0, whole, size), Group(whole * size, 1, extent - whole * size))
    return tuple(g for g in groups if g.count and g.size)


def rounded(floats: int) -> int:
    """So many floats, and on to the end of a cache line (64 bytes)."""
    return -(-floats // 16) * 16


@dataclass(frozen=True)
class Panels:
    """`count` equal panels from a vector on: their vectors, and real columns of each."""

    vector: int
    count: int
    size: int
    width: int


def panels(groups: tuple[Group, ...], columns: int, lanes: int) -> list[Panels]:
    """Panels of so many columns; the last one is by itself if it ends before its vectors do."""
    result: list[Panels] = []
    for g in groups:
        end = g.start + g.count * g.size
        edge = int(end * lanes > columns)
        for start, count in ((g.start, g.count - edge), (end - g.size, edge)):
            if count:
                width = min(columns - start * lanes, g.size * lanes)
                result.append(Panels(start, count, g.size, width))
    return result


def most_rows(machine: Machine, vectors: int) -> int:
    """Rows for which the registers suffice."""
    return (machine.registers - 1 - vectors) // vectors


def cycles(rows: int, vectors: int, steps: int) -> float:
    """Estimated time of one micro-kernel; stores and call included."""
    work = rows * vectors
    return steps * max(work / 2, (rows + vectors) / 2, _LATENCY) + work + 12


def _sizes(extent: int, most: int) -> list[int]:
    """The limits up to `most` that cut an extent differently, smallest first."""
    return sorted({-(-extent // -(-extent // n)) for n in range(1, most + 1)})


@lru_cache(maxsize=65536)
def patch(machine: Machine, extents: tuple[int, ...], vectors: int,
          steps: int) -> tuple[float, tuple[int, ...]]:
    """The best patch for one panel: (cycles, patch). Its rows run along every extent (a line; or
    the height and width of an image; or samples, height and width)."""
    most = most_rows(machine, vectors)
    shapes: list[tuple[int, ...]] = [()]
    for extent in extents[:-1]:
        shapes = [(*s, n) for s in shapes for n in _sizes(extent, most // prod(s))]
    shapes = [(*s, _sizes(extents[-1], most // prod(s))[-1]) for s in shapes]

    def cost(shape: tuple[int, ...]) -> float:
        pieces = [partition(n, m) for n, m in zip(extents, shape, strict=True)]
        return sum(prod(g.count for g in groups) *
                   cycles(prod(g.size for g in groups), vectors, steps)
                   for groups in product(*pieces))
    return min((cost(s), s) for s in shapes)


def tiling(machine: Machine, rows: int, columns: int, steps: int,
           ) -> tuple[tuple[Group, ...], dict[int, int]]:
    """The cheapest block for a result of rows times columns: columns cut into panels of whole
    vectors, and for each number of vectors the most rows."""
    vectors = -(-columns // machine.lanes)
    found: list[tuple[float, int, tuple[Group, ...], dict[int, int]]] = []
    for limit in range(1, min(MOST_VECTORS, vectors) + 1):
        groups = partition(vectors, limit)
        best = {g.size: patch(machine, (rows,), g.size, max(steps, 1)) for g in groups}
        total = sum(g.count * best[g.size][0] for g in groups)
        found.append((total, limit, groups, {v: most for v, (_, (most,)) in best.items()}))
    return min(found, key=lambda way: way[:2])[2:]
