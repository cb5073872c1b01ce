"""Winograd's form of a 3x3 convolution of stride 1, and of its gradient with respect to x.

    V[xi] = (B^T d B)[xi]       for each tile d of (m + 2)^2 pixels, all channels
    M[xi] = V[xi] U[xi]         products of matrices (tiles, C) (C, O), one for each of (m + 2)^2 xi
    y = A^T M A                 m^2 results for each tile, and what is to be done after the sum

    U[xi] = (G g G^T)[xi]       of the filters, once for a step: `packer`

A unit of work is a block of tiles and a group of output channels; a product is that of the
micro-kernel, for tiles instead of pixels. U of all filters is made first, V of a block just before
its products; where tiles are `few`, V of all tiles first and U of a group just before. Layouts, in
vectors of L lanes and chains of channels that are added up one by one, a kernel's tiles side by
side: V[chain][xi][tiles][C / L][tile][L], U[group][chain][xi][panel][C][columns of the panel],
M[xi][tile][columns of the group]; the places xi are an odd number of cache lines apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import prod

from kiso.compiler.contract.emit import Code, Driver, Index, Library, Val
from kiso.compiler.contract.micro import Block, Loop, Stream, finished, micro, needed, rounds
from kiso.compiler.contract.pack import panel_packer
from kiso.compiler.contract.shape import Conv, pieces, sliding
from kiso.compiler.contract.tiles import Group, Machine, Panels, chopped, panels, partition, tiling
from kiso.compiler.contract.transform import both_sides
from kiso.compiler.contract.winograd_tiles import Tiles, apart
from kiso.ops.winograd import winograd_matrices

__all__ = ["WinogradDriver", "direct_cycles", "few", "fits", "product_cycles", "side", "worth"]

# Estimated cycles: to transform a vector at a place of an input tile, of results, of filters; to
# read a vector of such filters from memory; and multiply-adds of vectors in a cycle.
_READ, _RESULTS, _FILTER, _FETCH, _SPEED = 11, 6, 15, 13, 1.75
# Channels whose products are added up one by one: rounding grows with such a chain. A sum of twice
# the shorter one is cut in two, longer ones in pieces of up to the longer.
_CHAINS = 64, 128
_FEWEST = 4  # channels
_GROUP = 4, 2  # vectors of output channels in a group; where tiles are few
_TILES = 32, 256  # in a block: measured, 16 to 128 differ by 2 %; where tiles are few
_LARGE = 1 << 16  # pairs of channels, of which U does not stay in the third-level cache


def fits(conv: Conv) -> bool:
    """Whether the form is for a convolution: single rows of pixels have no use for it, and sums of
    few channels are more than 3 times more exact in the direct form."""
    return (conv.kernel == (3, 3) and conv.stride == (1, 1) and conv.dilation == (1, 1)
            and min(*conv.size, *conv.out) > 1
            and min(conv.channels, conv.outputs) >= _FEWEST * conv.groups)


def side(conv: Conv, backward: bool = False) -> int:
    """m: 4, or 2 where sums of few terms would make the error of 4 more than 3 times that of the
    direct form."""
    work = sliding(conv, backward)
    least = min(*work.size, *work.out)
    return 4 if (work.inner >= 64 and least >= 4) or (work.inner >= 16 and least > 4) else 2


def few(conv: Conv, backward: bool = False) -> bool:
    """Whether tiles are so few that V is made first: it is smaller than U, which is large."""
    work = sliding(conv, backward)
    return (conv.channels * conv.outputs > _LARGE * conv.groups
            and Tiles(work, side(conv, backward)).count < work.outer)


def product_cycles(count: int, rows: int, vectors: int) -> float:
    """Estimated time of so many products of a row of numbers and vectors."""
    return count * rows * vectors / _SPEED


def direct_cycles(machine: Machine, conv: Conv, backward: bool = False) -> float:
    """Estimated time of the direct form, which multiplies the taps inside of the image only."""
    work = sliding(conv, backward)
    taps = prod(sum(p.axis.count * p.axis.taps for p in pieces(axis, size))
                for axis, size in zip(work.phases[0], work.size, strict=True))
    return product_cycles(work.batch * taps, work.inner, -(-work.outer // machine.lanes))


def worth(machine: Machine, conv: Conv, backward: bool = False, kept: bool = False) -> bool:
    """Whether this form is estimated to take less time than the direct one. kept: U is there."""
    work, lanes, m = sliding(conv, backward), machine.lanes, side(conv, backward)
    chunks, vectors = -(-work.inner // lanes), -(-work.outer // lanes)
    tile = product_cycles(1, chunks * lanes, vectors) + chunks * _READ + vectors * _RESULTS
    filters = (m + 2) ** 2 * chunks * lanes * vectors
    direct = direct_cycles(machine, conv, backward)
    if 2 * work.outer <= lanes:  # there those of several pixels share a vector
        direct *= 1.25 * work.outer / lanes
    products = (m + 2) ** 2 * Tiles(work, m).count * tile
    return (max(products, filters * _FETCH) if kept else products + filters * _FILTER) < direct


class WinogradDriver:
    """The driver of a sum over 3x3 taps: y from x or, backward, gx from gy. `main` does the work:
    (x, packed, y, arrays for the work after..., scratch, begin, end); `packer` makes U from W. If
    tiles are `few`, `packer` makes V from x, and main is (V, W, y, ...). W's element of tap row k,
    tap column l, input channel c and output channel o is at k, l, c, o times `strides`."""

    def __init__(self, library: Library, conv: Conv, strides: tuple[int, int, int, int],
                 backward: bool = False, after: tuple[str, ...] = (), name: str = "winograd",
                 m: int = 4, few: bool = False):
        assert fits(conv), conv
        self.lib, self.strides, self.backward = library, strides, backward
        self.after, self.name, self.m, self.few = after, name, m, few
        self.work = work = sliding(conv, backward)
        self.tiles = Tiles(work, m)
        self.places = (m + 2) ** 2
        self.lanes = lanes = library.machine.lanes
        self.chunks = -(-work.inner // lanes)
        chain = _CHAINS[self.chunks * lanes > 2 * _CHAINS[0]] // lanes
        self.parts = chopped(self.chunks, max(1, chain))
        self.depth = self.parts[0].size * lanes
        self.blocks = partition(self.tiles.count, _TILES[few])
        self.most = self.blocks[0].size
        groups = partition(-(-work.outer // lanes), _GROUP[few])
        self.groups = panels(groups, work.outer, lanes)
        self.rows = min(rows for g in self.groups for rows in self._panels(g)[1].values())
        self.v_step = apart(self.depth * self.most)
        self.m_step = apart(groups[0].size * lanes * self.most)
        self.u_steps = {g.size: apart(self.depth * g.size * lanes) for g in groups}
        self.area = 9 * lanes * groups[0].size * lanes  # for filters of a vector of channels
        self.chains = sum(p.count for p in self.parts)
        self.block = self.chains * self.places * self.v_step
        size = sum(b.count for b in self.blocks) * self.block if few else sum(
            self.chains * self.places * self.u_steps[g.size] * g.count for g in groups)
        self.packed_size = conv.groups * size
        filters = conv.outputs // conv.groups * strides[3]  # of a group, from one to the next
        self.steps = {"w": work.inner if few else filters, "packed": size}  # of the packer
        main = {"x": size if few else work.inner, "w": filters if few else size,
                **dict.fromkeys(("y", *needed(after)), work.outer)}
        self.main = library.grouped(self._write(), conv.groups, main)

    def _panels(self, group: Panels) -> tuple[tuple[Group, ...], dict[int, int]]:
        """The panels of a group, in vectors, and for each size the most tiles of a kernel."""
        return tiling(self.lib.machine, self.most, group.size * self.lanes, self.depth)

    def _place(self, group: Panels, i: Index, chunk: Index) -> Index:
        """Where U of the i-th of these groups begins, from the chain with this vector on."""
        before = sum(self.chains * self.places * self.u_steps[g.size] * g.count
                     for g in self.groups if g.vector < group.vector)
        return (i * self.chains + self._chain(chunk)) * (
            self.places * self.u_steps[group.size]) + before

    def _chain(self, chunk: Index) -> Index:
        """The chain that a vector of channels belongs to."""
        return chunk // self.parts[0].size

    def _each_block(self, code: Code, units: int,
                    ) -> Iterator[tuple[Index, Index, int, tuple[Val, Val]]]:
        """Of each block that has some of the driver's units, of which every block has so many:
        where its V is, if tiles are few; first tile, tiles, which of its units."""
        (begin, end), first = code.numbers, 0
        for block in self.blocks:
            low, high = begin // units - first, (end + (units - 1)) // units - first
            for i, _ in code.units(chopped(block.count, 1), low, high):
                before = (i + first) * units
                yield ((i + first) * self.block, i * block.size + block.start, block.size,
                       (begin - before, end - before))
            first += block.count

    def _write(self) -> Driver:
        code = self.code = self.lib.function(
            self.name, ("x", "w", "y", *needed(self.after), "scratch"))
        x, w, *_, scratch = code.pointers
        each = sum(g.count for g in self.groups)
        sums = scratch + 16
        other = sums + self.places * self.m_step  # V of a block, or U of a chain
        size = self.places * self.u_steps[self.groups[0].size] + self.area
        code.write(code.zero, scratch, self.lanes)
        for place, start, count, ends in self._each_block(code, each):
            v = x + place if self.few else other
            if not self.few:
                self._images(code, x, v, start, count)
            first = 0
            for g in self.groups:
                for i, _ in code.units(chopped(g.count, 1), ends[0] - first, ends[1] - first):
                    self._products(g, i, v, other if self.few else w, sums, count)
                    for t in code.rounds(0, count):
                        self._results(g, sums + t * (g.size * self.lanes), start + t,
                                      (i * g.size + g.vector) * self.lanes)
                first += g.count
        return code.driver(sum(b.count for b in self.blocks) * each, 16 + self.places * self.m_step
                           + (size if self.few else self.block))

    def _images(self, code: Code, x: Val, v: Val, start: Index, count: int,
                ends: tuple[Val, Val] | None = None) -> None:
        """V of `count` tiles, or of those pieces of them that are units of a driver."""
        lanes, blocks = self.lanes, partition(count, self.rows)
        for t, rows in code.units(blocks, *ends) if ends else code.each(blocks):
            for c, chunks, _, last in code.sums(self.parts):
                target = v + (self._chain(c) * (self.places * self.v_step) + t * (chunks * lanes))
                rest = self.chunks * lanes - self.work.inner if last else 0
                for r in code.rounds(0, rows):
                    self.tiles.read(code, self.lib, x + c * lanes, start + t + r,
                                    target + r * lanes, code.pointers[-1],
                                    chunks * lanes - rest, (self.v_step, rows * lanes))

    def _products(self, group: Panels, i: Index, v: Val, u: Val, sums: Val, count: int) -> None:
        """M[xi] = V[xi] U[xi] for all xi, one chain of channels after the other. On the way the
        next kernels' part of U is fetched; if tiles are few, U of each chain is made first, and
        that of V is fetched."""
        code, lanes, width = self.code, self.lanes, group.size * self.lanes
        area = u + self.places * self.u_steps[self.groups[0].size]
        for c, chunks, first, _ in code.sums(self.parts):
            b = u if self.few else u + self._place(group, i, c)
            for chunk in code.rounds(0, chunks) if self.few else ():
                self._filters(code, code.pointers[1], group, i, c + chunk, u, chunk, area)
            for xi in code.rounds(0, self.places):
                for p, size in code.each(self._panels(group)[0]):
                    step = size * lanes
                    here = b + (xi * self.u_steps[group.size] + p * (lanes * self.depth))
                    each = -(-chunks * lanes * step // count)  # floats to fetch, a tile
                    for t, rows in code.each(partition(count, self.rows)):
                        loops = Loop(chunks, rows * lanes, lanes * step), Loop(lanes, 1, step)
                        a = v + ((self._chain(c) * self.places + xi) * self.v_step
                                 + t * (chunks * lanes))
                        floats = rows * (chunks * lanes if self.few else each)
                        ahead = a + floats
                        if not self.few:
                            ahead = here + (chunks * lanes * step + t * each)
                        code.run(self._kernel(rows, width, loops, floats, first), a, here, sums,
                                 ahead, xi * self.m_step + (t * width + p * lanes), 0)

    def _kernel(self, rows: int, width: int, loops: tuple[Loop, Loop], floats: int,
                first: bool) -> str:
        """The micro-kernel of so many tiles, which fetches so many floats ahead."""
        ahead = -(-floats // rounds(loops))
        return micro(self.lib, Block(
            tuple(r * self.lanes for r in range(rows)), tuple(r * width for r in range(rows)),
            loops[1].b, loops, after=() if first else ("sum",),
            ahead=Stream(tuple(range(0, ahead, 16)), ahead)))

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

    def packer(self) -> Driver:
        """The packer, of all groups."""
        return self.lib.grouped(self._pack(), self.work.groups, self.steps)

    def _pack(self) -> Driver:
        """(w, packed, scratch, begin, end): U of all filters. A unit is a group and a vector of
        input channels. Where tiles are few, V of all tiles: w is x, a unit some tiles."""
        code = self.lib.function(f"{self.name}_pack", ("w", "packed", "scratch"))
        (w, packed, area), (begin, end), first = code.pointers, code.numbers, 0
        if self.few:
            code.write(code.zero, area, self.lanes)
            units = sum(g.count for g in partition(self.most, self.rows))
            for v, start, count, ends in self._each_block(code, units):
                self._images(code, w, packed + v, start, count, ends)
            return code.driver(units * sum(b.count for b in self.blocks), 16)
        for g in self.groups:
            for unit, _ in code.units(chopped(g.count * self.chunks, 1), begin - first,
                                      end - first):
                i, chunk = unit // self.chunks, unit % self.chunks
                self._filters(code, w, g, i, chunk, packed + self._place(g, i, chunk),
                              chunk % self.parts[0].size, area)
            first += g.count * self.chunks
        return code.driver(first, self.area)

    def _filters(self, code: Code, w: Val, g: Panels, i: Index, chunk: Index, u: Val, at: Index,
                 area: Val) -> None:
        """U of a vector of input channels for the i-th of these groups, the at-th vector in u. For
        the gradient of x, o is reduced over and c the column."""
        lanes, strides = self.lanes, self.strides
        sc, so = strides[2:][::-1] if self.backward else strides[2:]  # of rows and columns of U
        rows, columns = ([(axis.k_start + k * axis.k_step) * step for k in range(3)]
                         for axis, step in zip(self.work.phases[0], strides, strict=False))
        rest = self.work.inner % lanes
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
            code.run(function, here, u, at * lanes)

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
