"""The cost model: which block of results a micro-kernel should hold.

A block of P rows and V vectors takes P V multiply-adds for each step of the reduction, two in a
cycle, P + V loads, two in a cycle, and no less than the latency of an addition (4 cycles). It
needs P V + V + 1 registers: the sums, a row of B, one element of A.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod

from kiso.compiler.contract.emit import Group, Machine, partition

__all__ = ["Tiling", "cycles", "most_rows", "tiling"]

_LATENCY = 4
_MOST_VECTORS = 4


@dataclass(frozen=True)
class Tiling:
    """Columns cut into panels of whole vectors, and for each width the largest patch of rows
    (one number, or height and width for pixels)."""

    panels: tuple[Group, ...]              # in vectors
    patches: dict[int, tuple[int, ...]]    # vectors -> patch
    cycles: float


def most_rows(machine: Machine, vectors: int) -> int:
    """Rows for which the registers suffice."""
    return (machine.registers - 1 - vectors) // vectors


def cycles(rows: int, vectors: int, steps: int) -> float:
    """Estimated time of one micro-kernel; stores and call included."""
    work = rows * vectors
    return steps * max(work / 2, (rows + vectors) / 2, _LATENCY) + work + 12


@lru_cache(maxsize=4096)
def _patch(machine: Machine, extents: tuple[int, ...], vectors: int,
           steps: int) -> tuple[float, tuple[int, ...]]:
    """The best patch of rows (a line) or pixels (a rectangle) for one panel: (cycles, patch)."""
    most = most_rows(machine, vectors)
    lines = range(1, min(most, extents[-1]) + 1)
    shapes = ([(w,) for w in lines] if len(extents) == 1 else
              [(h, w) for h in range(1, min(4, extents[0]) + 1) for w in lines if h * w <= most])

    def cost(shape: tuple[int, ...]) -> float:
        pieces = [partition(n, m) for n, m in zip(extents, shape, strict=True)]
        sizes: list[tuple[int, int]] = [(1, 1)]
        for groups in pieces:
            sizes = [(c * g.count, s * g.size) for c, s in sizes for g in groups]
        return sum(c * cycles(s, vectors, steps) for c, s in sizes)
    return min((cost(s), s) for s in shapes)


def tiling(machine: Machine, extents: tuple[int, ...], columns: int, steps: int) -> Tiling:
    """The cheapest block for a result of rows (or pixels, by height and width) times columns."""
    assert prod(extents) > 0 and columns > 0, (extents, columns)
    vectors = -(-columns // machine.lanes)
    found: list[Tiling] = []
    for limit in range(1, min(_MOST_VECTORS, vectors) + 1):
        panels = partition(vectors, limit)
        best = {g.size: _patch(machine, extents, g.size, max(steps, 1)) for g in panels}
        total = sum(g.count * best[g.size][0] for g in panels)
        found.append(Tiling(panels, {v: p for v, (_, p) in best.items()}, total))
    return min(found, key=lambda t: t.cycles)
