"""Packing: operands as the micro-kernel wants to read them, without gaps and without a border test.

A panel of V vectors of columns holds, for each step k of the reduction, V * lanes floats side by
side; columns beyond the last are zero. Panels lie one after the other: the one that begins with
vector v starts at v * lanes * K. Rows of an image are copied with zeros around them.
"""

from __future__ import annotations

from dataclasses import dataclass

from kiso.compiler.contract.emit import Code, Library, Val
from kiso.compiler.contract.tiles import chopped, partition

__all__ = ["Window", "panel_packer", "row_copier", "row_packer", "scatter", "zero_fill"]


def row_packer(library: Library, steps: int, stride: int, rows: int, patch: int) -> str:
    """The function (source, target): target[tile][k][row in tile] = source[k * stride + row] for
    the tiles of partition(rows, patch), one after the other without gaps."""
    return library.once(f"pack_rows_{rows}", ["source", "target"], [], _rows,
                        steps, stride, rows, patch)


def _rows(code: Code, steps: int, stride: int, rows: int, patch: int) -> None:
    source, target = code.pointers
    for r, size in code.each(partition(rows, patch)):
        _lines(code, source + r, target + r * steps, steps, size, stride, size)


def panel_packer(library: Library, steps: int, width: int, k_stride: int, n_stride: int,
                 part: bool = False) -> str:
    """The function (source, target): target[k][n] = source[k * k_stride + n * n_stride] for
    n < width, else 0 up to the vector; a part of a vector leaves the rest of it as it is."""
    return library.once(f"pack_panel_{width}", ["source", "target"], [], _panel,
                        steps, width, k_stride, n_stride, part)


def _panel(code: Code, steps: int, width: int, k_stride: int, n_stride: int, part: bool) -> None:
    source, target = code.pointers
    lanes = code.machine.lanes
    whole = -(-width // lanes) * lanes
    if n_stride == 1 and not part:
        _lines(code, source, target, steps, width, k_stride, whole)
    elif k_stride == 1 and not part:
        for w in range(0, width, lanes):
            for k, size in code.each(chopped(steps, lanes)):
                rows = [code.read(source + (k + (w + n) * n_stride), size) if w + n < width
                        else code.zero for n in range(lanes)]
                for i, x in enumerate(code.transposed(rows)[:size]):
                    code.write(x, target + ((k + i) * whole + w), lanes)
    else:
        for k in code.rounds(0, steps):
            if width % lanes and not part:
                code.write(code.zero, target + (k * whole + (whole - lanes)), lanes)
            for n in code.rounds(0, width):
                x = code.load(source + (k * k_stride + n * n_stride), "float")
                code.store(x, target + (k * whole + n))


def _lines(code: Code, source: Val, target: Val, steps: int, width: int, stride: int, pitch: int,
           ) -> None:
    """target[k * pitch + n] = source[k * stride + n] for n < width, else 0 up to the pitch."""
    lanes = code.machine.lanes
    for k in code.rounds(0, steps):
        for w in range(0, width, lanes):
            x = code.read(source + (k * stride + w), min(lanes, width - w))
            code.write(x, target + (k * pitch + w), min(lanes, pitch - w))


@dataclass(frozen=True)
class Window:
    """Columns `left`.. (`columns` of them, some outside of the image) of rows of an image
    (height, width, channels); of each pixel `depth` channels."""

    height: int
    width: int
    channels: int
    left: int
    columns: int
    depth: int

    @property
    def row(self) -> int:
        """Floats in a row of the copy."""
        return self.columns * self.depth


def row_copier(library: Library, window: Window, rows: int) -> str:
    """The function (image, target, first): copies so many rows of the image, from the row `first`
    on, as the window sees them; what is outside of the image is zero, so that no tap tests for
    borders."""
    return library.once("copy_rows", ["image", "target"], ["first"], _copy_rows, window, rows)


def _copy_rows(code: Code, w: Window, rows: int) -> None:
    (image, target), (first,) = code.pointers, code.numbers
    before = max(0, -w.left) * w.depth
    low, high = max(0, w.left), min(w.width, w.left + w.columns)
    pixels = max(0, high - low)
    after = w.row - before - pixels * w.depth
    for i in code.rounds(0, rows):
        row = first + i
        here = target + i * w.row
        # One unsigned comparison: a negative row is a huge one.
        within = code.compare("lt", row, code.value(w.height, "i64"), unsigned=True)
        for inside in code.either(within):
            if not inside:
                zero_fill(code, here, w.row)
                continue
            place = row * (w.width * w.channels) + low * w.channels
            zero_fill(code, here, before)
            source, middle = image + place, here + before
            if w.depth == w.channels:
                _copy(code, source, middle, pixels * w.depth)
            elif pixels:
                for j in code.rounds(0, pixels):
                    _copy(code, source + j * w.channels, middle + j * w.depth, w.depth)
            zero_fill(code, here + (w.row - after), after)


def zero_fill(code: Code, target: Val, count: int) -> None:
    """target[i] = 0 for i < count."""
    _copy(code, None, target, count)


def scatter(code: Code, x: Val, target: Val, step: int, count: int) -> None:
    """target[i * step] = x[i] for the first `count` lanes of a vector."""
    if step == 1:
        code.write(x, target, count)
        return
    for i in range(count):
        code.store(code.lane(x, i), target + i * step)


def _copy(code: Code, source: Val | None, target: Val, count: int) -> None:
    """target[i] = source[i] for i < count; source None stands for zeros."""
    for i, n in code.each(chopped(count, code.machine.lanes)):
        code.write(code.zero if source is None else code.read(source + i, n), target + i, n)
