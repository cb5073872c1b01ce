"""Matrix products: C (M, N) = op(A) (M, K) times op(B) (K, N), op = identity or transpose.

    forward           y = x W        A = x,  B = W
    gradient of x     gx = gy W^T    A = gy, B = W transposed
    gradient of W     gW = x^T gy    A = x transposed, B = gy

All arrays are row-major. The sum over K is cut into blocks that fit the caches; blocks after the
first go on from what C holds. For each block a panel of B (one micro-kernel wide) stays in the
cache while all rows of A pass by; it is packed into scratch (whole cache lines without gaps) where
there are enough rows to pay for it or B is transposed. A transposed A is packed in the same way,
rows of a block side by side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kiso.compiler.contract.driver import Driver, column_width, phases_of_sum, rounded
from kiso.compiler.contract.emit import Group, Library, partition
from kiso.compiler.contract.micro import PLAIN, UNROLL, Ahead, Block, Epilogue, Loop, micro
from kiso.compiler.contract.pack import panel_packer, row_packer
from kiso.compiler.contract.tiles import Tiling, tiling

__all__ = ["Product", "matmul"]

_STEPS = 384           # of K in a block: a panel of 2 vectors and 16 lanes takes 48 KiB
_PACKED_A = 64 * 1024  # floats of A packed at a time
_LARGE = 1 << 18       # floats of B that do not stay in the second-level cache
_QUARTERS = UNROLL     # a kernel fetches the part of the next panel for which it has rounds
_REUSED = 24           # rows of A from which on packing B pays


@dataclass(frozen=True)
class Product:
    """Sizes of C (rows, columns) = op(A) (rows, depth) op(B) (depth, columns). Work is cut along
    `split` ("rows" or "columns"), `unit` of them at a time (about: whole vectors of columns)."""

    rows: int
    columns: int
    depth: int
    transpose_a: bool = False
    transpose_b: bool = False
    accumulate: bool = False
    split: str = "rows"
    unit: int = 0  # 0: all


def matmul(library: Library, product: Product, epilogue: Epilogue = PLAIN,
           name: str = "matmul") -> Driver:
    """The driver (a, b, c, epilogue's pointers..., scratch, begin, end). Threads may take any
    ranges of units; a result's value does not depend on them."""
    return _Writer(library, product, epilogue, name).write()


def _blocks(depth: int) -> tuple[Group, ...]:
    """Cut K into even blocks of whole cache lines, with a shorter one at the end."""
    size = rounded(-(-depth // -(-depth // _STEPS)))
    groups = (Group(0, depth // size, size), Group(depth // size * size, 1, depth % size))
    return tuple(g for g in groups if g.count and g.size)


class _Writer:
    def __init__(self, library: Library, product: Product, epilogue: Epilogue, name: str):
        assert product.split in ("rows", "columns"), product.split
        assert min(product.rows, product.columns, product.depth) > 0, product
        self.lib, self.product, self.epilogue = library, product, epilogue
        self.lanes = library.machine.lanes
        vectors = -(-product.columns // self.lanes)
        self.by_rows = product.split == "rows"
        limit = product.unit or (product.rows if self.by_rows else product.columns)
        self.blocks = _blocks(product.depth)
        self.steps = self.blocks[0].size
        if self.by_rows:
            self.groups = partition(product.rows, limit)
        else:
            self.groups = partition(vectors, max(1, limit // self.lanes))
        self.largest = self.groups[0].size if self.by_rows else product.rows
        self.at_once = max(32, _PACKED_A // self.steps)  # rows of a packed A
        self.pack_a = product.transpose_a
        self.packed_a = (rounded(min(self.at_once, self.largest) * self.steps)
                         if self.pack_a else 0)
        self.pack_b = product.transpose_b or self.largest >= _REUSED
        self.pointers = ("a", "b", "c", *epilogue.pointers, "scratch")
        self.code = library.function(name, self.pointers, ("begin", "end"))

    def write(self) -> Driver:
        *_, begin, end = self.code.fn.args
        vectors = -(-self.product.columns // self.lanes)

        def unit(start: Any, size: int) -> None:
            if self.by_rows:
                self._body(start, size, 0, vectors)
            else:
                self._body(0, self.product.rows, start, size)
        self.code.units(self.groups, begin, end, unit)
        self.code.finish()
        panel = 4 * self.lanes * self.steps if self.pack_b else 0
        units = sum(g.count for g in self.groups)
        return Driver(self.code.fn, self.pointers, units, self.packed_a + panel)

    def _body(self, row: Any, rows: int, vector: Any, vectors: int) -> None:
        """C[row.., vectors..] for `rows` rows and `vectors` vectors of columns."""
        found = tiling(self.lib.machine, (min(rows, self.at_once) if self.pack_a else rows,),
                       vectors * self.lanes, self.steps)

        def block(k: Any, steps: int, first: bool, last: bool) -> None:
            load = self.product.accumulate or not first

            def chunk(r: Any, size: int) -> None:
                here = self.code.add(row, r)
                if self.pack_a:
                    self._pack_a(found, here, size, k, steps)
                self._panels(_Pass(here, size, k, steps, load, last), found, vector)
            self.code.each(partition(rows, self.at_once if self.pack_a else rows), chunk)
        phases_of_sum(self.code, self.blocks, block)

    def _row_groups(self, found: Tiling, rows: int, vectors: int) -> tuple[Group, ...]:
        """Rows of the micro-kernels; one cut for all panels where A is packed."""
        if self.pack_a:
            vectors = found.panels[0].size
        return partition(rows, found.patches[vectors][0])

    def _pack_a(self, found: Tiling, row: Any, rows: int, k: Any, steps: int) -> None:
        """scratch[tile][k][row in tile] from A (K, M)."""
        code, a, stride = self.code, self.code.fn.args[0], self.product.rows
        target = code.fn.args[-3]

        def tile(r: Any, size: int) -> None:
            packer = row_packer(self.lib, steps, stride, size)
            source = code.at(a, code.add(code.mul(k, stride), row, r))
            code.call(packer, [source, code.at(target, code.mul(r, steps))])
        code.each(self._row_groups(found, rows, 0), tile)

    def _panels(self, now: _Pass, found: Tiling, vector: Any) -> None:
        """All panels of a block of K for a chunk of rows."""
        code, lanes, columns = self.code, self.lanes, self.product.columns
        last = -(-columns // lanes)  # vectors in all

        def panel(v: Any, vectors: int) -> None:
            place = code.add(vector, v)
            edge = last * lanes - columns
            if not edge:
                self._panel(now, found, place, vectors, vectors * lanes)
            elif isinstance(place, int):
                self._panel(now, found, place, vectors,
                            column_width(columns, place, vectors, lanes))
            else:
                at_end = code.b.icmp_signed("==", place, code.value(last - vectors))
                code.branch(at_end,
                            lambda: self._panel(now, found, place, vectors,
                                                vectors * lanes - edge),
                            lambda: self._panel(now, found, place, vectors, vectors * lanes))
        code.each(found.panels, panel)

    def _panel(self, now: _Pass, found: Tiling, vector: Any, vectors: int, width: int) -> None:
        """One panel of B, packed if need be, and the micro-kernels over all rows."""
        code, p = self.code, self.product
        a, b, c, *extra = code.fn.args[:-3]
        tiles = self._row_groups(found, now.rows, vectors)
        scratch = code.fn.args[-3]
        column = code.mul(vector, self.lanes)
        k_stride, n_stride = (1, p.depth) if p.transpose_b else (p.columns, 1)
        origin = code.at(b, code.add(code.mul(now.k, k_stride),
                                     code.mul(column, n_stride)))
        following_panel = code.at(origin, vectors * self.lanes * n_stride)
        if self.pack_b:
            target = code.at(scratch, self.packed_a)
            packer = panel_packer(self.lib, now.steps, width, k_stride, n_stride)
            code.call(packer, [origin, target])
            origin, k_stride = target, vectors * self.lanes

        ahead, share = self._ahead(vectors, now.steps)

        def tile(r: Any, size: int) -> None:
            if self.pack_a:
                source, a_row, a_step = code.at(scratch, code.mul(r, now.steps)), 1, size
            else:
                row = code.mul(code.add(now.row, r), p.depth)
                source, a_row, a_step = code.at(a, code.add(row, now.k)), p.depth, 1
            spec = Block(tuple(i * a_row for i in range(size)),
                         tuple(i * p.columns for i in range(size)), width,
                         (Loop(now.steps, a_step, k_stride),), self.pack_b, now.load, now.last,
                         ahead)
            following: list[Any] = []
            if ahead:
                quarter = code.b.urem(code.b.udiv(code.value(r), code.value(tiles[-1].size)),
                                      code.value(_QUARTERS))
                following = [code.at(following_panel, code.mul(quarter, share))]
            offset = code.add(code.mul(code.add(now.row, r), p.columns), column)
            code.call(micro(self.lib, spec, self.epilogue),
                      [source, origin, c, *following, *(extra if now.last else ())],
                      [offset, column])
        code.each(tiles, tile)

    def _ahead(self, vectors: int, steps: int) -> tuple[Ahead | None, int]:
        """What kernels fetch for the next panel of a large B, which then comes from memory as fast
        as it is needed; each fetches a quarter. Gives also the distance of the quarters."""
        p = self.product
        if not self.pack_b or p.columns * p.depth < _LARGE:
            return None, 0
        if p.transpose_b:
            rows = vectors * self.lanes // _QUARTERS
            return Ahead(rows, p.depth, UNROLL), rows * p.depth
        lines = -(-vectors * self.lanes // 16)
        return Ahead(lines, 16, p.columns), steps // _QUARTERS * p.columns


@dataclass(frozen=True)
class _Pass:
    """A block of K over a chunk of rows: where it starts, how large it is, whether C holds part of
    the sum before, whether the sum is complete after."""

    row: Any
    rows: int
    k: Any
    steps: int
    load: bool
    last: bool
