"""Winograd's form of a 3x3 convolution of stride 1, and of its gradient with respect to x.

    V[xi] = (B^T d B)[xi]       for each tile d of (m + 2)^2 pixels, all channels
    M[xi] = V[xi] U[xi]         products of matrices (tiles, C) (C, O), one for each of (m + 2)^2 xi
    y = A^T M A                 m^2 results for each tile, and what is to be done after the sum

    U[xi] = (G g G^T)[xi]       of the filters, once for a step: `packer`

A unit of work is a block of tiles and a group of output channels: the block's V and M stay in the
second-level cache, and a product is that of the micro-kernel, for tiles instead of pixels. Layouts,
with vectors of L lanes: V[xi][C / L][tile][L], U[group][xi][panel][C][columns of the panel],
M[xi][tile][columns of the group]; the places xi are an odd number of cache lines apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import prod

from kiso.compiler.contract.emit import Code, Driver, Index, Library, Val
from kiso.compiler.contract.micro import Block, Loop, Stream, finished, micro, needed, rounds
from kiso.compiler.contract.pack import panel_packer
from kiso.compiler.contract.shape import Conv, Sliding, pieces, sliding
from kiso.compiler.contract.tiles import Group, Machine, Panels, chopped, panels, partition, tiling
from kiso.compiler.contract.transform import both_sides
from kiso.ops.winograd import winograd_matrices

__all__ = ["Tiles", "WinogradDriver", "apart", "direct_cycles", "fits", "product_cycles", "side",
           "worth"]

# Estimated cycles: to transform a vector at a place of an input tile, of results, of filters; and
# multiply-adds of vectors in a cycle.
_READ, _RESULTS, _FILTER, _SPEED = 11, 6, 15, 1.75
# Channels whose products are added up one by one: rounding grows with such a chain. A sum of twice
# the shorter one is cut in two, longer ones in pieces of up to the longer.
_CHAINS = 64, 128
_FEWEST = 4  # channels
_GROUP = 4  # vectors of output channels in a group
_TILES = 32  # in a block: measured, 16 to 128 differ by 2 %


def fits(conv: Conv) -> bool:
    """Whether the form is for a convolution: single rows of pixels have no use for it, and sums of
    few channels are more than 3 times more exact in the direct form."""
    return (conv.kernel == (3, 3) and conv.stride == (1, 1) and conv.dilation == (1, 1)
            and conv.groups == 1 and min(*conv.size, *conv.out) > 1
            and min(conv.channels, conv.outputs) >= _FEWEST)


def side(conv: Conv, backward: bool = False) -> int:
    """m: 4, or 2 where sums of few terms would make the error of 4 more than 3 times that of the
    direct form."""
    work = sliding(conv, backward)
    least = min(*work.size, *work.out)
    return 4 if (work.channels >= 64 and least >= 4) or (work.channels >= 16 and least > 4) else 2


def product_cycles(count: int, rows: int, vectors: int) -> float:
    """Estimated time of so many products of a row of numbers and vectors."""
    return count * rows * vectors / _SPEED


def direct_cycles(machine: Machine, conv: Conv, backward: bool = False) -> float:
    """Estimated time of the direct form, which multiplies the taps inside of the image only."""
    work = sliding(conv, backward)
    taps = prod(sum(p.axis.count * p.axis.taps for p in pieces(axis, size))
                for axis, size in zip(work.phases[0], work.size, strict=True))
    return product_cycles(work.batch * taps, work.channels, -(-work.outputs // machine.lanes))


def worth(machine: Machine, conv: Conv, backward: bool = False) -> bool:
    """Whether this form is estimated to take less time than the direct one."""
    work, lanes, m = sliding(conv, backward), machine.lanes, side(conv, backward)
    chunks, vectors = -(-work.channels // lanes), -(-work.outputs // lanes)
    tile = product_cycles(1, chunks * lanes, vectors) + chunks * _READ + vectors * _RESULTS
    filters = chunks * lanes * vectors * _FILTER
    direct = direct_cycles(machine, conv, backward)
    if 2 * work.outputs <= lanes:  # there those of several pixels share a vector
        direct *= 1.25 * work.outputs / lanes
    return (m + 2) ** 2 * (Tiles(work, m).count * tile + filters) < direct


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
                     work.outputs if results else work.channels, channels, steps)
        (row, column, here), (*_, following) = (
            self._corner(form, image, t) for t in (tile, tile + 1))
        whole = code.binary("and", *(_within(code, first, form.side, size)
                                     for first, size in zip((row, column), form.size, strict=True)))
        for inside in code.either(whole):
            function = library.once("tile", ["image", "next", "target", "zeros"],
                                    ["row", "column"], _read, form, inside)
            code.run(function, here, following, target, zeros, row, column)

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
    steps: tuple[int, int]

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
                     for first, n in zip(code.numbers, form.size, strict=True))
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
        here = target + c // lanes * form.steps[1]
        for i, row in enumerate(both_sides(code, matrix, d)):
            for j, x in enumerate(row):
                code.write(x, here + (i * (form.m + 2) + j) * form.steps[0], lanes)


class WinogradDriver:
    """The driver of a sum over 3x3 taps: y from x or, backward, gx from gy. `main` does the work:
    (x, packed, y, arrays for the work after..., scratch, begin, end); `packer` makes U from W."""

    def __init__(self, library: Library, conv: Conv, backward: bool = False,
                 after: tuple[str, ...] = (), name: str = "winograd", m: int = 4):
        assert fits(conv), conv
        self.lib, self.backward, self.after, self.name, self.m = library, backward, after, name, m
        self.work = work = sliding(conv, backward)
        self.tiles = Tiles(work, m)
        self.places = (m + 2) ** 2
        self.lanes = lanes = library.machine.lanes
        self.chunks = -(-work.channels // lanes)
        self.depth = self.chunks * lanes
        self.blocks = partition(self.tiles.count, _TILES)
        self.most = self.blocks[0].size
        groups = partition(-(-work.outputs // lanes), _GROUP)
        self.groups = panels(groups, work.outputs, lanes)
        self.v_step = apart(self.depth * self.most)
        self.m_step = apart(groups[0].size * lanes * self.most)
        self.u_steps = {g.size: apart(self.depth * g.size * lanes) for g in groups}
        self.packed_size = sum(self.places * self.u_steps[g.size] * g.count for g in groups)
        self.main = self._write()

    def _panels(self, group: Panels) -> tuple[tuple[Group, ...], dict[int, int]]:
        """The panels of a group, in vectors, and for each size the most tiles of a kernel."""
        return tiling(self.lib.machine, self.most, group.size * self.lanes, self.depth)

    def _filters(self, group: Panels, i: Index) -> Index:
        """Where U of the i-th of these groups begins."""
        before = sum(self.places * self.u_steps[g.size] * g.count for g in self.groups
                     if g.vector < group.vector)
        return i * (self.places * self.u_steps[group.size]) + before

    def _write(self) -> Driver:
        code = self.code = self.lib.function(
            self.name, ("x", "w", "y", *needed(self.after), "scratch"))
        begin, end = code.numbers
        each = sum(g.count for g in self.groups)
        code.write(code.zero, code.pointers[-1], self.lanes)
        first = 0
        for block in self.blocks:
            low, high = begin // each - first, (end + (each - 1)) // each - first
            for i, _ in code.units(chopped(block.count, 1), low, high):
                before = (i + first) * each
                self._block(i * block.size + block.start, block.size,
                            (begin - before, end - before))
            first += block.count
        return code.driver(first * each, 16 + self.places * (self.v_step + self.m_step))

    def _block(self, start: Index, count: int, ends: tuple[Val, Val]) -> None:
        """The groups ends[0].. of `count` tiles from `start` on."""
        code, lanes = self.code, self.lanes
        x, packed, *_, zeros = code.pointers
        v = zeros + 16
        sums = v + self.places * self.v_step
        for t in code.rounds(0, count):
            self.tiles.read(code, self.lib, x, start + t, v + t * lanes, zeros,
                            self.work.channels, (self.v_step, count * lanes))
        first = 0
        for g in self.groups:
            for i, _ in code.units(chopped(g.count, 1), ends[0] - first, ends[1] - first):
                self._products(g, v, packed + self._filters(g, i), sums, count)
                for t in code.rounds(0, count):
                    self._results(g, sums + t * (g.size * lanes), start + t,
                                  (i * g.size + g.vector) * lanes)
            first += g.count

    def _products(self, group: Panels, v: Val, u: Val, sums: Val, count: int) -> None:
        """M[xi] = V[xi] U[xi] for all xi."""
        code, lanes = self.code, self.lanes
        width = group.size * lanes
        pieces, most = self._panels(group)
        chain = _CHAINS[self.depth > 2 * _CHAINS[0]]
        parts = partition(self.chunks, max(1, chain // lanes))
        for xi in code.rounds(0, self.places):
            for p, size in code.each(pieces):
                step = size * lanes
                each = -(-parts[0].size * lanes * step // count)  # floats to fetch ahead, a tile
                for c, chunks, first, _ in code.sums(parts):
                    a = v + (xi * self.v_step + c * (count * lanes))
                    here = u + (xi * self.u_steps[group.size] + p * (lanes * self.depth)
                                + c * (lanes * step))
                    loops = Loop(chunks, count * lanes, lanes * step), Loop(lanes, 1, step)
                    for t, rows in code.each(partition(count, most[size])):
                        ahead = -(-rows * each // rounds(loops))
                        block = Block(tuple(r * lanes for r in range(rows)),
                                      tuple(r * width for r in range(rows)), step, loops,
                                      after=() if first else ("sum",),
                                      ahead=Stream(tuple(range(0, ahead, 16)), ahead))
                        code.run(micro(self.lib, block), a + t * lanes, here, sums,
                                 here + (chunks * lanes * step + t * each),
                                 xi * self.m_step + (t * width + p * lanes), 0)

    def _results(self, group: Panels, sums: Val, tile: Index, column: Index) -> None:
        """The results of a tile, those that are inside of y."""
        code, work, (_, i, j) = self.code, self.work, self.tiles.place(tile)
        _, _, y, *arrays, _ = code.pointers
        offset, following = (((n * work.out[0] + i) * work.out[1] + j) * work.outputs + column
                             for n, i, j in map(self.tiles.place, (tile, tile + 1)))
        rows, columns = (size - first for size, first in zip(
            work.out, (code.value(i, "i64"), code.value(j, "i64")), strict=True))
        whole = code.binary("and", rows > self.m - 1, columns > self.m - 1)
        for inside in code.either(whole):
            function = self.lib.once(
                "results", ["sums", "y", *needed(self.after)],
                ["offset", "next", "column", "rows", "columns"], self._put, group.width, inside)
            code.run(function, sums, y, *arrays, offset, following, column, rows, columns)

    def _put(self, code: Code, width: int, inside: bool) -> None:
        """y = A^T M A, for all columns of a group. Where the next tile's results go, and what the
        work after them reads there, is fetched meanwhile."""
        (sums, y, *arrays), (offset, following, column, rows, columns) = code.pointers, code.numbers
        fetched = y, *(a for name, a in zip(needed(self.after), arrays, strict=True)
                       if name != "bias")
        matrix, side, work = winograd_matrices(self.m)[0].T, range(self.m + 2), self.work
        for v, lanes in code.each(chopped(width, self.lanes)):
            found = both_sides(code, matrix, [[
                code.read(sums + (v + (i * (self.m + 2) + j) * self.m_step), self.lanes)
                for j in side] for i in side])
            for i, j in product(range(self.m), range(self.m)):
                place = (i * work.out[1] + j) * work.outputs + v
                for array in fetched:
                    code.prefetch(array + (following + place))
                here = offset + place
                there = code.binary("and", rows > i, columns > j)
                for real in (True,) if inside else code.either(there):
                    if real:
                        x = finished(code, found[i][j], self.after, y, here, column + v, lanes,
                                     arrays)
                        code.write(x, y + here, lanes)

    def packer(self, strides: tuple[int, int, int, int]) -> Driver:
        """(w, packed, scratch, begin, end), a unit for each group and vector of input channels: U
        of weights whose element of tap row k, tap column l, input channel c and output channel o is
        at k, l, c, o times `strides`. For the gradient of x, o is reduced over and c the column."""
        code = self.lib.function(f"{self.name}_pack", ("w", "packed", "scratch"))
        w, packed, area = code.pointers
        (begin, end), lanes, first = code.numbers, self.lanes, 0
        sc, so = strides[2:][::-1] if self.backward else strides[2:]  # of rows and columns of U
        rows, columns = ([(axis.k_start + k * axis.k_step) * step for k in range(3)]
                         for axis, step in zip(self.work.phases[0], strides, strict=False))
        rest = self.work.channels % lanes
        for g in self.groups:
            for unit, _ in code.units(chopped(g.count * self.chunks, 1), begin - first,
                                      end - first):
                i, chunk = unit // self.chunks, unit % self.chunks
                source = w + (chunk * (lanes * sc) + (i * g.size + g.vector) * (lanes * so))
                taps = tuple(k + l for k in rows for l in columns)
                for last in code.either(code.equal(chunk, self.chunks - 1)) if rest else (False,):
                    count, places, step, here = rest if last else lanes, taps, sc, source
                    if so != 1:  # columns are made neighbours first
                        step, here = g.size * lanes, area
                        places = tuple(range(0, 9 * lanes * step, lanes * step))
                        pack = panel_packer(self.lib, count, g.width, sc, so)
                        for tap, place in zip(taps, places, strict=True):
                            code.run(pack, source + tap, area + place)
                    function = self.lib.once("filters", ["w", "packed"], ["first"],
                                             self._transform, places, step, g, count)
                    code.run(function, here, packed + self._filters(g, i), chunk * lanes)
            first += g.count * self.chunks
        return code.driver(first, 9 * lanes * self.groups[0].size * lanes)

    def _transform(self, code: Code, taps: tuple[int, ...], step: int, group: Panels, count: int,
                   ) -> None:
        """U = G g G^T of `count` input channels, `step` apart, and the output channels of a group;
        zeros for channels that are there to fill a vector."""
        (w, packed), (first,), lanes = code.pointers, code.numbers, self.lanes
        matrix, zeros = winograd_matrices(self.m)[1], [[code.zero] * (self.m + 2)] * (self.m + 2)
        for panel in _each(self._panels(group)[0]):
            for v in range(panel.size):
                o, size = (panel.start + v) * lanes, panel.size * lanes
                target = packed + (first * size + (panel.start * self.depth + v) * lanes)

                def put(k: Index, u: list[list[Val]], here: Val = target, size: int = size) -> None:
                    for xi, x in enumerate(x for row in u for x in row):
                        code.write(x, here + (k * size + xi * self.u_steps[group.size]), lanes)
                for k in code.rounds(0, count):
                    g = [code.read(w + (k * step + o + tap), min(lanes, group.width - o))
                         for tap in taps]
                    put(k, both_sides(code, matrix, [g[:3], g[3:6], g[6:]]))
                for k in range(count, lanes):
                    put(k, zeros)


def _each(groups: tuple[Group, ...]) -> list[Group]:
    """The pieces of a partition, one by one."""
    return [Group(g.start + i * g.size, 1, g.size) for g in groups for i in range(g.count)]
