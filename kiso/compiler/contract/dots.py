"""A few rows times many: c[i, n] = sum over k of a[i, k] b[n, k], as when one sample goes through a
dense layer, y = x W^T.

Both arrays are read along k, so nothing is packed, and the time is that of reading b once. Each
result is the sum of the lanes of a vector; those of as many results as a vector has lanes are added
up at once, as the columns of a square.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kiso.compiler.contract.driver import Driver, pieces
from kiso.compiler.contract.emit import Code, Library
from kiso.compiler.contract.micro import Epilogue, Spot
from kiso.compiler.contract.pack import transposed

if TYPE_CHECKING:
    from kiso.compiler.contract.matmul import Product

__all__ = ["dots"]

_TOGETHER = 4  # rows of b read side by side


def dots(library: Library, product: Product, epilogue: Epilogue, name: str) -> Driver:
    """The driver of `matmul` for a (rows, depth) and b (columns, depth). Units are vectors of
    results."""
    columns, depth = product.columns, product.depth
    lanes = library.machine.lanes
    pointers = ("a", "b", "c", *epilogue.pointers, "scratch")
    code = library.function(name, pointers, ("begin", "end"))
    a, b, c, *extra, _, begin, end = code.fn.args

    def unit(n: Any, size: int) -> None:
        def row(i: Any) -> None:
            x, sums = code.at(a, code.mul(i, depth)), list[Any]()
            for first in range(0, size, _TOGETHER):
                w = code.at(b, code.mul(code.add(n, first), depth))
                sums += _sums(code, x, w, min(_TOGETHER, size - first), depth)
            y = _total(code, transposed(code, sums + [code.zero] * (lanes - size)))
            place = code.add(code.mul(i, columns), n)
            if product.accumulate:
                y = code.b.fadd(y, code.load(c, place, size))
            code.store(epilogue.emit(code, y, Spot(place, n, size), extra), c, place, size)
        code.loop(0, product.rows, row)
    groups = pieces(columns, lanes)
    code.units(groups, begin, end, unit)
    code.finish()
    return Driver(str(code.fn.name), pointers, sum(g.count for g in groups), 0)


def _sums(code: Code, x: Any, w: Any, count: int, depth: int) -> list[Any]:
    """Vectors whose lanes add up to the products of x with `count` rows of w."""
    lanes = code.machine.lanes
    unroll = code.machine.registers // 8  # with `count` sums each: half of the registers
    round_ = unroll * lanes

    def step(k: Any, width: int, sums: Sequence[Any]) -> list[Any]:
        left = code.load(x, k, width)
        return [code.fma(left, code.load(w, code.add(k, j * depth), width), s)
                for j, s in enumerate(sums)]

    def body(i: Any, *state: Any) -> list[Any]:
        now: list[Any] = []
        for u in range(unroll):
            k = code.add(code.mul(i, round_), u * lanes)
            now += step(k, lanes, state[u * count:(u + 1) * count])
        return now
    state = [code.zero] * (unroll * count)
    if depth >= round_:
        state = code.loop(0, depth // round_, body, state)
    for k in range(depth // round_ * round_, depth, lanes):
        state = [*state[count:], *step(k, min(lanes, depth - k), state[:count])]
    return [_total(code, state[j::count]) for j in range(count)]


def _total(code: Code, xs: Sequence[Any]) -> Any:
    """x_0 + x_1 + ..., by halves."""
    half = len(xs) // 2
    return xs[0] if len(xs) == 1 else code.b.fadd(_total(code, xs[:half]), _total(code, xs[half:]))
