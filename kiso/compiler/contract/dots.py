"""A few rows times many: c[i, n] = sum over k of a[i, k] b[n, k], as when one sample goes through a
dense layer, y = x W^T.

Both arrays are read along k, so nothing is packed, and the time is that of reading b once. Each
result is the sum of the lanes of a vector; those of as many results as a vector has lanes are added
up at once, as the columns of a square.
"""

from __future__ import annotations

from collections.abc import Sequence

from kiso.compiler.contract.emit import Code, Driver, Index, Library, Val
from kiso.compiler.contract.micro import finished, needed
from kiso.compiler.contract.tiles import chopped

__all__ = ["dots"]

_TOGETHER = 4  # rows of b read side by side


def dots(library: Library, shape: tuple[int, int, int], after: tuple[str, ...], name: str,
         ) -> Driver:
    """The driver of `matmul` for a (rows, depth) and b (columns, depth). Units are vectors of
    results."""
    rows, columns, depth = shape
    lanes = library.machine.lanes
    code = library.function(name, ("a", "b", "c", *needed(after), "scratch"))
    a, b, c, *arrays, _ = code.pointers
    groups = chopped(columns, lanes)
    for n, size in code.units(groups, *code.numbers):
        for i in code.rounds(0, rows):
            x, sums = a + i * depth, list[Val]()
            for first in range(0, size, _TOGETHER):
                w = b + (n + first) * depth
                sums += _sums(code, x, w, min(_TOGETHER, size - first), depth)
            y = _total(code.transposed(sums + [code.zero] * (lanes - size)))
            place = i * columns + n
            y = finished(code, y, after, c, place, n, size, arrays)
            code.write(y, c + place, size)
    return code.driver(sum(g.count for g in groups))


def _sums(code: Code, x: Val, w: Val, count: int, depth: int) -> list[Val]:
    """Vectors whose lanes add up to the products of x with `count` rows of w."""
    lanes = code.machine.lanes
    unroll = code.machine.registers // 8  # with `count` sums each: half of the registers

    def step(k: Index, width: int, sums: Sequence[Val]) -> list[Val]:
        left = code.read(x + k, width)
        return [code.fma(left, code.read(w + (k + j * depth), width), s)
                for j, s in enumerate(sums)]
    state = [code.zero] * (unroll * count)
    whole = depth // (unroll * lanes)
    for i in code.rounds(0, whole, state) if whole else ():
        state[:] = [s for u in range(unroll) for s in step(
            i * (unroll * lanes) + u * lanes, lanes, state[u * count:(u + 1) * count])]
    for k in range(whole * unroll * lanes, depth, lanes):
        state = [*state[count:], *step(k, min(lanes, depth - k), state[:count])]
    return [_total(state[j::count]) for j in range(count)]


def _total(xs: Sequence[Val]) -> Val:
    """x_0 + x_1 + ..., by halves."""
    half = len(xs) // 2
    return xs[0] if len(xs) == 1 else _total(xs[:half]) + _total(xs[half:])
