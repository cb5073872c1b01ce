"""The gradient of a convolution with respect to its weights.

    gw[k, l, c, o] = sum over n, i, j of x[n, i s - p + k d, j s - p + l d, c] gy[n, i, j, o]

Rows of the micro-kernel are input channels (of one tap, or of several where there are few), columns
output channels, the reduction runs over pixels, those whose pixel of x is inside of the image.
Two ways for threads to share the work:

    samples    each thread adds up its blocks of pixels in an array of its own (some hundred
               pixels at a time, of several samples where images are small);
               `conv_weight_sum` adds these in a fixed order
    columns    each computes its tiles of gw, over all pixels: for large weights, few pixels

Large images are cut into rows, which are copied to scratch with a border of zeros; of small ones a
tile's channels are copied if they lie far apart. gy is packed into panels.

Depthwise, lanes are channels on both sides, and rows of the micro-kernel taps: a block of rows of
pixels that see the same taps (see `pieces`) is read from memory once, as it lies there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod

from kiso.compiler.contract.emit import Code, Driver, Index, Library, Val
from kiso.compiler.contract.micro import Block, Loop, Stream, micro, rounds
from kiso.compiler.contract.pack import Window, panel_packer, row_copier, scatter, zero_fill
from kiso.compiler.contract.shape import Conv, forward_phases, pieces
from kiso.compiler.contract.tiles import Group, Panels, chopped, panels, partition, rounded, tiling

__all__ = ["by_columns", "conv_weight_gradient", "conv_weight_sum"]

_PIXELS = 512  # in a block, about
_TAPS = 13     # in a kernel of a depthwise convolution, at most
_WHOLE = 1024  # in the largest image that is not cut into rows
_MOST, _FLOATS = 4096, 1 << 19  # pixels and floats of x in a block for the way by columns
_FEW = 8       # input channels below which a tile takes rows from several taps
_NEAR = 32     # input channels up to which x is read as it is


def by_columns(conv: Conv) -> bool:
    """Whether threads should share the columns: adding up parts would cost more than that every
    thread reads all of x."""
    size = conv.kernel[0] * conv.kernel[1] * conv.channels * conv.outputs
    return (conv.groups == 1 and conv.channels >= _FEW and conv.out[0] * conv.out[1] <= _WHOLE and
            3 * size > 2 * conv.batch * conv.height * conv.width * conv.channels)


def conv_weight_gradient(library: Library, conv: Conv, parts: int, name: str = "conv_gw") -> Driver:
    """(x, gy, gw, scratch, begin, end): gw (parts, KH, KW, C / groups, O), a unit is one part: the
    sum over an equal share of the blocks. For 0 parts units are tiles of gw."""
    if conv.groups == conv.channels == conv.outputs > 1:
        return _depthwise(library, conv, parts, name)
    return _Writer(library, conv, parts, name).write()


def conv_weight_sum(library: Library, conv: Conv, parts: int, strides: tuple[int, int, int, int],
                    wide: Conv, name: str = "conv_gw_sum") -> Driver:
    """(parts, gw, begin, end): gw = parts[0] + parts[1] + ..., in this order; a unit is a row
    (k, l, c) of outputs. gw's element k, l, c, o is at these numbers times `strides`. The parts are
    those of `wide` (see `side_by_side`), whose pixels are added up as well."""
    (kh, kw), outputs, inner = conv.kernel, conv.outputs, conv.channels // conv.groups
    rows, line = kh * kw * inner, wide.kernel[1] * inner * wide.outputs
    sk, sl, sc, so = strides
    code = library.function(name, ("parts", "gw"))
    (source, target), (begin, end) = code.pointers, code.numbers
    for r in code.rounds(begin, end):
        t, c = r // inner, r % inner
        k, l = t // kw, t % kw
        to = k * sk + l * sl + c * sc
        for o, count in code.each(chopped(outputs, library.machine.lanes)):
            here = source + (k * line + (l * inner + c) * wide.outputs + o)
            total = code.read(here, count)
            for part, e in list(product(range(parts), range(wide.outputs // outputs)))[1:]:
                pixel = e * (conv.stride[1] * inner * wide.outputs + outputs)
                total = total + code.read(here + (part * kh * line + pixel), count)
            scatter(code, total, target + (to + o * so), so, count)
    return code.driver(rows)


def _share(code: Code, part: Index, parts: int, samples: Sequence[Group], rows: Sequence[Group],
           ) -> Iterator[tuple[Index, int, Index, int]]:
    """The blocks of a part: first sample, samples, first row, rows."""
    each = sum(g.count for g in rows)
    every = each * sum(g.count for g in samples)
    for u in code.rounds(part * every // parts, (part + 1) * every // parts):
        for n, count in code.units(samples, u // each, u // each + 1):
            for row, height in code.units(rows, u % each, u % each + 1):
                yield n, count, row, height


def _depthwise(library: Library, conv: Conv, parts: int, name: str) -> Driver:
    """The driver where channel c of gw meets channel c of x and of gy alone."""
    code, channels = library.function(name, ("x", "gy", "gw")), conv.channels
    (x, gy, gw), (begin, end), ((h, w),) = code.pointers, code.numbers, forward_phases(conv)
    line, gy_line, size = conv.width * channels, w.count * channels, h.taps * w.taps * channels
    blocks = [(replace(g, start=down.first + g.start), down) for down in pieces(h, conv.height)
              for g in partition(down.axis.count, max(1, _PIXELS // w.count))]
    for part in code.rounds(begin, end):
        zero_fill(code, gw + part * size, size)
        share = _share(code, part, parts, partition(conv.batch, 1), [rows for rows, _ in blocks])
        for (n, _, row, count), (_, down) in zip(share, blocks, strict=True):
            top = n * conv.height + (row - down.first) * h.in_step + down.axis.in_start
            for c, width in code.each(chopped(channels, library.machine.lanes)):
                for along in pieces(w, conv.width):
                    here = top * line + along.axis.in_start * channels + c
                    of_y = (n * h.count + row) * gy_line + along.first * channels + c
                    taps = [(k * h.tap_step * line + l * w.tap_step * channels,
                             ((down.skipped + k) * w.taps + along.skipped + l) * channels)
                            for k, l in product(range(down.axis.taps), range(along.axis.taps))]
                    loops = (Loop(count, h.in_step * line, gy_line),
                             Loop(along.axis.count, w.in_step * channels, channels))
                    for t in range(0, len(taps), _TAPS):
                        of_x, of_gw = zip(*taps[t:t + _TAPS], strict=True)
                        block = Block(of_x, of_gw, width, loops, False, ("sum",), beside=True)
                        code.run(micro(library, block), x + here, gy + of_y, gw, part * size + c, c)
    return code.driver(parts)


class _Writer:
    def __init__(self, library: Library, conv: Conv, parts: int, name: str):
        self.lib, self.conv, self.parts = library, conv, parts
        self.inner, self.outer = conv.channels // conv.groups, conv.outputs // conv.groups
        lanes = library.machine.lanes
        self.few = self.inner < _FEW
        assert parts or not self.few, conv
        self._cut(max(1, parts))
        # Without a border a kernel counts only the pixels of its tap that are in the image.
        self.clipped = sum(g.count for g in self.rows) == 1 and not self.few
        self.pad = (0, 0) if self.clipped else conv.padding
        self.taps = 1 if self.few else conv.kernel[0] * conv.kernel[1]  # kernels for each tile
        rows = conv.kernel[0] * conv.kernel[1] * self.inner if self.few else self.inner
        pixels = self.samples[0].size * self.rows[0].size * conv.out[1]
        groups, most = tiling(library.machine, rows, self.outer, pixels)
        self.tiles = partition(rows, most[groups[0].size])
        self.slices = (Group(0, 1, self.inner),) if self.few else self.tiles  # channels copied
        self.panels = panels(groups, self.outer, lanes)
        self.height = sum(t.count for t in self.tiles)  # of a panel in tiles
        self.units = self.height * sum(p.count for p in self.panels)
        # x as it lies in memory will do where no border is missing, and a copy brings little.
        self.direct = self.pad == (0, 0) and (self.few or conv.channels <= _NEAR or
                                              conv.kernel == (1, 1))
        self.columns = conv.width if self.clipped or self.direct else self._reach(1, conv.out[1])
        self.still = (conv.groups == 1 and (self.few or self.units == self.height) and
                      (self.outer % lanes == 0 or lanes > 4))  # so will gy
        self.copied = 0 if self.direct else rounded(
            self.samples[0].size * self._height(self.rows[0].size) * self.columns * self.inner)
        self.scratch = self.copied + (
            0 if self.still else pixels * lanes * max(p.size for p in self.panels))
        self.code = library.function(name, ("x", "gy", "gw", "scratch"))
        self.x, self.gy, self.gw, self.area = self.code.pointers

    def _cut(self, parts: int) -> None:
        """Blocks of pixels: samples, or rows of one where images are large or samples few."""
        conv, (height, width) = self.conv, self.conv.out
        floats = conv.height * conv.width * conv.channels
        most = (min(_PIXELS // (height * width), conv.batch // parts) if self.parts else
                min(_MOST // (height * width), _FLOATS // floats))
        self.samples = partition(conv.batch, max(1, most))
        limit = height
        if self.parts and (height * width > _WHOLE or conv.batch < parts):
            # Rows at the edge of a block are copied twice: half as many again at most.
            limit = max(1, _PIXELS // width, 2 * (self._reach(0, 1) - conv.stride[0]))
            if conv.batch < parts:
                limit = max(1, min(limit, height * conv.batch // parts))
        self.rows = partition(height, limit)

    def _reach(self, axis: int, count: int) -> int:
        """Rows or columns of x under so many of y."""
        conv = self.conv
        return (count - 1) * conv.stride[axis] + (conv.kernel[axis] - 1) * conv.dilation[axis] + 1

    def _height(self, rows: int) -> int:
        """Rows of the copy for so many of y."""
        return self.conv.height if self.clipped else self._reach(0, rows)

    def write(self) -> Driver:
        code, conv, units, (begin, end) = self.code, self.conv, self.units, self.code.numbers
        if not self.parts:
            for n, count, first, _ in code.sums(self.samples):
                self._block(_Part(n, count, 0, conv.out[0], begin, end, not first))
            return code.driver(units, self.scratch)
        size, gw = prod(conv.kernel) * self.inner * conv.outputs, self.gw
        for part in code.rounds(begin, end):
            self.gw = gw + part * size
            zero_fill(code, self.gw, size)
            for n, count, row, rows in _share(code, part, self.parts, self.samples, self.rows):
                self._block(_Part(n, count, row, rows, 0, units))
        return code.driver(self.parts, self.scratch)

    def _block(self, part: _Part) -> None:
        """Adds the products of one block of pixels."""
        code = self.code
        for g in code.rounds(0, self.conv.groups):
            if not self.direct:
                for c, size in code.each(self.slices):
                    self._copy(part, g, c, size)
            first = 0
            for p in self.panels:
                low = part.begin // self.height - first
                high = (part.end + (self.height - 1)) // self.height - first
                for i, _ in code.units(chopped(p.count, 1), low, high):
                    unit = (i + first) * self.height
                    self._panel(part, self._packed(part, g, p, i, unit))
                first += p.count

    def _copy(self, part: _Part, g: Index, c: Index, size: int) -> None:
        """scratch[c][sample][row][column][channel of the slice] from x."""
        code, conv = self.code, self.conv
        window = Window(*conv.size, conv.channels, -self.pad[1], self.columns, size)
        height = self._height(part.rows)
        copier = row_copier(self.lib, window, height)
        first = part.row * conv.stride[0] - self.pad[0]
        channel = c + g * self.inner
        target = self.area + c * (part.count * height * self.columns)
        for i in code.rounds(0, part.count):
            place = (part.n + i) * (conv.height * conv.width * conv.channels)
            code.run(copier, self.x + (place + channel), target + i * (height * window.row), first)

    def _packed(self, part: _Part, g: Index, panels: Panels, i: Index, unit: Index) -> _Panel:
        """The i-th panel of output channels, packed."""
        conv, lanes = self.conv, self.code.machine.lanes
        place = (part.n * conv.out[0] + part.row) * (conv.out[1] * conv.outputs)
        column = g * self.outer + (i * panels.size + panels.vector) * lanes
        values, step = self.gy + (place + column), conv.outputs
        if not self.still:
            packer = panel_packer(self.lib, part.count * part.rows * conv.out[1], panels.width,
                                  step, 1)
            source, values, step = values, self.area + self.copied, panels.size * lanes
            self.code.run(packer, source, values)
        return _Panel(g, panels.width, step, values, column, unit)

    def _panel(self, part: _Part, panel: _Panel) -> None:
        """The tiles of a panel from x (or the copy)."""
        if not self.few:
            ends = part.begin - panel.unit, part.end - panel.unit
            for c, size in self.code.units(self.tiles, *ends):
                self._tile(part, panel, self._source(part, panel, c), c, size)
            return
        for g in self.tiles:
            for i in range(g.count):
                c = g.start + i * g.size
                self._tile(part, panel, self._source(part, panel, 0), c, g.size)

    def _source(self, part: _Part, panel: _Panel, c: Index) -> Val:
        """Where channel c of the group begins, in x or the copy."""
        conv = self.conv
        if self.direct:
            row = part.n * conv.height + part.row * conv.stride[0]
            return self.x + (row * (conv.width * conv.channels) + (panel.g * self.inner + c))
        return self.area + c * (part.count * self._height(part.rows)) * self.columns

    def _tile(self, part: _Part, panel: _Panel, source: Val, c: Index, size: int) -> None:
        """Channels c.. for every tap; or where they are few, rows c.. of (k, l, c)."""
        code, conv = self.code, self.conv
        depth = conv.channels if self.direct else self.inner if self.few else size
        height = conv.height if self.direct else self._height(part.rows)
        line, width = self.columns * depth, conv.out[1]
        for t in range(self.taps):
            to, at, extent = self._tap(t)
            places = [to * depth + r for r in range(size)]
            if isinstance(c, int) and self.few:
                places = [self._tap(r // self.inner)[0] * depth + r % self.inner
                          for r in range(c, c + size)]
            loops = (Loop(part.count, height * line, part.rows * width * panel.step),
                     Loop(min(part.rows, extent[0]), conv.stride[0] * line, width * panel.step),
                     Loop(extent[1], conv.stride[1] * depth, panel.step))
            if part.load and 0 in extent:
                continue
            number = (panel.unit + c // self.tiles[-1].size) * self.taps + t
            ahead, following = self._ahead(part, number, loops) if self.parts else (None, [])
            block = Block(tuple(p - places[0] for p in places),
                          tuple(r * conv.outputs for r in range(size)), panel.width, loops,
                          padded=panel.step % code.machine.lanes == 0,
                          after=("sum",) if part.load else (), ahead=ahead)
            row = (c + t * self.inner) * conv.outputs
            code.run(micro(self.lib, block), source + places[0], panel.values + at * panel.step,
                     self.gw, *following, row + panel.column, panel.column)

    def _tap(self, t: int) -> tuple[int, int, tuple[int, int]]:
        """The first pixel of x (or the copy) that a tap sees, the pixel of y that sees it, and how
        many rows and columns of y's pixels do."""
        conv = self.conv
        x: list[int] = []
        y: list[int] = []
        extent: list[int] = []
        for axis, k in enumerate(divmod(t, conv.kernel[1])):
            s, out = conv.stride[axis], conv.out[axis]
            shift = k * conv.dilation[axis] - conv.padding[axis] + self.pad[axis]
            low = max(0, -(shift // s))
            size = conv.size[axis] if self.clipped else shift + out * s
            x.append(low * s + shift)
            y.append(low)
            extent.append(max(0, min(out, (size - 1 - shift) // s + 1) - low))
        return x[0] * self.columns + x[1], y[0] * conv.out[1] + y[1], (extent[0], extent[1])

    def _ahead(self, part: _Part, number: Index, loops: tuple[Loop, ...],
               ) -> tuple[Stream, list[Val]]:
        """What the number-th kernel fetches of the next block: the first ones x, others gy."""
        code, conv = self.code, self.conv
        pitch, gy_pitch = conv.width * conv.channels, conv.out[1] * conv.outputs
        floats = part.count * part.rows * conv.stride[0] * pitch
        gy_floats = part.count * part.rows * gy_pitch
        kernels = self.units * self.taps
        first = min(kernels - 1, round(kernels * floats / (floats + gy_floats)))
        share = -(-floats // first) if first else 0
        gy_share = -(-gy_floats // (kernels - first))
        last, row = part.n + (part.count - 1), part.row + part.rows
        x_next = last * (conv.height * pitch) + row * (conv.stride[0] * pitch) + number * share
        gy_next = (last * (conv.out[0] * gy_pitch) + row * gy_pitch + number * gy_share
                   - first * gy_share)
        early = code.value(number) < first
        following = code.select(early, self.x + x_next, self.gy + gy_next)
        step = -(-max(share, gy_share) // rounds(loops))
        lines = range(0, min(step, 64 if self.few else 16), 16)
        return Stream(tuple(lines), step), [following]


@dataclass(frozen=True)
class _Part:
    """A block of pixels: samples n.. (`count`), output rows row.. (`rows`). Of the tiles of gw, in
    panels of columns, begin..end - 1 are computed. `load`: add to what is there."""

    n: Index
    count: int
    row: Index
    rows: int
    begin: Index
    end: Index
    load: bool = True


@dataclass(frozen=True)
class _Panel:
    """`width` columns of group g from `column` on; `values` of gy, a pixel every `step` floats; the
    number of its first tile."""

    g: Index
    width: int
    step: int
    values: Val
    column: Index
    unit: Index
