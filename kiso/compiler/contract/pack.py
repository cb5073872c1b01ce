"""Packing: B as the micro-kernel wants to read it, panel by panel without gaps.

A panel of V vectors of columns holds, for each step k of the reduction, V * lanes floats side by
side; columns beyond the last are zero. Panels lie one after the other: the one that begins with
vector v starts at v * lanes * K.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kiso.compiler.contract.emit import I32, Code, Library, ir, partition

__all__ = ["panel_packer", "row_packer", "spreader", "transposed"]


def row_packer(library: Library, steps: int, stride: int, rows: int, patch: int) -> Any:
    """The function (source, target): target[tile][k][row in tile] = source[k * stride + row] for
    the tiles of partition(rows, patch), one after the other without gaps."""
    key = ("rows", steps, stride, rows, patch)
    if key not in library.made:
        code = library.function(f"pack_rows_{rows}", ("source", "target"), (), internal=True)
        source, target = code.fn.args
        lanes = code.machine.lanes

        def tile(r: Any, size: int) -> None:
            def line(k: Any) -> None:
                here, there = code.add(r, code.mul(k, stride)), code.mul(k, size)
                for w in range(0, size, lanes):
                    n = min(lanes, size - w)
                    x = code.load(source, code.add(here, w), n)
                    code.store(x, target, code.add(code.mul(r, steps), there, w), n)
            code.loop(0, steps, line)
        code.each(partition(rows, patch), tile)
        library.made[key] = code.finish()
    return library.made[key]


def panel_packer(library: Library, steps: int, width: int, k_stride: int, n_stride: int) -> Any:
    """The function (source, target): target[k][n] = source[k * k_stride + n * n_stride] for
    n < width, else 0 up to the vector."""
    key = ("panel", steps, width, k_stride, n_stride)
    if key not in library.made:
        code = library.function(f"pack_panel_{width}", ("source", "target"), (), internal=True)
        _pack_panel(code, steps, width, k_stride, n_stride)
        library.made[key] = code.finish()
    return library.made[key]


def spreader(library: Library, steps: int, width: int, k_stride: int, n_stride: int) -> Any:
    """The function (source, target): target[k][n] = source[k * k_stride + n * n_stride] for
    n < width, a part of a vector; the rest of it stays as it is."""
    key = ("spread", steps, width, k_stride, n_stride)
    if key not in library.made:
        code = library.function("spread", ("source", "target"), (), internal=True)
        source, target = code.fn.args

        def line(k: Any) -> None:
            for n in range(width):
                x = code.scalar(source, code.add(code.mul(k, k_stride), n * n_stride))
                place = code.at(target, code.add(code.mul(k, code.machine.lanes), n))
                code.b.store(x, place, align=4)
        code.loop(0, steps, line)
        library.made[key] = code.finish()
    return library.made[key]


def _pack_panel(code: Code, steps: int, width: int, k_stride: int, n_stride: int) -> None:
    source, target = code.fn.args
    lanes = code.machine.lanes
    whole = -(-width // lanes) * lanes
    if n_stride == 1:
        def line(k: Any) -> None:
            for w in range(0, width, lanes):
                x = code.load(source, code.add(code.mul(k, k_stride), w), min(lanes, width - w))
                code.store(x, target, code.add(code.mul(k, whole), w), lanes)
        code.loop(0, steps, line)
        return
    if k_stride != 1:
        _pack_single(code, source, target, steps, width, k_stride, n_stride)
        return

    for w in range(0, width, lanes):
        count = min(lanes, width - w)

        def square(k: Any, size: int, w: int = w, count: int = count) -> None:
            rows = [code.load(source, code.add(k, (w + n) * n_stride), size) if n < count else
                    code.zero for n in range(lanes)]
            for i, x in enumerate(transposed(code, rows)[:size]):
                code.store(x, target, code.add(code.mul(code.add(k, i), whole), w), lanes)
        full = steps // lanes * lanes
        if full:
            code.each(partition(full, lanes), square)
        if steps > full:
            square(full, steps - full)


def _pack_single(code: Code, source: Any, target: Any, steps: int, width: int, k_stride: int,
                 n_stride: int) -> None:
    """Element by element, where neither direction is contiguous."""
    lanes = code.machine.lanes
    whole = -(-width // lanes) * lanes

    def line(k: Any) -> None:
        if width % lanes:
            code.store(code.zero, target, code.add(code.mul(k, whole), whole - lanes), lanes)

        def one(n: Any) -> None:
            x = code.scalar(source, code.add(code.mul(k, k_stride), code.mul(n, n_stride)))
            code.b.store(x, code.at(target, code.add(code.mul(k, whole), n)), align=4)
        code.loop(0, width, one)
    code.loop(0, steps, line)


def transposed(code: Code, rows: Sequence[Any]) -> list[Any]:
    """A square of vectors, turned: in step s, blocks of s elements change places across the
    diagonal, s = 1, 2, 4, ..."""
    n = len(rows)
    kind = ir.VectorType(I32, n)
    now = list(rows)
    step = 1
    while step < n:
        upper = [j if not j & step else n + j - step for j in range(n)]
        lower = [j + step if not j & step else n + j for j in range(n)]
        following = list(now)
        for i in range(n):
            if not i & step:
                a, b = now[i], now[i + step]
                following[i] = code.b.shuffle_vector(a, b, ir.Constant(kind, upper))
                following[i + step] = code.b.shuffle_vector(a, b, ir.Constant(kind, lower))
        now = following
        step *= 2
    return now
