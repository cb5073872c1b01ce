"""Convolution and its gradient with respect to x, channels last, direct (no im2col).

Both are sums over taps and channels (see `shape`) for each pixel: rows of the micro-kernel are
pixels of a small rectangle, columns are output channels, the reduction runs over tap rows, tap
columns and channels. The weights come packed (`Weights`). A unit of work is a block of output rows
of one sample; where taps reach beyond the image, the input rows of the block are first copied to
scratch with a border of zeros, small enough to stay in the second-level cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from kiso.compiler.contract.driver import Driver, column_width
from kiso.compiler.contract.emit import Code, Group, Library, partition
from kiso.compiler.contract.halo import Window, row_copier
from kiso.compiler.contract.micro import PLAIN, Ahead, Block, Epilogue, Loop, micro, rounds
from kiso.compiler.contract.pack import panel_packer
from kiso.compiler.contract.shape import Axis, Conv, Phase, backward_phases, forward_phases
from kiso.compiler.contract.tiles import Tiling, tiling

__all__ = ["Sliding", "SlidingDriver", "conv_forward", "conv_input_gradient"]

_CACHED = 96 * 1024  # floats of input rows in scratch


@dataclass(frozen=True)
class Sliding:
    """A sum over taps: input (N, H, W, C), output (N, OH, OW, O), phases."""

    batch: int
    size: tuple[int, int]
    channels: int
    out: tuple[int, int]
    outputs: int
    groups: int
    phases: tuple[Phase, ...]

    @cached_property
    def inner(self) -> int:
        """Input channels of a group."""
        return self.channels // self.groups

    @cached_property
    def outer(self) -> int:
        """Output channels of a group."""
        return self.outputs // self.groups

    def reach(self, axis: int, counts: list[int]) -> tuple[int, int]:
        """First and last input position that the first `counts` results of each phase read."""
        seen = [(p[axis], n) for p, n in zip(self.phases, counts, strict=True)
                if p[axis].taps and n > 0]
        low = min(a.in_start for a, _ in seen)
        return low, max(a.in_start + (n - 1) * a.in_step + (a.taps - 1) * a.tap_step
                        for a, n in seen)


def conv_forward(library: Library, conv: Conv, epilogue: Epilogue = PLAIN,
                 accumulate: bool = False, name: str = "conv") -> SlidingDriver:
    """y = conv(x, W): (x, packed, y, epilogue's pointers..., scratch, begin, end)."""
    work = Sliding(conv.batch, conv.size, conv.channels, conv.out, conv.outputs, conv.groups,
                   forward_phases(conv))
    return SlidingDriver(library, work, epilogue, accumulate, name)


def conv_input_gradient(library: Library, conv: Conv, epilogue: Epilogue = PLAIN,
                        accumulate: bool = False, name: str = "conv_gx") -> SlidingDriver:
    """gx from gy and W: (gy, packed, gx, epilogue's pointers..., scratch, begin, end)."""
    work = Sliding(conv.batch, conv.out, conv.outputs, conv.size, conv.channels, conv.groups,
                   backward_phases(conv))
    return SlidingDriver(library, work, epilogue, accumulate, name)


class SlidingDriver:
    """The driver of a sum over taps, written at once: `main` does the work, `packer` packs W."""

    def __init__(self, library: Library, work: Sliding, epilogue: Epilogue, accumulate: bool,
                 name: str):
        self.lib, self.work, self.epilogue, self.load = library, work, epilogue, accumulate
        self.lanes = library.machine.lanes
        self.wholes = -(-work.outer // self.lanes) * self.lanes  # columns of a group, padded
        rows = max(h.count for h, _ in work.phases)
        low, high = work.reach(1, [w.count for _, w in work.phases])
        self.window = Window(*work.size, work.channels, low, high - low + 1)
        step = work.phases[0][0].in_step
        most = max(1, (_CACHED // self.window.row - (self._height(1) - 1)) // step)
        self.blocks = -(-rows // most)
        self.rows = -(-rows // self.blocks)  # of each phase, in a block
        self.blocks = -(-rows // self.rows)
        top, bottom = work.reach(0, [h.count for h, _ in work.phases])
        self.direct = (low >= 0 and high < work.size[1] and top >= 0 and bottom < work.size[0])
        if self.direct:
            self.window = Window(*work.size, work.channels, 0, work.size[1])
        self.pointers = ("x", "w", "y", *epilogue.pointers, "scratch")
        self.tilings = [self._tiling(h, w) for h, w in work.phases]
        self.name = name
        self.main = self._write()

    def _height(self, rows: int) -> int:
        """Input rows that a block of so many rows of each phase reads."""
        low, high = self.work.reach(0, [min(rows, h.count) for h, _ in self.work.phases])
        return high - low + 1

    def _tiling(self, h: Axis, w: Axis) -> Tiling:
        return tiling(self.lib.machine, (min(self.rows, h.count), w.count), self.work.outer,
                      h.taps * w.taps * self.work.inner)

    def _write(self) -> Driver:
        code = self.code = self.lib.function(self.name, self.pointers, ("begin", "end"))
        *_, begin, end = code.fn.args

        def unit(u: Any) -> None:
            if self.blocks == 1:
                self._block(u, 0, True)
                return
            count = code.value(self.blocks)
            n, block = code.b.sdiv(u, count), code.b.srem(u, count)
            code.branch(code.b.icmp_signed("==", block, code.value(self.blocks - 1)),
                        lambda: self._block(n, block, True),
                        lambda: self._block(n, block, False))
        code.loop(begin, end, unit)
        code.finish()
        scratch = 0 if self.direct else self._height(self.rows) * self.window.row + 16
        return Driver(code.fn, self.pointers, self.work.batch * self.blocks, scratch)

    def _block(self, n: Any, block: Any, last: bool) -> None:
        """All phases of a block of rows of sample n."""
        code, work = self.code, self.work
        x = code.fn.args[0]
        counts = [h.count - (self.blocks - 1) * self.rows if last else self.rows
                  for h, _ in work.phases]
        step = work.phases[0][0].in_step
        image = code.at(x, code.mul(n, work.size[0] * work.size[1] * work.channels))
        first = code.mul(block, self.rows * step)
        top, bottom = work.reach(0, counts)
        if self.direct:
            image, top = code.at(image, code.mul(first, self.window.row)), 0
        else:
            target = code.fn.args[-3]
            copier = row_copier(self.lib, self.window, bottom - top + 1)
            code.call(copier, [image, target], [code.add(first, top)])
            image = target
        base = 0
        for (h, w), rows, found in zip(work.phases, counts, self.tilings, strict=True):
            if rows > 0:
                self._phase(_Part(n, block, image, top, base, rows), h, w, found)
            base += self._packed(h, w)

    def _packed(self, h: Axis, w: Axis) -> int:
        """Floats of the packed weights of a phase."""
        return self.work.groups * h.taps * w.taps * self.work.inner * self.wholes

    def _phase(self, part: _Part, h: Axis, w: Axis, found: Tiling) -> None:
        code, work = self.code, self.work
        steps = h.taps * w.taps * work.inner

        def group(g: Any) -> None:
            weights = code.add(part.weights, code.mul(g, steps * self.wholes))
            for piece in found.panels:
                for v, count in self._even(piece.start, piece.count, piece.size):
                    width = column_width(work.outer, v, piece.size, self.lanes)

                    def panel(i: Any, v: int = v, size: int = piece.size,
                              width: int = width) -> None:
                        vector = code.add(code.mul(i, size), v)
                        column = code.add(code.mul(g, work.outer), code.mul(vector, self.lanes))
                        at = code.add(weights, code.mul(vector, self.lanes * steps))
                        self._panel(part, h, w, found.patches[size], size, width, at, column,
                                    code.mul(g, work.inner))
                    code.loop(0, count, panel)
        code.loop(0, work.groups, group)

    def _even(self, start: int, count: int, size: int) -> list[tuple[int, int]]:
        """A run of equal panels, the one with padding columns apart: (first vector, count)."""
        end = start + count * size
        if end * self.lanes <= self.work.outer or count == 1:
            return [(start, count)]
        return [(start, count - 1), (end - size, 1)]

    def _panel(self, part: _Part, h: Axis, w: Axis, patch: tuple[int, ...], vectors: int,
               width: int, weights: Any, column: Any, channel: Any) -> None:
        """One panel of weights over all pixels of the block."""
        code, work, row = self.code, self.work, self.window.row
        x, packed, y, *extra = code.fn.args[:-3]
        pitch = work.size[1] * work.channels  # floats in a row of x
        line = work.out[1] * work.outputs  # floats in a row of y
        inner, step = work.inner, vectors * self.lanes
        loops = (Loop(h.taps, h.tap_step * row, w.taps * inner * step),
                 Loop(w.taps, w.tap_step * work.channels, inner * step),
                 Loop(inner, 1, step))
        left = w.in_start - self.window.left

        def tile(i: Any, rows: int, j: Any, columns: int) -> None:
            pixels = [(p, q) for p in range(rows) for q in range(columns)]
            share = h.in_step * w.in_step * work.channels  # of the next block's input, a pixel
            ahead = Ahead(1, 0, -(-rows * columns * share // rounds(loops)))
            spec = Block(tuple(p * h.in_step * row + q * w.in_step * work.channels
                               for p, q in pixels),
                         tuple(p * h.out_step * line + q * w.out_step * work.outputs
                               for p, q in pixels), width, loops, load=self.load,
                         ahead=ahead)
            place = code.add(
                code.mul(part.n, work.size[0] * pitch),
                code.mul(code.add(code.mul(part.block, self.rows), self.rows, i),
                         h.in_step * pitch),
                code.mul(j, rows * share))
            source = code.add(code.mul(i, h.in_step * row), (h.in_start - part.top) * row,
                              code.mul(j, w.in_step * work.channels), left * work.channels,
                              channel)
            offset = code.add(
                code.mul(part.n, work.out[0] * line), h.out_start * line,
                code.mul(code.add(code.mul(part.block, self.rows), i), h.out_step * line),
                code.mul(j, w.out_step * work.outputs), w.out_start * work.outputs, column)
            code.call(micro(self.lib, spec, self.epilogue),
                      [code.at(part.image, source), code.at(packed, weights), y,
                       code.at(x, place), *extra],
                      [offset, column])
        code.each(partition(part.rows, patch[0]), lambda i, rows: code.each(
            partition(w.count, patch[1]), lambda j, columns: tile(i, rows, j, columns)))

    @cached_property
    def packed_size(self) -> int:
        """Floats of the packed weights."""
        return sum(self._packed(h, w) for h, w in self.work.phases)

    def packer(self, strides: tuple[int, int, int, int], backward: bool = False) -> Driver:
        """(w, packed, begin, end), a unit for each panel: packs weights whose element of tap row
        k, tap column l, input channel c of the group and output channel o is at k, l, c, o times
        `strides`. For the gradient of x, o is reduced over and c is the column."""
        code = self.lib.function(f"{self.name}_pack", ("w", "packed"), ("begin", "end"))
        *_, begin, end = code.fn.args
        base = first = 0
        for (h, w), found in zip(self.work.phases, self.tilings, strict=True):
            for piece in found.panels:
                for v, count in self._even(piece.start, piece.count, piece.size):
                    segment = _Segment(h, w, base, v, count, piece.size)
                    units = count * self.work.groups

                    def unit(u: Any, _: int, segment: _Segment = segment) -> None:
                        self._pack(code, segment, strides, backward, u)
                    code.units((Group(0, units, 1),), code.b.sub(begin, code.value(first)),
                               code.b.sub(end, code.value(first)), unit)
                    first += units
            base += self._packed(h, w)
        code.finish()
        return Driver(code.fn, ("w", "packed"), first, 0)

    def _pack(self, code: Code, segment: _Segment, strides: tuple[int, int, int, int],
              backward: bool, unit: Any) -> None:
        """One panel of one group, all taps."""
        work, h, w, size = self.work, segment.h, segment.w, segment.size
        source, target, *_ = code.fn.args
        sk, sl, sc, so = strides
        # Groups follow one another along o.
        over, along, per_group = ((so, sc, work.inner * so) if backward else
                                  (sc, so, work.outer * so))
        steps = h.taps * w.taps * work.inner
        count = code.value(segment.count)
        g, i = code.b.sdiv(unit, count), code.b.srem(unit, count)
        v = code.add(code.mul(i, size), segment.vector)
        width = column_width(work.outer, segment.vector, size, self.lanes)
        fn = panel_packer(self.lib, work.inner, width, over, along)
        here = code.add(code.mul(g, per_group), code.mul(v, self.lanes * along))
        there = code.add(code.mul(g, self.wholes * steps), code.mul(v, self.lanes * steps),
                         segment.base)
        for t in range(h.taps * w.taps):
            k = h.k_start + t // w.taps * h.k_step
            l = w.k_start + t % w.taps * w.k_step
            code.call(fn, [code.at(source, code.add(here, k * sk + l * sl)),
                           code.at(target, code.add(there, t * work.inner * size * self.lanes))])


@dataclass(frozen=True)
class _Segment:
    """`count` equal panels of a phase's weights from `vector` on; the phase begins at `base`."""

    h: Axis
    w: Axis
    base: int
    vector: int
    count: int
    size: int


@dataclass(frozen=True)
class _Part:
    """A block of rows of a sample: where its input is (rows from `top` on), where the phase's
    weights begin, how many rows of the phase it has."""

    n: Any
    block: Any
    image: Any
    top: int
    weights: int
    rows: int
