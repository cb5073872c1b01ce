"""The gradient of a convolution with respect to its weights.

    gw[k, l, c, o] = sum over n, i, j of x[n, i s - p + k d, j s - p + l d, c] gy[n, i, j, o]

Rows of the micro-kernel are input channels (of one tap, or of several where there are few), columns
output channels, the reduction runs over pixels: some hundred at a time, from several samples where
images are small. For such a block x is copied to scratch, tile of channels by tile, with a border
of zeros, and gy is packed into panels; then every tap is a shifted view of the copy. Each thread
adds up its units in an array of its own; `conv_weight_sum` adds these in a fixed order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kiso.compiler.contract.driver import Driver, column_width, rounded
from kiso.compiler.contract.emit import Group, Library, partition
from kiso.compiler.contract.halo import Window, row_copier, zero_fill
from kiso.compiler.contract.micro import Ahead, Block, Loop, micro, rounds
from kiso.compiler.contract.pack import panel_packer
from kiso.compiler.contract.shape import Conv
from kiso.compiler.contract.tiles import tiling

__all__ = ["conv_weight_gradient", "conv_weight_sum"]

_PIXELS = 512  # in a block, about
_FEW = 8       # input channels below which a tile takes rows from several taps


def conv_weight_gradient(library: Library, conv: Conv, least_units: int = 2,
                         name: str = "conv_gw") -> Driver:
    """(x, gy, part, scratch, begin, end): part (KH, KW, C / groups, O) = the sum over these units
    (zero for none). Work is cut into `least_units` or more where there are samples or rows."""
    return _Writer(library, conv, least_units, name).write()


def conv_weight_sum(library: Library, conv: Conv, parts: int,
                    strides: tuple[int, int, int, int] | None = None,
                    name: str = "conv_gw_sum") -> Driver:
    """(parts, gw, begin, end): gw = parts[0] + parts[1] + ..., in this order; a unit is one
    tap of a vector of outputs. gw's element k, l, c, o is at these numbers times `strides`; as in
    the parts for None."""
    kh, kw = conv.kernel
    channels, outputs = conv.channels // conv.groups, conv.outputs
    size = channels * outputs
    sk, sl, sc, so = strides or (kw * size, size, outputs, 1)
    code = library.function(name, ("parts", "gw"), ("begin", "end"))
    source, target, begin, end = code.fn.args

    def add(place: Any, to: Any, count: int) -> None:
        total = code.load(source, place, count)
        for part in range(1, parts):
            here = code.add(place, part * kh * kw * size)
            total = code.b.fadd(total, code.load(source, here, count))
        if so == 1:
            code.store(total, target, to, count)
            return
        for i in range(count):
            x = code.lane(total, i)
            code.b.store(x, code.at(target, code.add(to, i * so)), align=4)

    lanes = library.machine.lanes
    vectors, rest = -(-outputs // lanes), outputs % lanes

    def unit(u: Any) -> None:
        t, v = code.b.sdiv(u, code.value(vectors)), code.b.srem(u, code.value(vectors))
        k, l = code.b.sdiv(t, code.value(kw)), code.b.srem(t, code.value(kw))
        o = code.mul(v, lanes)
        place = code.add(code.mul(t, size), o)
        to = code.add(code.mul(k, sk), code.mul(l, sl), code.mul(o, so))

        def column(count: int) -> None:
            # Down the channels: neighbours in gw where it is stored as (O, C, KH, KW).
            def channel(c: Any) -> None:
                add(code.add(place, code.mul(c, outputs)), code.add(to, code.mul(c, sc)), count)
            code.loop(0, channels, channel)
        if rest:
            code.branch(code.b.icmp_signed("==", v, code.value(vectors - 1)),
                        lambda: column(rest), lambda: column(lanes))
        else:
            column(lanes)
    code.loop(begin, end, unit)
    code.finish()
    return Driver(code.fn, ("parts", "gw"), kh * kw * vectors, 0)


class _Writer:
    def __init__(self, library: Library, conv: Conv, least_units: int, name: str):
        self.lib, self.conv = library, conv
        self.lanes = library.machine.lanes
        self.inner, self.outer = conv.channels // conv.groups, conv.outputs // conv.groups
        self.wholes = -(-self.outer // self.lanes) * self.lanes
        height, width = conv.out
        most = min(max(1, _PIXELS // (height * width)), max(1, conv.batch // least_units))
        self.samples = partition(conv.batch, most)
        # Rows at the edge of a block are copied twice: half as many again at most.
        edge = 2 * ((conv.kernel[0] - 1) * conv.dilation[0] + 1 - conv.stride[0])
        limit = max(1, _PIXELS // width, edge)
        if conv.batch < least_units:
            limit = max(1, min(limit, height * conv.batch // least_units))
        self.rows = partition(height, height if most > 1 else min(limit, height))
        self.few = self.inner < _FEW
        rows = conv.kernel[0] * conv.kernel[1] * self.inner if self.few else self.inner
        pixels = self.samples[0].size * self.rows[0].size * width
        self.found = tiling(library.machine, (rows,), self.outer, pixels)
        patch = self.found.patches[self.found.panels[0].size][0]
        self.tiles = partition(rows, patch)      # rows of the micro-kernels
        self.slices = (Group(0, 1, self.inner),) if self.few else self.tiles  # channels copied
        self.columns = ((width - 1) * conv.stride[1] + (conv.kernel[1] - 1) * conv.dilation[1] + 1)
        self.code = library.function(name, ("x", "gy", "part", "scratch"), ("begin", "end"))
        self.copied = rounded(self.samples[0].size * self._height(self.rows[0].size) *
                              self.columns * self.inner)
        self.scratch = self.copied + pixels * self.wholes

    def _height(self, rows: int) -> int:
        """Input rows for so many output rows."""
        conv = self.conv
        return (rows - 1) * conv.stride[0] + (conv.kernel[0] - 1) * conv.dilation[0] + 1

    def write(self) -> Driver:
        code, conv = self.code, self.conv
        *_, begin, end = code.fn.args
        kh, kw = conv.kernel
        zero_fill(code, code.fn.args[2], kh * kw * self.inner * conv.outputs)
        blocks = sum(g.count for g in self.rows)
        if blocks == 1:
            code.units(self.samples, begin, end, lambda n, count: self._block(
                _Part(n, count, 0, conv.out[0])))
        else:
            def unit(u: Any) -> None:
                n = code.b.sdiv(u, code.value(blocks))
                here = code.b.srem(u, code.value(blocks))
                code.units(self.rows, here, code.add(here, 1), lambda row, rows: self._block(
                    _Part(n, 1, row, rows)))
            code.loop(begin, end, unit)
        code.finish()
        units = blocks * sum(g.count for g in self.samples)
        return Driver(code.fn, ("x", "gy", "part", "scratch"), units, self.scratch)

    def _block(self, part: _Part) -> None:
        """Adds the products of one block of pixels."""
        code, conv = self.code, self.conv

        def group(g: Any) -> None:
            code.each(self.slices, lambda c, size: self._copy(
                part, code.add(c, code.mul(g, self.inner)), c, size))
            code.each(self.found.panels, lambda v, vectors: self._vectors(part, g, v, vectors))
        code.loop(0, conv.groups, group)

    def _copy(self, part: _Part, channel: Any, to: Any, size: int) -> None:
        """scratch[to][sample][row][column][channel of the slice] from x."""
        code, conv = self.code, self.conv
        x, _, _, scratch = code.fn.args[:4]
        window = Window(*conv.size, conv.channels, -conv.padding[1], self.columns, size)
        height = self._height(part.rows)
        copier = row_copier(self.lib, window, height)
        first = code.add(code.mul(part.row, conv.stride[0]), -conv.padding[0])
        target = code.at(scratch, code.mul(to, part.count * height * self.columns))

        def sample(i: Any) -> None:
            place = code.mul(code.add(part.n, i), conv.size[0] * conv.size[1] * conv.channels)
            code.call(copier, [code.at(x, code.add(place, channel)),
                               code.at(target, code.mul(i, height * window.row))], [first])
        code.loop(0, part.count, sample)

    def _vectors(self, part: _Part, g: Any, vector: Any, vectors: int) -> None:
        """A panel of output channels; the last one may end before its vectors do."""
        code, end = self.code, self.wholes // self.lanes
        if self.wholes == self.outer or isinstance(vector, int):
            width = (column_width(self.outer, vector, vectors, self.lanes)
                     if isinstance(vector, int) else vectors * self.lanes)
            self._panel(part, g, vector, vectors, width)
            return
        short = vectors * self.lanes - (self.wholes - self.outer)
        code.branch(code.b.icmp_signed("==", vector, code.value(end - vectors)),
                    lambda: self._panel(part, g, vector, vectors, short),
                    lambda: self._panel(part, g, vector, vectors, vectors * self.lanes))

    def _panel(self, part: _Part, g: Any, vector: Any, vectors: int, width: int) -> None:
        code, conv = self.code, self.conv
        _, gy, _, scratch = code.fn.args[:4]
        pixels = part.count * part.rows * conv.out[1]
        place = code.mul(code.add(code.mul(part.n, conv.out[0]), part.row),
                         conv.out[1] * conv.outputs)
        gy = code.at(gy, place)
        column = code.add(code.mul(g, self.outer), code.mul(vector, self.lanes))
        packed = code.at(scratch, self.copied)
        if conv.groups == 1 and conv.outputs == vectors * self.lanes:
            packed = gy  # as it is
        else:
            packer = panel_packer(self.lib, pixels, width, conv.outputs, 1)
            code.call(packer, [code.at(gy, column), packed])
        if self.few:
            for tile in self.tiles:
                for i in range(tile.count):
                    self._several(part, packed, tile.start + i * tile.size, tile.size, width,
                                  column)
        else:
            code.each(self.tiles, lambda c, size: self._channels(part, packed, c, size, width,
                                                                 column))

    def _micro(self, part: _Part, rows: tuple[int, ...], depth: int, width: int,
               number: Any) -> tuple[Any, Any]:
        """The kernel whose copy of x has `depth` channels, and what the number-th of a panel's
        kernels fetches of the next block: the first ones x, the others gy."""
        code, conv = self.code, self.conv
        x, gy = code.fn.args[:2]
        step = -(-width // self.lanes) * self.lanes
        line = self.columns * depth
        pixels = part.rows * conv.out[1]
        loops = (Loop(part.count, self._height(part.rows) * line, pixels * step),
                 Loop(part.rows, conv.stride[0] * line, conv.out[1] * step),
                 Loop(conv.out[1], conv.stride[1] * depth, step))
        places = tuple(i * conv.outputs for i in range(len(rows)))
        pitch, gy_pitch = conv.width * conv.channels, conv.out[1] * conv.outputs
        floats = part.count * part.rows * conv.stride[0] * pitch
        gy_floats = part.count * part.rows * gy_pitch
        kernels = sum(t.count for t in self.tiles)
        kernels *= 1 if self.few else conv.kernel[0] * conv.kernel[1]
        first = min(kernels - 1, round(kernels * floats / (floats + gy_floats)))
        share = -(-floats // first) if first else 0
        gy_share = -(-gy_floats // (kernels - first))
        ahead = Ahead(1, 0, -(-max(share, gy_share) // rounds(loops)))
        row = code.mul(code.add(part.row, part.rows), conv.stride[0] * pitch)
        x_next = code.add(code.mul(code.add(part.n, part.count - 1), conv.height * pitch), row,
                          code.mul(number, share))
        gy_row = code.mul(code.add(part.row, part.rows), gy_pitch)
        gy_next = code.add(code.mul(code.add(part.n, part.count - 1), conv.out[0] * gy_pitch),
                           gy_row, code.mul(number, gy_share), -first * gy_share)
        following = code.b.select(
            code.b.icmp_signed("<", code.value(number), code.value(first)),
            code.at(x, x_next), code.at(gy, gy_next))
        return micro(self.lib, Block(rows, places, width, loops, load=True,
                                         ahead=ahead)), following

    def _several(self, part: _Part, packed: Any, row: int, size: int, width: int,
                 column: Any) -> None:
        """Rows (k, l, c) row.., whatever their taps."""
        code, conv, depth = self.code, self.conv, self.inner
        offsets: list[int] = []
        for r in range(row, row + size):
            t, c = divmod(r, depth)
            k, l = divmod(t, conv.kernel[1])
            offsets.append((k * conv.dilation[0] * self.columns + l * conv.dilation[1]) * depth + c)
        fn, following = self._micro(part, tuple(o - offsets[0] for o in offsets), depth, width,
                                    row // self.tiles[-1].size)
        code.call(fn, [code.at(code.fn.args[3], offsets[0]), packed, code.fn.args[2], following],
                  [code.add(column, row * conv.outputs), column])

    def _channels(self, part: _Part, packed: Any, c: Any, size: int, width: int,
                  column: Any) -> None:
        """A slice of channels for every tap."""
        code, conv = self.code, self.conv
        height = self._height(part.rows)
        source = code.at(code.fn.args[3], code.mul(c, part.count * height * self.columns))
        (kh, kw), (dh, dw) = conv.kernel, conv.dilation
        slice_number = code.b.udiv(code.value(c), code.value(self.tiles[-1].size))

        def tap(k: Any, l: Any) -> None:
            t = code.add(code.mul(k, kw), l)
            number = code.add(code.mul(slice_number, kh * kw), t)
            fn, following = self._micro(part, tuple(range(size)), size, width, number)
            shift = code.add(code.mul(k, dh * self.columns * size), code.mul(l, dw * size))
            row = code.add(code.mul(t, self.inner), c)
            code.call(fn, [code.at(source, shift), packed, code.fn.args[2], following],
                      [code.add(code.mul(row, conv.outputs), column), column])

        def line(k: Any) -> None:
            def one(l: Any) -> None:
                tap(k, l)
            code.loop(0, kw, one)
        code.loop(0, kh, line)


@dataclass(frozen=True)
class _Part:
    """A block of pixels: samples n.. (`count`), output rows row.. (`rows`)."""

    n: Any
    count: int
    row: Any
    rows: int
