"""Winograd's form of the gradient of 3x3 weights, for stride 1.

    V[xi] = (B^T d B)[xi]       for each tile d of (m + 2)^2 pixels of x, all input channels
    D[xi] = (A e A^T)[xi]       for the tile e of m^2 pixels of gy over it, all output channels
    U[xi] = sum over tiles of V[xi]^T D[xi]      products of matrices (C, tiles) (tiles, O)
    gw = G^T U G                for each pair of channels

A block of tiles at a time, and of it a panel of output channels at a time, so that V, D and U of
these stay in the caches. Rows of the micro-kernel are input channels, columns output
channels, the reduction runs over the tiles of the block. Two ways for threads to share the work:

    parts      each thread adds up its blocks of tiles in arrays U of its own; `total` adds these
               in a fixed order, and makes gw of them
    channels   each computes gw of its input channels, over all tiles, and transforms all of gy
               for it: for large weights, where adding up parts would cost more, and few tiles

Layouts, with vectors of L lanes: V[xi][C / L][tile][L], D[xi][tile][columns of the panel],
U[xi][panel][C][columns of the panel]; the places xi are an odd number of cache lines apart.
"""

from __future__ import annotations

from math import prod

from kiso.compiler.contract.emit import Code, Driver, Index, Library, Val
from kiso.compiler.contract.micro import Block, Loop, micro
from kiso.compiler.contract.pack import scatter
from kiso.compiler.contract.shape import Conv, sliding
from kiso.compiler.contract.tiles import Machine, Panels, chopped, panels, partition, tiling
from kiso.compiler.contract.transform import both_sides
from kiso.compiler.contract.winograd import direct_cycles, fits, product_cycles
from kiso.compiler.contract.winograd_tiles import Tiles, apart
from kiso.ops.winograd import winograd_matrices

__all__ = ["WinogradWeights", "shared_parts", "weights_side", "weights_worth"]

_TILES = 64  # in a block; measured, 32 are up to 5 % slower, 128 take twice the scratch for as much
_CHANNELS = 128  # a thread does at a time on the way by channels; 64 are up to 10 % slower
_PARTS = 4
_FAIR = 64  # channels, from which on there are vectors of them for 4 threads
_SMALL = 1 << 14  # pairs of channels, up to which threads share parts
_TERMS = 512, 4096  # of a sum, from which on tiles are of 4 x 4 results: of large weights, small
# Estimated cycles, for each xi: to transform a vector of a tile; to read one of U, and make gw.
_TILE, _SUM = 11, 7


def weights_side(conv: Conv) -> int:
    """m: 4, or 2 where sums of few terms would make the error of 4 more than 3 times that of the
    direct form."""
    pixels = conv.batch * min(prod(conv.size), prod(conv.out))
    # Of small weights the direct form adds up parts.
    few = _TERMS[conv.channels * conv.outputs <= _SMALL * conv.groups]
    return 4 if pixels >= few and min(*conv.size, *conv.out) > 2 else 2


def shared_parts(conv: Conv) -> int:
    """How many parts, 0 for the way by channels: the blocks must be enough for fair shares (the
    fewer the channels, the less fair are theirs), and the sums stay in the third-level cache."""
    blocks = -(-Tiles(sliding(conv), weights_side(conv)).count // _TILES)
    enough = _PARTS if conv.channels < _FAIR else 2 * _PARTS + 1
    small = conv.channels * conv.outputs <= _SMALL * conv.groups
    return _PARTS if blocks >= enough and small else 0


def weights_worth(machine: Machine, conv: Conv) -> bool:
    """Whether this form is estimated to take less time than the direct one."""
    work = sliding(conv)
    chunks, vectors = (-(-n // machine.lanes) for n in (work.inner, work.outer))
    parts, m = shared_parts(conv), weights_side(conv)
    repeats = 1 if parts else -(-work.inner // _CHANNELS)
    tile = product_cycles(1, work.inner, vectors) + _TILE * (chunks + repeats * vectors)
    sums = max(1, parts) * work.inner * vectors * _SUM
    return ((m + 2) ** 2 * (Tiles(work, m).count * tile + sums) < direct_cycles(machine, conv))


class WinogradWeights:
    """`main` is (x, gy, sums, scratch, begin, end), and sums is U of each part, `size` floats; a
    unit is a part. `total` makes gw of them: (sums, gw, begin, end), a unit is an input channel.
    For 0 parts `main` is (x, gy, gw, scratch, begin, end), units are vectors of input channels.
    gw's element of tap row k, tap column l, channels c and o is at k, l, c, o times `strides`."""

    def __init__(self, library: Library, conv: Conv, parts: int,
                 strides: tuple[int, int, int, int], name: str = "winograd_gw"):
        assert fits(conv), conv
        self.lib, self.strides, self.name = library, strides, name
        self.work = work = sliding(conv)
        self.m = m = weights_side(conv)
        self.tiles = Tiles(work, m)
        self.places = (m + 2) ** 2
        self.lanes = lanes = library.machine.lanes
        self.blocks = partition(self.tiles.count, _TILES)
        self.parts = min(parts, sum(b.count for b in self.blocks))
        most = self.blocks[0].size
        self.chunks = chopped(work.inner, lanes)
        count = sum(c.count for c in self.chunks)
        self.group = count if parts else min(count, -(-_CHANNELS // lanes))
        groups, self.rows = tiling(library.machine, min(work.inner, lanes), work.outer, most)
        self.panels = panels(groups, work.outer, lanes)
        self.depth = self.group * lanes
        # One block alone is done with a panel of U before the next.
        self.kept = bool(parts) or most < self.tiles.count
        self.v_step = apart(self.depth * most)
        self.d_step = apart(groups[0].size * lanes * most)
        vectors = -(-work.outer // lanes) if self.kept else groups[0].size
        self.u_step = apart(self.depth * vectors * lanes)
        self.size = self.places * self.u_step
        self.sums_size = conv.groups * self.parts * self.size
        self.steps = {"x": work.inner, "gy": work.outer, "gw": work.outer * strides[3],
                      "sums": self.parts * self.size}
        self.main = library.grouped(self._write(count), conv.groups, self.steps)

    def _write(self, units: int) -> Driver:
        code = self.code = self.lib.function(
            self.name, ("x", "gy", "sums" if self.parts else "gw", "scratch"))
        (_, _, target, zeros), (begin, end) = code.pointers, code.numbers
        code.write(code.zero, zeros, self.lanes)
        scratch = 16 + self.places * (self.v_step + self.d_step)
        if not self.parts:
            for g in code.rounds(0, (end - begin + (self.group - 1)) // self.group):
                low = g * self.group + begin
                high = code.select(end < low + self.group, end, low + self.group)
                for start, count, first, last in code.sums(self.blocks):
                    self._block(start, count, (low, high), zeros + scratch, first, last)
            return code.driver(units, scratch + self.size)
        every = sum(b.count for b in self.blocks)
        for part in code.rounds(begin, end):
            low, high = (p * every // self.parts for p in (part, part + 1))
            for first, ends in ((True, (low, low + 1)), (False, (low + 1, high))):
                for start, count in code.units(self.blocks, *ends):
                    self._block(start, count, (0, units), target + part * self.size, first)
        return code.driver(self.parts, scratch)

    def _block(self, start: Index, count: int, ends: tuple[Index, Index], sums: Val, first: bool,
               last: bool = False) -> None:
        """U of the input channels in the vectors `ends`, from `count` tiles; with `last` gw."""
        code, lanes = self.code, self.lanes
        x, gy, gw, zeros = code.pointers
        v, before = zeros + 16, ends[0] * lanes
        d = v + self.places * self.v_step
        for t in code.rounds(0, count):
            for c, size in code.units(self.chunks, *ends):
                self.tiles.read(code, self.lib, x + c, start + t, v + (c - before) * count
                                + t * lanes, zeros, size, (self.v_step, 0))
        for g in self.panels:
            for i in code.rounds(0, g.count):
                column = (i * g.size + g.vector) * lanes
                for t in code.rounds(0, count):
                    self.tiles.read(code, self.lib, gy + column, start + t, d + t * g.size * lanes,
                                    zeros, g.width, (self.d_step, lanes), results=True)
                here = sums + column * self.depth if self.kept else sums
                self._products(g, v, d, here, count, ends, first)
                for c, size in code.units(self.chunks, *ends) if last else ():
                    for r in code.rounds(0, size):
                        self._gw(code, g, here + (c + r - before) * (g.size * lanes),
                                 gw, c + r, column, 1)

    def _products(self, panel: Panels, v: Val, d: Val, sums: Val, count: int,
                  ends: tuple[Index, Index], first: bool) -> None:
        """U[xi] = V[xi]^T D[xi] for all xi, or added to what is there."""
        code, lanes, width = self.code, self.lanes, panel.size * self.lanes
        for xi in code.rounds(0, self.places):
            for c, size in code.units(self.chunks, *ends):
                row = c - ends[0] * lanes
                for r, rows in code.each(partition(size, self.rows[panel.size])):
                    block = Block(tuple(range(rows)), tuple(k * width for k in range(rows)), width,
                                  (Loop(count, lanes, width),), after=() if first else ("sum",))
                    code.run(micro(self.lib, block), v + (xi * self.v_step + row * count + r),
                             d + xi * self.d_step, sums, xi * self.u_step + (row + r) * width, 0)

    def total(self, name: str = "winograd_gw_sum") -> Driver:
        """The driver that adds up the parts."""
        code = self.lib.function(name, ("sums", "gw"))
        (sums, gw), (begin, end) = code.pointers, code.numbers
        for c in code.rounds(begin, end):
            for g in self.panels:
                for i in code.rounds(0, g.count):
                    column = (i * g.size + g.vector) * self.lanes
                    here = sums + (column * self.depth + c * (g.size * self.lanes))
                    self._gw(code, g, here, gw, c, column, self.parts)
        return self.lib.grouped(code.driver(self.work.inner), self.work.groups, self.steps)

    def _gw(self, code: Code, panel: Panels, sums: Val, gw: Val, c: Index, column: Index,
            parts: int) -> None:
        """gw of input channel c and the columns of a panel."""
        function = self.lib.once("weights", ["sums", "gw"], [], self._row, panel.width, parts)
        code.run(function, sums, gw + (c * self.strides[2] + column * self.strides[3]))

    def _row(self, code: Code, width: int, parts: int) -> None:
        """gw = G^T U G, U the sum of parts."""
        (sums, gw), (sk, sl, _, so) = code.pointers, self.strides
        side = range(self.m + 2)
        for o, count in code.each(chopped(width, self.lanes)):
            def whole(i: int, j: int, o: Index = o) -> Val:
                here = sums + (o + (i * (self.m + 2) + j) * self.u_step)
                x = code.read(here, self.lanes)
                for part in range(1, parts):
                    x = x + code.read(here + part * self.size, self.lanes)
                return x
            found = both_sides(code, winograd_matrices(self.m)[1].T,
                               [[whole(i, j) for j in side] for i in side])
            for k, row in enumerate(found):
                for l, x in enumerate(row):
                    scatter(code, x, gw + (o * so + (k * sk + l * sl)), so, count)
