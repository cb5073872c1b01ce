"""Convolution and its gradient with respect to x, channels last, direct (no im2col).

Both are sums over taps and channels (see `shape`) for each pixel: rows of the micro-kernel are
pixels of a few samples, columns are output channels, the reduction runs over tap rows, tap columns
and channels. The weights come packed; a part of the taps is a smaller loop over the same panel. A
unit of work is a panel of a block (see `cut`). Where taps reach beyond the image, the input of the
block is first copied to scratch with a border of zeros, small enough to stay in the second-level
cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from kiso.compiler.contract.cut import choose
from kiso.compiler.contract.emit import Code, Driver, Index, Library, Val
from kiso.compiler.contract.micro import UNROLL, Block, Loop, Stream, micro, needed, rounds
from kiso.compiler.contract.pack import Window, panel_packer, row_copier, zero_fill
from kiso.compiler.contract.shape import Axis, Conv, Phase, Piece, sliding
from kiso.compiler.contract.tiles import Panels, chopped, panels, partition, patch, rounded

__all__ = ["SlidingDriver"]

_MANY = 128 * 1024  # floats of weights: half of a second-level cache
LONG = 576  # terms of a sum; of a longer one each row of taps is added up by itself, since the
             # rounding of a chain of additions grows with its length


class SlidingDriver:
    """The driver of a sum over taps: y from x or, backward, gx from gy. `main` does the work: (x,
    packed, y, arrays for the work after..., scratch, begin, end); `packer` packs W."""

    def __init__(self, library: Library, conv: Conv, backward: bool = False,
                 after: tuple[str, ...] = (), name: str = "conv"):
        self.lib, self.backward, self.after, self.name = library, backward, after, name
        self.work = work = sliding(conv, backward)
        self.lanes = library.machine.lanes
        self.vectors = -(-work.outer // self.lanes)  # of the columns of a group
        self.wholes = self.vectors * self.lanes
        self.cut = choose(library.machine, work)
        self.phases, self.copied = self.cut.phases, self.cut.copied
        self.left, right = self.cut.reach(1) if self.copied else (0, work.size[1] - 1)
        self.window = Window(*work.size, work.channels, self.left, right - self.left + 1,
                             work.channels)
        self.panels = panels(self.cut.panels, work.outer, self.lanes)
        self.packed_size = sum(self._packed(h, w) for h, w in self.phases)  # floats
        self.main = self._write()

    def _write(self) -> Driver:
        cut, work = self.cut, self.work
        code = self.code = self.lib.function(
            self.name, ("x", "w", "y", *needed(self.after), "scratch"))
        begin, end = code.numbers
        each, blocks = work.groups * sum(p.count for p in self.panels), cut.total
        alike = cut.blocks == 1 and (cut.samples_of(True) == cut.samples or blocks == 1)
        for b in code.rounds(begin // each, (end + (each - 1)) // each):
            first = b * each
            ends = begin - first, end - first
            if cut.blocks > 1:
                n, i = b // cut.blocks, b % cut.blocks
                final = code.equal(i, cut.blocks - 1)
            else:
                n, i = b * cut.samples, 0
                final = code.equal(b, blocks - 1)
            for last in (True,) if alike else code.either(final):
                self._block(n, i, last, ends)
        scratch = cut.samples * self._pitch(False) + 16 if self.copied else 0
        return code.driver(blocks * each, scratch)

    def _pitch(self, last: bool) -> int:
        """Floats between samples in scratch: an odd number of cache lines."""
        top, bottom = self.cut.reach(0, last)
        return rounded((bottom - top + 1) * self.window.row) // 32 * 32 + 16

    def _block(self, n: Index, block: Index, last: bool, ends: tuple[Val, Val]) -> None:
        """The panels ends[0].. of a block: samples n.. or rows of sample n."""
        code, work, cut = self.code, self.work, self.cut
        samples, pitch, (top, bottom) = cut.samples_of(last), work.image, cut.reach(0, last)
        image = code.pointers[0] + n * work.image
        first = block * (cut.rows * work.phases[0][0].in_step)
        if self.copied:
            source, image, pitch = image, code.pointers[-1], self._pitch(last)
            copier = row_copier(self.lib, self.window, bottom - top + 1)
            for s in code.rounds(0, samples):
                code.run(copier, source + s * work.image, image + s * pitch, first + top)
        else:
            image, top = image + first * self.window.row, 0
        part = _Part(n, samples, block, image, pitch, top)
        start = 0
        for p in self.panels:
            count = work.groups * p.count
            for u, _ in code.units(chopped(count, 1), ends[0] - start, ends[1] - start):
                base = 0
                g, v = self._panel(p, u)
                for (h, w), (hs, ws) in zip(self.phases, cut.pieces(last), strict=True):
                    steps = h.taps * w.taps * work.inner
                    weights = g * (steps * self.wholes) + v * (self.lanes * steps) + base
                    for rows, columns in product(hs, ws):
                        self._piece(part, p, (h, w), (rows, columns), weights, g, v)
                    base += self._packed(h, w)
            start += count

    def _panel(self, p: Panels, unit: Index) -> tuple[Index, Index]:
        """Group and first vector of a panel."""
        if self.work.groups == 1:
            return 0, unit * p.size + p.vector
        return unit // p.count, unit % p.count * p.size + p.vector

    def _packed(self, h: Axis, w: Axis) -> int:
        """Floats of the packed weights of a phase."""
        return self.work.groups * h.taps * w.taps * self.work.inner * self.wholes

    def _loops(self, phase: Phase, taps: tuple[int, int], step: int) -> tuple[
            tuple[Loop, ...], list[int]]:
        """The reduction over so many taps, and the arguments for its free loops: kernels that
        differ in their taps only are the same function."""
        (h, w), work = phase, self.work
        inner, apart = work.inner, w.tap_step * work.channels
        free = self.cut.exact and taps[0] > 0 and taps[1] * inner > 1 and h.taps * w.taps > 1
        down = Loop(h.taps if free else taps[0], h.tap_step * self.window.row,
                    w.taps * inner * step, free)
        numbers = [taps[0]] if free else []
        if not free or inner % UNROLL:
            return (down, Loop(taps[1], apart, inner * step), Loop(inner, 1, step)), numbers
        if apart == inner:
            return (down, Loop(w.taps * inner, 1, step, True)), [*numbers, taps[1] * inner]
        across = Loop(w.taps, apart, inner * step, True)
        return (down, across, Loop(inner, 1, step)), [*numbers, taps[1]]

    def _piece(self, part: _Part, panel: Panels, phase: Phase, piece: tuple[Piece, Piece],
               weights: Index, g: Index, v: Index) -> None:
        """One panel of weights over all results of a piece of the block."""
        code, work, cut, row = self.code, self.work, self.cut, self.window.row
        _, packed, y, *arrays, _ = code.pointers
        h, w = piece[0].axis, piece[1].axis
        line = work.out[1] * work.outputs  # floats in a row of y
        step = panel.size * self.lanes  # and of weights
        skipped = (piece[0].skipped * phase[1].taps + piece[1].skipped) * work.inner * step
        column = g * work.outer + v * self.lanes
        extents = (part.samples, h.count, w.count)
        one = w.taps * work.inner  # steps of a row of taps
        _, most = patch(self.lib.machine, extents, panel.size, max(1, h.taps * one))
        parts = range(0, h.taps, max(1, LONG // one)) if h.taps * one > LONG else (0,)
        start, share = self._ahead(part, panel, phase, weights, g * self.vectors + v)
        for t, end in zip(parts, (*parts[1:], h.taps), strict=True):
            loops, numbers = self._loops(phase, (end - t, w.taps), step)
            last = end == h.taps
            after = (("sum",) if t else ()) + (self.after if last else ())
            for (s, i, j), size in _patches(code, extents, most):
                points = list(product(*map(range, size)))
                a_rows = tuple(
                    a * part.pitch + p * h.in_step * row + q * w.in_step * work.channels
                    for a, p, q in points)
                c_rows = tuple(a * work.out[0] * line + p * h.out_step * line
                               + q * w.out_step * work.outputs for a, p, q in points)
                pixels = s * cut.rows + (i + piece[0].first) * size[0]
                pixels = pixels * phase[1].count + (j + piece[1].first) * (size[0] * size[1])
                source = (s * part.pitch + i * (h.in_step * row)
                          + j * (w.in_step * work.channels)
                          + (column if work.beside else g * work.inner)
                          + ((h.in_start - part.top) * row
                             + (w.in_start - self.left) * work.channels))
                offset = ((part.n + s) * (work.out[0] * line)
                          + (part.block * cut.rows + i) * (h.out_step * line)
                          + j * (w.out_step * work.outputs) + column
                          + (h.out_start * line + w.out_start * work.outputs))
                fetched = len(points) * share
                each = -(-fetched // rounds(loops))
                block = Block(a_rows, c_rows, panel.width, loops, after=after,
                              ahead=Stream(tuple(range(0, each, 16)), each),
                              joint=piece[1].joint, beside=work.beside,
                              apart=w.out_step // cut.joint * work.outputs)
                code.run(micro(self.lib, block), part.image + (source + t * h.tap_step * row),
                         packed + (weights + skipped + t * phase[1].taps * work.inner * step), y,
                         start + (pixels * share + fetched * t // max(h.taps, 1)),
                         *(arrays if last else ()), offset, column, *numbers)

    def _ahead(self, part: _Part, panel: Panels, phase: Phase, weights: Index, vector: Index,
               ) -> tuple[Val, int]:
        """What is fetched on the way: the next panel where weights are many or no block is next,
        else a panel's share of the next block's input. Where it begins, and floats for a pixel."""
        work, cut, (x, packed, *_), (h, w) = self.work, self.cut, self.code.pointers, phase
        if cut.total == 1 or self._packed(h, w) >= _MANY:
            whole = h.taps * w.taps * work.inner * panel.size * self.lanes
            start, floats = packed + (weights + whole), min(whole, _MANY)
        else:
            n, i = (part.n + part.samples, 0) if cut.blocks == 1 else (part.n, part.block + 1)
            row = n * work.size[0] + i * (cut.rows * h.in_step)
            share = part.samples * work.image // (cut.blocks * work.groups * self.vectors)
            start = x + (row * (work.size[1] * work.channels) + vector * share)
            floats = share * panel.size
        return start, -(-floats // (part.samples * cut.rows * max(w.count, 1)))

    def packer(self, strides: tuple[int, int, int, int]) -> Driver:
        """(w, packed, begin, end), a unit for each panel: packs weights whose element of tap row
        k, tap column l, input channel c of the group and output channel o is at k, l, c, o times
        `strides`. For the gradient of x, o is reduced over and c is the column."""
        code = self.lib.function(f"{self.name}_pack", ("w", "packed"))
        begin, end = code.numbers
        base = first = 0
        for phase in self.phases:
            for p in self.panels:
                count = p.count * self.work.groups
                for u, _ in code.units(chopped(count, 1), begin - first, end - first):
                    self._pack(code, phase, p, base, strides, u)
                first += count
            base += self._packed(*phase)
        return code.driver(first)

    def _pack(self, code: Code, phase: Phase, panel: Panels, base: int,
              strides: tuple[int, int, int, int], unit: Index) -> None:
        """One panel of one group, all taps of a phase whose weights begin at `base`."""
        work, (h, w), joint = self.work, phase, self.cut.joint
        (source, target), (sk, sl, sc, so) = code.pointers, strides
        # Groups follow one another along o.
        over, along, per_group = ((so, sc, work.inner * so) if self.backward and not work.beside
                                  else (sc, so, work.outer * so))
        steps = h.taps * w.taps * work.inner
        g, v = self._panel(panel, unit)
        pack = panel_packer(self.lib, work.inner, panel.width, over, along, joint > 1)
        here = g * per_group + v * (self.lanes * along)
        there = g * (self.wholes * steps) + v * (self.lanes * steps) + base
        if joint > 1:
            zero_fill(code, target + there, steps * self.lanes)
        shift = w.in_step // joint // w.tap_step  # taps from one neighbour to the next
        real = w.taps - (joint - 1) * shift
        for i, j, e in product(range(h.taps), range(max(real, 0)), range(joint)):
            k, l = h.k_start + i * h.k_step, w.k_start + j * w.k_step
            t = i * w.taps + j + e * shift
            code.run(pack, source + (here + (k * sk + l * sl)), target + (
                there + (t * work.inner * panel.size * self.lanes + e * panel.width)))


def _patches(code: Code, extents: tuple[int, ...], most: tuple[int, ...],
             ) -> Iterator[tuple[tuple[Index, ...], tuple[int, ...]]]:
    """First place and size of every patch, at most so large: loops over all axes."""
    groups = [partition(n, m) for n, m in zip(extents, most, strict=True)]
    for s, samples in code.each(groups[0]):
        for i, rows in code.each(groups[1]):
            for j, columns in code.each(groups[2]):
                yield (s, i, j), (samples, rows, columns)


@dataclass(frozen=True)
class _Part:
    """A block: samples n.. or, of sample n, the rows of a number; where its input is (rows from
    `top` on), how many floats samples are apart there."""

    n: Index
    samples: int
    block: Index
    image: Val
    pitch: int
    top: int
