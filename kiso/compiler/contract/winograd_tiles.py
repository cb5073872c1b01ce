"""Winograd's tiles: where they are in an image, and their transform into V.

V[xi] = (B^T d B)[xi] for a tile d of (m + 2)^2 pixels, (A e A^T)[xi] for m^2 gradients e, channels
in the lanes of vectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from kiso.compiler.contract.emit import Code, Index, Library, Val
from kiso.compiler.contract.shape import Sliding
from kiso.compiler.contract.tiles import chopped
from kiso.compiler.contract.transform import both_sides
from kiso.ops.winograd import winograd_matrices

__all__ = ["Tiles", "apart"]


def apart(floats: int) -> int:
    """So many floats, and on to an odd number of cache lines."""
    return -(-(floats - 16) // 32) * 32 + 16


class Tiles:
    """The tiles of a sum over 3x3 taps, counted through all samples, rows and columns of tiles."""

    def __init__(self, work: Sliding, m: int):
        ((down, across),) = work.phases
        self.work, self.m = work, m
        self.before = -down.in_start, -across.in_start  # pixels of a tile before its first result
        self.rows, self.columns = (-(-n // m) for n in work.out)
        self.count = work.batch * self.rows * self.columns

    def place(self, tile: Index) -> tuple[Index, Index, Index]:
        """Sample, and row and column of a tile's first result."""
        n, rest = tile // (self.rows * self.columns), tile % (self.rows * self.columns)
        return n, rest // self.columns * self.m, rest % self.columns * self.m

    def read(self, code: Code, library: Library, image: Val, tile: Index, target: Val,
             zeros: Val, channels: int, steps: tuple[int, int], results: bool = False) -> None:
        """target[xi][C / L][L] = B^T d B of so many channels from `image` on; `steps` are floats
        from one xi to the next, and from one vector of channels to the next. With `results` the
        image is the gradient of y, and it is A d A^T of the tile's m^2 results."""
        work = self.work
        form = _Form(self.m, results, work.out if results else work.size,
                     work.outputs if results else work.channels, channels, steps[0])
        (row, column, here), (*_, following) = (
            self._corner(form, image, t) for t in (tile, tile + 1))
        whole = code.binary("and", *(_within(code, first, form.side, size)
                                     for first, size in zip((row, column), form.size, strict=True)))
        for inside in code.either(whole):
            function = library.once("tile", ["image", "next", "target", "zeros"],
                                    ["row", "column", "step"], _read, form, inside)
            code.run(function, here, following, target, zeros, row, column, steps[1])

    def _corner(self, form: _Form, image: Val, tile: Index) -> tuple[Index, Index, Val]:
        """Row and column of the first pixel that a tile reads, and where it is."""
        n, row, column = self.place(tile)
        if not form.results:
            row, column = row - self.before[0], column - self.before[1]
        return row, column, image + ((n * form.size[0] + row) * form.size[1] + column) * form.pitch


@dataclass(frozen=True)
class _Form:
    """How a tile is transformed: see `Tiles.read`; of an image of `size` pixels, `pitch` floats
    each."""

    m: int
    results: bool
    size: tuple[int, int]
    pitch: int
    channels: int
    step: int

    @property
    def side(self) -> int:
        """Pixels of a side of the tile."""
        return self.m if self.results else self.m + 2


def _within(code: Code, first: Index, count: int, size: int) -> Val:
    """Whether the places first .. first + count - 1 are in 0 .. size - 1: one comparison, as a
    negative number is a huge one."""
    return code.compare("lt", code.value(first, "i64"),
                        code.value(max(0, size - count + 1), "i64"), unsigned=True)


def _read(code: Code, form: _Form, inside: bool) -> None:
    """The transform for all channels; of a tile that is not inside of the image, pixels that are
    not there come from an array of zeros."""
    (image, following, target, zeros), lanes = code.pointers, code.machine.lanes
    a, _, b = winograd_matrices(form.m)
    matrix, side = a if form.results else b.T, range(form.side)
    rows, columns = ([_within(code, first + i, 1, n) for i in side if not inside]
                     for first, n in zip(code.numbers[:2], form.size, strict=True))
    for c, count in code.each(chopped(form.channels, lanes)):
        d: list[list[Val]] = []
        for i, j in product(side, side[-form.m:]):  # what the next tile reads besides
            code.prefetch(following + (c + (i * form.size[1] + j) * form.pitch))
        for i in side:
            places = [image + (c + (i * form.size[1] + j) * form.pitch) for j in side]
            if not inside:
                places = [code.select(code.binary("and", rows[i], columns[j]), place, zeros)
                          for j, place in enumerate(places)]
            d.append([code.read(place, count) for place in places])
        here = target + code.numbers[2] * (c // lanes)
        for i, row in enumerate(both_sides(code, matrix, d)):
            for j, x in enumerate(row):
                code.write(x, here + (i * (form.m + 2) + j) * form.step, lanes)
