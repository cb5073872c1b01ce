"""Convolution and its gradient with respect to x, channels last, direct (no im2col).

Both are sums over taps and channels (see `shape`) for each pixel: rows of the micro-kernel are
pixels of a few samples, columns are output channels, the reduction runs over tap rows, tap columns
and channels. The weights come packed; a part of the taps is a smaller loop over the same panel. A
unit of work is a panel of a block (see `cut`). Where taps reach beyond the image, the input of the
block is first copied to scratch with a border of zeros, small enough to stay in the second-level
cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

from kiso.compiler.contract.cut import Sliding, choose
from kiso.compiler.contract.driver import Driver, column_width, rounded
from kiso.compiler.contract.emit import Group, Library, partition
from kiso.compiler.contract.halo import Window, row_copier, zero_fill
from kiso.compiler.contract.micro import (
    PLAIN,
    UNROLL,
    Ahead,
    Block,
    Epilogue,
    Loop,
    micro,
    rounds,
)
from kiso.compiler.contract.pack import panel_packer, spreader
from kiso.compiler.contract.shape import Axis, Conv, Phase, Piece, backward_phases, forward_phases
from kiso.compiler.contract.tiles import patch

__all__ = ["SlidingDriver", "conv_forward", "conv_input_gradient"]


def _groups(conv: Conv, backward: bool = False) -> tuple[int, tuple[Phase, ...], bool]:
    """Groups, phases and whether each column has a channel of its own."""
    beside = conv.groups == conv.channels == conv.outputs > 1
    return (1 if beside else conv.groups,
            backward_phases(conv) if backward else forward_phases(conv), beside)


def conv_forward(library: Library, conv: Conv, epilogue: Epilogue = PLAIN,
                 accumulate: bool = False, name: str = "conv") -> SlidingDriver:
    """y = conv(x, W): (x, packed, y, epilogue's pointers..., scratch, begin, end)."""
    work = Sliding(conv.batch, conv.size, conv.channels, conv.out, conv.outputs, *_groups(conv))
    return SlidingDriver(library, work, epilogue, accumulate, name)


def conv_input_gradient(library: Library, conv: Conv, epilogue: Epilogue = PLAIN,
                        accumulate: bool = False, name: str = "conv_gx") -> SlidingDriver:
    """gx from gy and W: (gy, packed, gx, epilogue's pointers..., scratch, begin, end)."""
    work = Sliding(conv.batch, conv.out, conv.outputs, conv.size, conv.channels,
                   *_groups(conv, True))
    return SlidingDriver(library, work, epilogue, accumulate, name)


class SlidingDriver:
    """The driver of a sum over taps, written at once: `main` does the work, `packer` packs W."""

    def __init__(self, library: Library, work: Sliding, epilogue: Epilogue, accumulate: bool,
                 name: str):
        self.lib, self.work, self.epilogue, self.load = library, work, epilogue, accumulate
        self.lanes = library.machine.lanes
        self.wholes = -(-work.outer // self.lanes) * self.lanes  # columns of a group, padded
        self.cut = choose(library.machine, work)
        self.phases = self.cut.phases(work)
        self.copied = self.cut.copied(work)
        self.left, right = 0, work.size[1] - 1
        if self.copied:
            self.left, right = work.reach(1, [p for _, ws in self.cut.pieces(work, False)
                                              for p in ws])
        self.window = Window(*work.size, work.channels, self.left, right - self.left + 1)
        self.segments = self._segments()
        self.name = name
        self.main = self._write()

    def _segments(self) -> list[_Segment]:
        """Runs of equal panels of all groups; one with padding columns stands alone."""
        result: list[_Segment] = []
        for g in self.cut.panels:
            end = g.start + g.count * g.size
            edge = int(end * self.lanes > self.work.outer)
            runs = [(g.start, g.count - edge), (end - g.size, edge)]
            result += [_Segment(start, count, g.size, column_width(
                self.work.outer, start, g.size, self.lanes)) for start, count in runs if count]
        return result

    def _write(self) -> Driver:
        cut, work = self.cut, self.work
        pointers = ("x", "w", "y", *self.epilogue.pointers, "scratch")
        code = self.code = self.lib.function(self.name, pointers, ("begin", "end"))
        *_, begin, end = code.fn.args
        panels, blocks = work.groups * sum(s.count for s in self.segments), cut.total(work)
        sizes = {cut.samples_of(work, False), cut.samples_of(work, True)}

        def block(b: Any) -> None:
            first = code.mul(b, panels)
            ends = code.b.sub(begin, code.value(first)), code.b.sub(end, code.value(first))
            if cut.blocks > 1:
                n, i = code.b.sdiv(b, code.value(cut.blocks)), code.b.srem(
                    b, code.value(cut.blocks))
                final = code.b.icmp_signed("==", i, code.value(cut.blocks - 1))
            else:
                n, i = code.mul(b, cut.samples), 0
                final = code.b.icmp_signed("==", b, code.value(blocks - 1))
            if cut.blocks == 1 and (len(sizes) == 1 or blocks == 1):
                self._block(n, i, True, ends)
            else:
                code.branch(final, lambda: self._block(n, i, True, ends),
                            lambda: self._block(n, i, False, ends))
        count = code.value(panels)
        code.loop(code.b.sdiv(begin, count),
                  code.b.sdiv(code.add(end, panels - 1), count), block)
        code.finish()
        scratch = 0 if not self.copied else max(
            cut.samples_of(work, last) * self._pitch(last) for last in (False, True)) + 16
        return Driver(str(code.fn.name), pointers, blocks * panels, scratch)

    def _rows(self, last: bool) -> tuple[int, int]:
        """First and last input row that a block reads, relative to its first result's."""
        return self.work.reach(0, [p for hs, _ in self.cut.pieces(self.work, last) for p in hs])

    def _pitch(self, last: bool) -> int:
        """Floats between samples in scratch: an odd number of cache lines."""
        top, bottom = self._rows(last)
        return rounded((bottom - top + 1) * self.window.row) // 32 * 32 + 16

    def _block(self, n: Any, block: Any, last: bool, ends: tuple[Any, Any]) -> None:
        """The panels ends[0].. of a block: samples n.. or rows of sample n."""
        code, work, cut = self.code, self.work, self.cut
        samples, pitch, (top, bottom) = cut.samples_of(work, last), work.image, self._rows(last)
        image = code.at(code.fn.args[0], code.mul(n, work.image))
        first = code.mul(block, cut.rows * work.phases[0][0].in_step)
        if self.copied:
            source, image, pitch = image, code.fn.args[-3], self._pitch(last)
            copier = row_copier(self.lib, self.window, bottom - top + 1)

            def copy(s: Any) -> None:
                code.call(copier, [code.at(source, code.mul(s, work.image)),
                                   code.at(image, code.mul(s, pitch))], [code.add(first, top)])
            code.loop(0, samples, copy)
        else:
            image, top = code.at(image, code.mul(first, self.window.row)), 0
        part = _Part(n, samples, block, image, pitch, top)
        start = 0
        for segment in self.segments:
            def panel(u: Any, _: int, segment: _Segment = segment) -> None:
                base = 0
                g, v = self._panel(segment, u)
                for (h, w), (hs, ws) in zip(self.phases, cut.pieces(work, last), strict=True):
                    steps = h.taps * w.taps * work.inner
                    weights = code.add(code.mul(g, steps * self.wholes),
                                       code.mul(v, self.lanes * steps), base)
                    for rows, columns in product(hs, ws):
                        self._piece(part, segment, (h, w), (rows, columns), weights, g, v)
                    base += self._packed(h, w)
            count = work.groups * segment.count
            code.units((Group(0, count, 1),), code.b.sub(ends[0], code.value(start)),
                       code.b.sub(ends[1], code.value(start)), panel)
            start += count

    def _panel(self, segment: _Segment, unit: Any) -> tuple[Any, Any]:
        """Group and first vector of a segment's panel."""
        code, count = self.code, self.code.value(segment.count)
        if self.work.groups == 1:
            return 0, code.add(code.mul(unit, segment.size), segment.vector)
        return code.b.sdiv(unit, count), code.add(
            code.mul(code.b.srem(unit, count), segment.size), segment.vector)

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

    def _piece(self, part: _Part, segment: _Segment, phase: Phase, piece: tuple[Piece, Piece],
               weights: Any, g: Any, v: Any) -> None:
        """One panel of weights over all results of a piece of the block."""
        code, work, row = self.code, self.work, self.window.row
        x, packed, y, *extra = code.fn.args[:-3]
        h, w = piece[0].axis, piece[1].axis
        pitch = work.size[1] * work.channels  # floats in a row of x
        line = work.out[1] * work.outputs  # floats in a row of y
        loops, numbers = self._loops(phase, (h.taps, w.taps), segment.size * self.lanes)
        skipped = piece[0].skipped * phase[1].taps + piece[1].skipped
        weights = code.add(weights, skipped * work.inner * segment.size * self.lanes)
        column = code.add(code.mul(g, work.outer), code.mul(v, self.lanes))
        share = h.in_step * w.in_step * work.channels  # of the next block's input, a pixel

        def tile(size: tuple[int, ...], s: Any, i: Any, j: Any) -> None:
            points = list(product(*map(range, size)))
            spec = Block(
                tuple(a * part.pitch + p * h.in_step * row + q * w.in_step * work.channels
                      for a, p, q in points),
                tuple(a * work.out[0] * line + p * h.out_step * line + q * w.out_step * work.outputs
                      for a, p, q in points), segment.width, loops, load=self.load,
                ahead=Ahead(1, 0, -(-len(points) * share // rounds(loops))),
                joint=piece[1].joint, apart=w.out_step // self.cut.joint * work.outputs,
                beside=work.beside)
            place = code.add(
                code.mul(code.add(part.n, s, part.samples if self.cut.blocks == 1 else 0),
                         work.image),
                code.mul(code.add(code.mul(part.block, self.cut.rows), i, piece[0].first,
                                  self.cut.rows if self.cut.blocks > 1 else 0),
                         h.in_step * pitch * size[0]),
                code.mul(code.add(j, piece[1].first), size[0] * size[1] * share))
            source = code.add(
                code.mul(s, part.pitch), code.mul(i, h.in_step * row),
                (h.in_start - part.top) * row, code.mul(j, w.in_step * work.channels),
                (w.in_start - self.left) * work.channels,
                column if work.beside else code.mul(g, work.inner))
            offset = code.add(
                code.mul(code.add(part.n, s), work.out[0] * line), h.out_start * line,
                code.mul(code.add(code.mul(part.block, self.cut.rows), i), h.out_step * line),
                code.mul(j, w.out_step * work.outputs), w.out_start * work.outputs, column)
            code.call(micro(self.lib, spec, self.epilogue),
                      [code.at(part.image, source), code.at(packed, weights), y,
                       code.at(x, place), *extra],
                      [offset, column, *numbers])
        extents = (part.samples, h.count, w.count)
        steps = max(1, h.taps * w.taps * work.inner)
        _, most = patch(self.lib.machine, extents, segment.size, steps)
        samples, rows, columns = (partition(n, m) for n, m in zip(extents, most, strict=True))
        code.each(samples, lambda s, ss: code.each(rows, lambda i, ii: code.each(
            columns, lambda j, jj: tile((ss, ii, jj), s, i, j))))

    @cached_property
    def packed_size(self) -> int:
        """Floats of the packed weights."""
        return sum(self._packed(h, w) for h, w in self.phases)

    def packer(self, strides: tuple[int, int, int, int], backward: bool = False) -> Driver:
        """(w, packed, begin, end), a unit for each panel: packs weights whose element of tap row
        k, tap column l, input channel c of the group and output channel o is at k, l, c, o times
        `strides`. For the gradient of x, o is reduced over and c is the column."""
        code = self.lib.function(f"{self.name}_pack", ("w", "packed"), ("begin", "end"))
        *_, begin, end = code.fn.args
        base = first = 0
        self.code = code
        for h, w in self.phases:
            for segment in self.segments:
                units = segment.count * self.work.groups

                def unit(u: Any, _: int, h: Axis = h, w: Axis = w, base: int = base,
                         segment: _Segment = segment) -> None:
                    self._pack((h, w), segment, base, strides, backward, u)
                code.units((Group(0, units, 1),), code.b.sub(begin, code.value(first)),
                           code.b.sub(end, code.value(first)), unit)
                first += units
            base += self._packed(h, w)
        code.finish()
        return Driver(str(code.fn.name), ("w", "packed"), first, 0)

    def _pack(self, phase: Phase, segment: _Segment, base: int,
              strides: tuple[int, int, int, int], backward: bool, unit: Any) -> None:
        """One panel of one group, all taps of a phase whose weights begin at `base`."""
        code, work, (h, w) = self.code, self.work, phase
        source, target, *_ = code.fn.args
        sk, sl, sc, so = strides
        # Groups follow one another along o.
        over, along, per_group = ((so, sc, work.inner * so) if backward and not work.beside else
                                  (sc, so, work.outer * so))
        steps = h.taps * w.taps * work.inner
        g, v = self._panel(segment, unit)
        fn = panel_packer(self.lib, work.inner, segment.width, over, along)
        joint = self.cut.joint
        if joint > 1:
            fn = spreader(self.lib, work.inner, segment.width, over, along)
        here = code.add(code.mul(g, per_group), code.mul(v, self.lanes * along))
        there = code.add(code.mul(g, self.wholes * steps), code.mul(v, self.lanes * steps), base)
        if joint > 1:
            zero_fill(code, code.at(target, there), steps * self.lanes)
        shift = w.in_step // joint // w.tap_step  # taps from one neighbour to the next
        real = w.taps - (joint - 1) * shift
        for i, j, e in product(range(h.taps), range(max(real, 0)), range(joint)):
            k, l = h.k_start + i * h.k_step, w.k_start + j * w.k_step
            t = i * w.taps + j + e * shift
            code.call(fn, [code.at(source, code.add(here, k * sk + l * sl)), code.at(
                target, code.add(there, t * work.inner * segment.size * self.lanes,
                                 e * segment.width))])


@dataclass(frozen=True)
class _Segment:
    """`count` equal panels of a group from `vector` on: vectors, real columns of each."""

    vector: int
    count: int
    size: int
    width: int


@dataclass(frozen=True)
class _Part:
    """A block: samples n.. or, of sample n, the rows of a number; where its input is (rows from
    `top` on), how many floats samples are apart there."""

    n: Any
    samples: int
    block: Any
    image: Any
    pitch: int
    top: int
