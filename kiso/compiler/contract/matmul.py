"""Matrix products: C (M, N) = op(A) (M, K) times op(B) (K, N), op = identity or transpose.

    forward           y = x W        A = x,  B = W
    gradient of x     gx = gy W^T    A = gy, B = W transposed
    gradient of W     gW = x^T gy    A = x transposed, B = gy

All arrays are row-major. The sum over K is cut into blocks that fit the caches. The sums of blocks
are added into C, not gone on with: a chain of K additions rounds to the size of the whole sum each
time (8 times the error for K = 25088). For each block a panel of B (one micro-kernel wide) stays in
the cache while all rows of A pass by; it is packed into scratch (whole cache lines without gaps)
where there are enough rows to pay for it or B is transposed. A transposed A is packed in the same
way, rows of a block side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from kiso.compiler.contract.dots import dots
from kiso.compiler.contract.emit import Driver, Index, Library, Val
from kiso.compiler.contract.micro import UNROLL, Block, Loop, Stream, micro, needed
from kiso.compiler.contract.pack import panel_packer, row_packer
from kiso.compiler.contract.tiles import Group, chopped, partition, rounded, tiling

__all__ = ["Product", "matmul"]

_STEPS = 256           # of K in a block: a panel of 3 vectors and 16 lanes takes 48 KiB
_PACKED_A = 64 * 1024  # floats of A packed at a time
_LARGE = 1 << 18       # floats that do not stay in the second-level cache
_HUGE = 1 << 22        # floats of C that do not stay in any cache
_QUARTERS = UNROLL     # a kernel fetches the part of the next panel for which it has rounds
_REUSED = 24           # rows of A from which on packing B pays
_FEW = 8               # rows of A up to which B transposed is not worth packing
_UNITS = 8             # so many threads at least can share a product that is not tiny


@dataclass(frozen=True)
class Product:
    """Sizes of C (rows, columns) = op(A) (rows, depth) op(B) (depth, columns)."""

    rows: int
    columns: int
    depth: int
    transpose_a: bool = False
    transpose_b: bool = False


def matmul(library: Library, product: Product, after: tuple[str, ...] = (),
           name: str = "matmul") -> Driver:
    """The driver (a, b, c, arrays for the work after..., scratch, begin, end). Threads may take
    any ranges of units; a result's value does not depend on them."""
    p = product
    if p.rows < _FEW and p.transpose_b and not p.transpose_a:
        return dots(library, (p.rows, p.columns, p.depth), after, name)
    return _Writer(library, product, after, name).write()


class _Writer:
    def __init__(self, library: Library, product: Product, after: tuple[str, ...], name: str):
        assert min(product.rows, product.columns, product.depth) > 0, product
        self.lib, self.product, self.after = library, product, after
        self.lanes = library.machine.lanes
        blocks = -(-product.depth // _STEPS)
        self.blocks = chopped(product.depth, rounded(-(-product.depth // blocks)))
        self.steps = self.blocks[0].size
        self.panels, most = tiling(library.machine, product.rows, product.columns, self.steps)
        self.patch = most[self.panels[0].size]
        self.strides = (1, product.depth) if product.transpose_b else (product.columns, 1)
        self.pack_a = product.transpose_a
        # Block by block where A is packed or large; otherwise panel by panel: C stays in the cache.
        large = product.transpose_b and product.rows * product.depth >= _LARGE
        self.outer = self.pack_a or large
        self.pack_b = product.transpose_b or product.rows >= _REUSED
        # Threads share the panels of B, so that each is packed once, or the rows if panels are few.
        self.by_rows = sum(g.count for g in self.panels) < _UNITS < product.rows
        at_once = _PACKED_A // self.steps if self.pack_a else product.rows
        if self.by_rows:
            at_once = min(at_once, -(-product.rows // _UNITS))
        self.chunks = partition(product.rows, max(self.patch, at_once))
        self.packed_a = rounded(self.chunks[0].size * self.steps) if self.pack_a else 0
        self.code = library.function(name, ("a", "b", "c", *needed(after), "scratch"))
        self.a, self.b, self.c, *self.arrays, self.scratch = self.code.pointers

    def write(self) -> Driver:
        code = self.code
        if self.pack_a:
            for now in self._blocks():
                for row, rows in self._each(self.chunks):
                    packer = row_packer(self.lib, now.steps, self.product.rows, rows, self.patch)
                    code.run(packer, self.a + (now.k * self.product.rows + row), self.scratch)
                    for panel in self._panels():
                        self._tiles(now, panel, self._pack_b(now, panel), row, rows)
        elif self.outer:
            for now in self._blocks():
                for panel in self._panels():
                    self._block(now, panel)
        else:
            for panel in self._panels():
                for now in self._blocks():
                    self._block(now, panel)
        panel = 4 * self.lanes * self.steps if self.pack_b else 0
        shared = self.chunks if self.by_rows else self.panels
        return code.driver(sum(g.count for g in shared), self.packed_a + panel)

    def _each(self, groups: tuple[Group, ...]) -> Iterator[tuple[Index, int]]:
        """All pieces, or this thread's."""
        shared = self.chunks if self.by_rows else self.panels
        if groups is shared:
            return self.code.units(groups, *self.code.numbers)
        return self.code.each(groups)

    def _blocks(self) -> Iterator[_Block]:
        for k, steps, first, last in self.code.sums(self.blocks):
            before = () if first else ("sum",)
            yield _Block(k, steps, last, before + (self.after if last else ()))

    def _panels(self) -> Iterator[_Panel]:
        """The last vector of all may be cut by the edge of C: a panel of its own."""
        code, lanes, columns = self.code, self.lanes, self.product.columns
        for vector, vectors in self._each(self.panels):
            last = -(-columns // lanes) - vectors  # the first vector of the last panel
            full, edge = vectors * lanes, columns - last * lanes
            if isinstance(vector, int):
                yield _Panel(vector * lanes, vectors, edge if vector == last else full)
            elif full == edge:
                yield _Panel(vector * lanes, vectors, full)
            else:
                for at_end in code.either(code.equal(vector, last)):
                    yield _Panel(vector * lanes, vectors, edge if at_end else full)

    def _block(self, now: _Block, panel: _Panel) -> None:
        b = self._pack_b(now, panel)
        for row, rows in self._each(self.chunks):
            self._tiles(now, panel, b, row, rows)

    def _place(self, k: Index, column: Index) -> Val:
        """Address of an element of op(B)."""
        k_step, step = self.strides
        return self.b + (k * k_step + column * step)

    def _pack_b(self, now: _Block, panel: _Panel) -> Val:
        """The address of a panel of B, packed if need be."""
        origin = self._place(now.k, panel.column)
        if not self.pack_b:
            return origin
        target = self.scratch + self.packed_a
        self.code.run(panel_packer(self.lib, now.steps, panel.width, *self.strides), origin, target)
        return target

    def _tiles(self, now: _Block, panel: _Panel, b: Val, row: Index, rows: int) -> None:
        """The micro-kernels of one panel, at b, over a chunk of rows."""
        code, p = self.code, self.product
        tiles = partition(rows, self.patch)
        b_step = panel.vectors * self.lanes if self.pack_b else p.columns
        ahead, fetched = self._ahead(now, panel, tiles[-1].size)
        for r, size in code.each(tiles):
            here = row + r
            if self.pack_a:
                source = self.scratch + r * now.steps
                a_row, a_step = 1, size
            else:
                source = self.a + (here * p.depth + now.k)
                a_row, a_step = p.depth, 1
            block = Block(tuple(i * a_row for i in range(size)),
                          tuple(i * p.columns for i in range(size)), panel.width,
                          (Loop(now.steps, a_step, b_step),), self.pack_b, after=now.after,
                          ahead=ahead)
            offset = here * p.columns + panel.column
            arrays = self.arrays if now.last else []
            code.run(micro(self.lib, block), source, b, self.c, *fetched(r, offset), *arrays,
                     offset, panel.column)

    def _ahead(self, now: _Block, panel: _Panel, size: int,
               ) -> tuple[Stream | None, Callable[[Index, Index], list[Val]]]:
        """What tiles of `size` rows fetch so that it comes from memory as fast as it is needed: the
        next tile of a large C, or a quarter of the part of a large B that is read next. Gives also
        where that begins, for the tile's first row and place in C."""
        p, width = self.product, panel.vectors * self.lanes
        lines = Stream(tuple(range(0, width, 16)), p.columns)
        if p.rows * p.columns >= _HUGE and p.depth <= _STEPS:
            return lines, lambda r, offset: [self.c + (offset + size * p.columns)]
        if not self.pack_b or p.columns * p.depth < _LARGE:
            return None, lambda r, offset: []
        down = not (self.outer or now.last)  # to the next block of the same columns
        k = now.k + now.steps if down else now.k if self.outer else 0
        origin = self._place(k, panel.column if down else panel.column + width)
        step = (width if p.transpose_b else now.steps) // _QUARTERS * max(self.strides)

        def quarter(r: Index, offset: Index) -> list[Val]:
            return [origin + r // size % _QUARTERS * step]
        if p.transpose_b:
            lines = Stream(tuple(i * p.depth for i in range(width // _QUARTERS)), UNROLL)
        return lines, quarter


class _Block(NamedTuple):
    """A block of K; after the last one the sum is complete. What to do after it."""

    k: Index
    steps: int
    last: bool
    after: tuple[str, ...]


class _Panel(NamedTuple):
    """A panel of B: its first column, vectors, real columns."""

    column: Index
    vectors: int
    width: int
