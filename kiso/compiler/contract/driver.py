"""What a generator hands to the plan: the function, how its work is cut, what memory it wants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kiso.compiler.contract.emit import Code, Group

__all__ = ["Driver", "column_width", "phases_of_sum", "pieces", "rounded"]


@dataclass(frozen=True)
class Driver:
    """An LLVM function (pointers..., i64 begin, i64 end) that does the units begin..end - 1 of its
    work. Every thread passes its own `scratch` (floats, any contents, aligned to 64 bytes)."""

    name: str
    pointers: tuple[str, ...]
    units: int
    scratch: int


def rounded(floats: int) -> int:
    """So many floats, and on to the end of a cache line (64 bytes)."""
    return -(-floats // 16) * 16


def pieces(extent: int, size: int) -> tuple[Group, ...]:
    """Cut 0..extent into pieces of `size`, with a shorter one at the end."""
    whole = extent // size
    groups = (Group(0, whole, size), Group(whole * size, 1, extent - whole * size))
    return tuple(g for g in groups if g.count and g.size)


def column_width(columns: int, start: int, vectors: int, lanes: int) -> int:
    """Real columns of a panel of vectors."""
    return min(columns - start * lanes, vectors * lanes)


def phases_of_sum(code: Code, groups: Sequence[Group],
                  body: Callable[[Any, int, bool, bool], None]) -> None:
    """body(start, size, first, last) for the pieces of a long sum, in order."""
    end = groups[-1].start + groups[-1].count * groups[-1].size
    for g in groups:
        low, high = 0, g.count
        stop = g.start + g.count * g.size
        single = g.count == 1
        if g.start == 0:
            body(0, g.size, True, single and stop == end)
            low = 1
        if stop == end and high > low:
            high -= 1
        if high > low:
            def middle(i: Any, g: Group = g) -> None:
                body(code.add(code.mul(i, g.size), g.start), g.size, False, False)
            code.loop(low, high, middle)
        if stop == end and g.count > low:
            body(stop - g.size, g.size, False, True)
