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
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kiso.compiler.contract.driver import Driver, column_width, phases_of_sum, rounded
from kiso.compiler.contract.emit import Group, Library, partition
from kiso.compiler.contract.halo import Window, row_copier, zero_fill
from kiso.compiler.contract.micro import Ahead, Block, Loop, micro, rounds
from kiso.compiler.contract.pack import panel_packer
from kiso.compiler.contract.shape import Conv
from kiso.compiler.contract.tiles import tiling

__all__ = ["by_columns", "conv_weight_gradient", "conv_weight_sum"]

_PIXELS = 512  # in a block, about
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


def conv_weight_gradient(library: Library, conv: Conv, parts: int = 2,
                         name: str = "conv_gw") -> Driver:
    """(x, gy, part, scratch, begin, end): part (KH, KW, C / groups, O) = the sum over these units
    (zero for none), which are `parts` or more where there are samples or rows. For 0 parts units
    are tiles of gw, and only those are written."""
    return _Writer(library, conv, parts, name).write()


def conv_weight_sum(library: Library, conv: Conv, parts: int,
                    strides: tuple[int, int, int, int], name: str = "conv_gw_sum") -> Driver:
    """(parts, gw, begin, end): gw = parts[0] + parts[1] + ..., in this order; a unit is a row
    (k, l, c) of outputs. gw's element k, l, c, o is at these numbers times `strides`."""
    (kh, kw), outputs = conv.kernel, conv.outputs
    rows = kh * kw * (conv.channels // conv.groups)
    sk, sl, sc, so = strides
    code = library.function(name, ("parts", "gw"), ("begin", "end"))
    source, target, begin, end = code.fn.args

    def row(r: Any) -> None:
        t, c = (f(r, code.value(rows // (kh * kw))) for f in (code.b.sdiv, code.b.srem))
        k, l = (f(t, code.value(kw)) for f in (code.b.sdiv, code.b.srem))
        to = code.add(code.mul(k, sk), code.mul(l, sl), code.mul(c, sc))

        def vector(o: Any, count: int) -> None:
            here = code.add(code.mul(r, outputs), o)
            total = code.load(source, here, count)
            for part in range(1, parts):
                there = code.add(here, part * rows * outputs)
                total = code.b.fadd(total, code.load(source, there, count))
            if so == 1:
                code.store(total, target, code.add(to, o), count)
                return
            for i in range(count):
                place = code.add(to, code.mul(code.add(o, i), so))
                code.b.store(code.lane(total, i), code.at(target, place), align=4)
        lanes = library.machine.lanes
        whole = outputs // lanes
        code.each([Group(0, whole, lanes)] if whole else [], vector)
        if outputs % lanes:
            vector(whole * lanes, outputs % lanes)
    code.loop(begin, end, row)
    code.finish()
    return Driver(str(code.fn.name), ("parts", "gw"), rows, 0)


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
        found = tiling(library.machine, (rows,), self.outer, pixels)
        self.tiles = partition(rows, found.patches[found.panels[0].size][0])
        self.slices = (Group(0, 1, self.inner),) if self.few else self.tiles  # channels copied
        self.panels = _panels(found.panels, self.outer, lanes)
        self.height = sum(t.count for t in self.tiles)  # of a panel in tiles
        self.units = self.height * sum(g.count for g, _ in self.panels)
        # x as it lies in memory will do where no border is missing, and a copy brings little.
        self.direct = self.pad == (0, 0) and (self.few or conv.channels <= _NEAR or
                                              conv.kernel == (1, 1))
        self.columns = conv.width if self.clipped or self.direct else self._reach(1, conv.out[1])
        self.still = (conv.groups == 1 and (self.few or self.units == self.height) and
                      (self.outer % lanes == 0 or lanes > 4))  # so will gy
        self.copied = 0 if self.direct else rounded(
            self.samples[0].size * self._height(self.rows[0].size) * self.columns * self.inner)
        self.scratch = self.copied + (
            0 if self.still else pixels * lanes * max(g.size for g, _ in self.panels))
        self.code = library.function(name, ("x", "gy", "part", "scratch"), ("begin", "end"))

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
        code, conv, units = self.code, self.conv, self.units
        *_, begin, end = code.fn.args
        if self.parts:
            blocks, every = sum(g.count for g in self.rows), (code.value(0), code.value(units))
            units = blocks * sum(g.count for g in self.samples)
            zero_fill(code, code.fn.args[2],
                      conv.kernel[0] * conv.kernel[1] * self.inner * conv.outputs)

            def unit(u: Any) -> None:
                n, here = code.b.sdiv(u, code.value(blocks)), code.b.srem(u, code.value(blocks))
                code.units(self.rows, here, code.add(here, 1), lambda row, rows: self._block(
                    _Part(n, 1, row, rows, *every)))
            if blocks == 1:
                code.units(self.samples, begin, end, lambda n, count: self._block(
                    _Part(n, count, 0, conv.out[0], *every)))
            else:
                code.loop(begin, end, unit)
        else:
            phases_of_sum(code, self.samples, lambda n, count, first, _: self._block(
                _Part(n, count, 0, conv.out[0], begin, end, not first)))
        code.finish()
        return Driver(str(code.fn.name), ("x", "gy", "part", "scratch"), units, self.scratch)

    def _block(self, part: _Part) -> None:
        """Adds the products of one block of pixels."""
        code = self.code

        def group(g: Any) -> None:
            if not self.direct:
                code.each(self.slices, lambda c, size: self._copy(part, g, c, size))
            first = 0
            for panels, width in self.panels:
                def panel(i: Any, _: int, panels: Group = panels, width: int = width,
                          first: int = first) -> None:
                    v = code.add(panels.start, code.mul(i, panels.size))
                    unit = code.mul(code.add(i, first), self.height)
                    self._panel(part, self._packed(part, g, v, panels.size, width, unit))
                low = code.b.sdiv(part.begin, code.value(self.height))
                high = code.b.sdiv(code.add(part.end, self.height - 1), code.value(self.height))
                code.units((Group(0, panels.count, 1),), code.add(low, -first),
                           code.add(high, -first), panel)
                first += panels.count
        code.loop(0, self.conv.groups, group)

    def _copy(self, part: _Part, g: Any, c: Any, size: int) -> None:
        """scratch[c][sample][row][column][channel of the slice] from x."""
        code, conv = self.code, self.conv
        x, _, _, scratch = code.fn.args[:4]
        window = Window(*conv.size, conv.channels, -self.pad[1], self.columns, size)
        height = self._height(part.rows)
        copier = row_copier(self.lib, window, height)
        first = code.add(code.mul(part.row, conv.stride[0]), -self.pad[0])
        channel = code.add(c, code.mul(g, self.inner))
        target = code.at(scratch, code.mul(c, part.count * height * self.columns))

        def sample(i: Any) -> None:
            place = code.mul(code.add(part.n, i), conv.height * conv.width * conv.channels)
            code.call(copier, [code.at(x, code.add(place, channel)),
                               code.at(target, code.mul(i, height * window.row))], [first])
        code.loop(0, part.count, sample)

    def _packed(self, part: _Part, g: Any, vector: Any, vectors: int, width: int,
                unit: Any) -> _Panel:
        """A panel of output channels, packed."""
        code, conv, lanes = self.code, self.conv, self.code.machine.lanes
        place = code.mul(code.add(code.mul(part.n, conv.out[0]), part.row),
                         conv.out[1] * conv.outputs)
        column = code.add(code.mul(g, self.outer), code.mul(vector, lanes))
        values, step = code.at(code.fn.args[1], code.add(place, column)), conv.outputs
        if not self.still:
            packer = panel_packer(self.lib, part.count * part.rows * conv.out[1], width, step, 1)
            source, values, step = values, code.at(code.fn.args[3], self.copied), vectors * lanes
            code.call(packer, [source, values])
        return _Panel(g, width, step, values, column, unit)

    def _panel(self, part: _Part, panel: _Panel) -> None:
        """The tiles of a panel from x (or the copy)."""
        code, conv = self.code, self.conv

        def tile(c: Any, size: int) -> None:
            if self.direct:
                row = code.add(code.mul(part.n, conv.height), code.mul(part.row, conv.stride[0]))
                first = code.add(code.mul(panel.g, self.inner), 0 if self.few else c)
                source = code.at(code.fn.args[0], code.add(
                    code.mul(row, conv.width * conv.channels), first))
            else:
                first = code.mul(0 if self.few else c, part.count * self._height(part.rows))
                source = code.at(code.fn.args[3], code.mul(first, self.columns))
            self._tile(part, panel, source, c, size)
        if not self.few:
            code.units(self.tiles, code.b.sub(part.begin, panel.unit),
                       code.b.sub(part.end, panel.unit), tile)
            return
        for g in self.tiles:
            for i in range(g.count):
                tile(g.start + i * g.size, g.size)

    def _tile(self, part: _Part, panel: _Panel, source: Any, c: Any, size: int) -> None:
        """Channels c.. for every tap; or where they are few, rows c.. of (k, l, c)."""
        code, conv = self.code, self.conv
        depth = conv.channels if self.direct else self.inner if self.few else size
        height = conv.height if self.direct else self._height(part.rows)
        line, width = self.columns * depth, conv.out[1]
        for t in range(self.taps):
            to, at, extent = self._tap(t)
            places = [to * depth + r for r in range(size)]
            if self.few:
                places = [self._tap(r // self.inner)[0] * depth + r % self.inner
                          for r in range(c, c + size)]
            loops = (Loop(part.count, height * line, part.rows * width * panel.step),
                     Loop(min(part.rows, extent[0]), conv.stride[0] * line, width * panel.step),
                     Loop(extent[1], conv.stride[1] * depth, panel.step))
            if part.load and 0 in extent:
                continue
            number = code.add(panel.unit, code.b.udiv(code.value(c),
                                                      code.value(self.tiles[-1].size)))
            number = code.add(code.mul(number, self.taps), t)
            ahead, following = self._ahead(part, number, loops) if self.parts else (None, [])
            block = Block(tuple(p - places[0] for p in places),
                          tuple(r * conv.outputs for r in range(size)), panel.width, loops,
                          padded=panel.step % code.machine.lanes == 0, load=part.load, ahead=ahead)
            row = code.mul(code.add(c, t * self.inner), conv.outputs)
            code.call(micro(self.lib, block), [
                code.at(source, places[0]), code.at(panel.values, at * panel.step),
                code.fn.args[2], *following], [code.add(row, panel.column), panel.column])

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

    def _ahead(self, part: _Part, number: Any, loops: tuple[Loop, ...]) -> tuple[Ahead, list[Any]]:
        """What the number-th kernel fetches of the next block: the first ones x, others gy."""
        code, conv = self.code, self.conv
        x, gy = code.fn.args[:2]
        pitch, gy_pitch = conv.width * conv.channels, conv.out[1] * conv.outputs
        floats = part.count * part.rows * conv.stride[0] * pitch
        gy_floats = part.count * part.rows * gy_pitch
        kernels = self.units * self.taps
        first = min(kernels - 1, round(kernels * floats / (floats + gy_floats)))
        share = -(-floats // first) if first else 0
        gy_share = -(-gy_floats // (kernels - first))
        last, row = code.add(part.n, part.count - 1), code.add(part.row, part.rows)
        x_next = code.add(code.mul(last, conv.height * pitch),
                          code.mul(row, conv.stride[0] * pitch), code.mul(number, share))
        gy_next = code.add(code.mul(last, conv.out[0] * gy_pitch), code.mul(row, gy_pitch),
                           code.mul(number, gy_share), -first * gy_share)
        following = code.b.select(code.b.icmp_signed("<", number, code.value(first)),
                                  code.at(x, x_next), code.at(gy, gy_next))
        step = -(-max(share, gy_share) // rounds(loops))
        return Ahead(min(4 if self.few else 1, -(-step // 16)), 16, step), [following]


def _panels(groups: tuple[Group, ...], columns: int, lanes: int) -> list[tuple[Group, int]]:
    """Panels and their width; the last one is by itself if it ends before its vectors do."""
    found: list[tuple[Group, int]] = []
    for g in groups:
        last = g.start + (g.count - 1) * g.size
        width = column_width(columns, last, g.size, lanes)
        short = int(width < g.size * lanes)
        found += [(Group(g.start, g.count - short, g.size), g.size * lanes),
                  (Group(last, short, g.size), width)]
    return [(g, width) for g, width in found if g.count]


@dataclass(frozen=True)
class _Part:
    """A block of pixels: samples n.. (`count`), output rows row.. (`rows`). Of the tiles of gw, in
    panels of columns, begin..end - 1 are computed. `load`: add to what is there."""

    n: Any
    count: int
    row: Any
    rows: int
    begin: Any
    end: Any
    load: bool = True


@dataclass(frozen=True)
class _Panel:
    """`width` columns of group g from `column` on; `values` of gy, a pixel every `step` floats; the
    number of its first tile."""

    g: Any
    width: int
    step: int
    values: Any
    column: Any
    unit: Any
