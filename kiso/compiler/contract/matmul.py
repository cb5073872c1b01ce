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

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from kiso.compiler.contract.dots import dots
from kiso.compiler.contract.driver import Driver, phases_of_sum, pieces, rounded
from kiso.compiler.contract.emit import Group, Library, partition
from kiso.compiler.contract.micro import PLAIN, UNROLL, Ahead, Block, Epilogue, Loop, chain, micro
from kiso.compiler.contract.pack import panel_packer, row_packer
from kiso.compiler.contract.tiles import tiling

__all__ = ["Product", "matmul"]

_STEPS = 256           # of K in a block: a panel of 3 vectors and 16 lanes takes 48 KiB
_PACKED_A = 64 * 1024  # floats of A packed at a time
_LARGE = 1 << 18       # floats that do not stay in the second-level cache
_HUGE = 1 << 22        # floats of C that do not stay in any cache
_QUARTERS = UNROLL     # a kernel fetches the part of the next panel for which it has rounds
_REUSED = 24           # rows of A from which on packing B pays
_FEW = 8               # rows of A up to which B transposed is not worth packing
_UNITS = 8             # so many threads at least can share a product that is not tiny

_ADDED = Epilogue((), lambda code, x, spot, _: code.b.fadd(
    x, code.load(code.fn.args[2], spot.offset, spot.lanes)))  # + c[offset]


@dataclass(frozen=True)
class Product:
    """Sizes of C (rows, columns) = op(A) (rows, depth) op(B) (depth, columns)."""

    rows: int
    columns: int
    depth: int
    transpose_a: bool = False
    transpose_b: bool = False
    accumulate: bool = False


def matmul(library: Library, product: Product, epilogue: Epilogue = PLAIN,
           name: str = "matmul") -> Driver:
    """The driver (a, b, c, epilogue's pointers..., scratch, begin, end). Threads may take any
    ranges of units; a result's value does not depend on them."""
    if product.rows < _FEW and product.transpose_b and not product.transpose_a:
        return dots(library, product, epilogue, name)
    return _Writer(library, product, epilogue, name).write()


class _Writer:
    def __init__(self, library: Library, product: Product, epilogue: Epilogue, name: str):
        assert min(product.rows, product.columns, product.depth) > 0, product
        self.lib, self.product = library, product
        self.ends = {(False, False): PLAIN, (False, True): epilogue,
                     (True, False): _ADDED, (True, True): chain(_ADDED, epilogue)}
        self.lanes = library.machine.lanes
        blocks = -(-product.depth // _STEPS)
        self.blocks = pieces(product.depth, rounded(-(-product.depth // blocks)))
        self.steps = self.blocks[0].size
        self.found = tiling(library.machine, (product.rows,), product.columns, self.steps)
        self.patch = self.found.patches[self.found.panels[0].size][0]
        self.strides = (1, product.depth) if product.transpose_b else (product.columns, 1)
        self.pack_a = product.transpose_a
        # Block by block where A is packed or large; otherwise panel by panel: C stays in the cache.
        large = product.transpose_b and product.rows * product.depth >= _LARGE
        self.outer = self.pack_a or large
        self.pack_b = product.transpose_b or product.rows >= _REUSED
        # Threads share the panels of B, so that each is packed once, or the rows if panels are few.
        self.by_rows = sum(g.count for g in self.found.panels) < _UNITS < product.rows
        at_once = _PACKED_A // self.steps if self.pack_a else product.rows
        if self.by_rows:
            at_once = min(at_once, -(-product.rows // _UNITS))
        self.chunks = partition(product.rows, max(self.patch, at_once))
        self.packed_a = rounded(self.chunks[0].size * self.steps) if self.pack_a else 0
        self.pointers = ("a", "b", "c", *epilogue.pointers, "scratch")
        self.code = library.function(name, self.pointers, ("begin", "end"))

    def write(self) -> Driver:
        code, (*_, begin, end) = self.code, self.code.fn.args
        shared = self.chunks if self.by_rows else self.found.panels

        def each(groups: tuple[Group, ...], body: Callable[[Any, int], None]) -> None:
            if groups is shared:
                code.units(groups, begin, end, body)
            else:
                code.each(groups, body)

        def blocks(body: Callable[[_Block], None]) -> None:
            phases_of_sum(code, self.blocks, lambda k, steps, first, last: body(
                _Block(k, steps, self.product.accumulate or not first, last)))

        def panels(body: Callable[[_Panel], None]) -> None:
            each(self.found.panels, lambda v, vectors: self._edge(v, vectors, body))

        def chunk(now: _Block, row: Any, rows: int) -> None:
            packer = row_packer(self.lib, now.steps, self.product.rows, rows, self.patch)
            source = code.at(code.fn.args[0], code.add(code.mul(now.k, self.product.rows), row))
            code.call(packer, [source, code.fn.args[-3]])
            panels(lambda panel: self._tiles(now, panel, self._pack_b(now, panel), row, rows))

        def block(now: _Block, panel: _Panel) -> None:
            b = self._pack_b(now, panel)
            each(self.chunks, lambda row, rows: self._tiles(now, panel, b, row, rows))
        if self.pack_a:
            blocks(lambda now: each(self.chunks, lambda row, rows: chunk(now, row, rows)))
        elif self.outer:
            blocks(lambda now: panels(lambda panel: block(now, panel)))
        else:
            panels(lambda panel: blocks(lambda now: block(now, panel)))
        code.finish()
        panel = 4 * self.lanes * self.steps if self.pack_b else 0
        return Driver(str(code.fn.name), self.pointers, sum(g.count for g in shared),
                      self.packed_a + panel)

    def _edge(self, vector: Any, vectors: int, body: Callable[[_Panel], None]) -> None:
        """The panel that begins at a vector; the last vector of all may be cut by the edge of C."""
        code, lanes, columns = self.code, self.lanes, self.product.columns
        last = -(-columns // lanes) - vectors  # the first vector of the last panel
        widths = {False: vectors * lanes, True: columns - last * lanes}

        def real(at_end: bool) -> None:
            body(_Panel(code.mul(vector, lanes), vectors, widths[at_end]))
        if widths[True] == widths[False] or isinstance(vector, int):
            real(isinstance(vector, int) and vector == last)
        else:
            code.branch(code.b.icmp_signed("==", vector, code.value(last)),
                        lambda: real(True), lambda: real(False))

    def _place(self, k: Any, column: Any) -> Any:
        """Address of an element of op(B)."""
        code, (k_step, step) = self.code, self.strides
        return code.at(code.fn.args[1], code.add(code.mul(k, k_step), code.mul(column, step)))

    def _pack_b(self, now: _Block, panel: _Panel) -> Any:
        """The address of a panel of B, packed if need be."""
        origin = self._place(now.k, panel.column)
        if not self.pack_b:
            return origin
        target = self.code.at(self.code.fn.args[-3], self.packed_a)
        packer = panel_packer(self.lib, now.steps, panel.width, *self.strides)
        self.code.call(packer, [origin, target])
        return target

    def _tiles(self, now: _Block, panel: _Panel, b: Any, row: Any, rows: int) -> None:
        """The micro-kernels of one panel, at b, over a chunk of rows."""
        code, p = self.code, self.product
        a, _, c, *extra = code.fn.args[:-3]
        tiles = partition(rows, self.patch)
        b_step = panel.vectors * self.lanes if self.pack_b else p.columns
        ahead, fetched = self._ahead(now, panel, tiles[-1].size)

        def tile(r: Any, size: int) -> None:
            here = code.add(row, r)
            if self.pack_a:
                source = code.at(code.fn.args[-3], code.mul(r, now.steps))
                a_row, a_step = 1, size
            else:
                source = code.at(a, code.add(code.mul(here, p.depth), now.k))
                a_row, a_step = p.depth, 1
            spec = Block(tuple(i * a_row for i in range(size)),
                         tuple(i * p.columns for i in range(size)), panel.width,
                         (Loop(now.steps, a_step, b_step),), self.pack_b, ahead=ahead)
            offset = code.add(code.mul(here, p.columns), panel.column)
            code.call(micro(self.lib, spec, self.ends[now.load, now.last]),
                      [source, b, c, *fetched(r, offset), *(extra if now.last else ())],
                      [offset, panel.column])
        code.each(tiles, tile)

    def _ahead(self, now: _Block, panel: _Panel, size: int,
               ) -> tuple[Ahead | None, Callable[[Any, Any], list[Any]]]:
        """What tiles of `size` rows fetch so that it comes from memory as fast as it is needed: the
        next tile of a large C, or a quarter of the part of a large B that is read next. Gives also
        where that begins, for the tile's first row and place in C."""
        code, p, width = self.code, self.product, panel.vectors * self.lanes
        lines = Ahead(-(-width // 16), 16, p.columns)
        if p.rows * p.columns >= _HUGE and p.depth <= _STEPS:
            return lines, lambda r, offset: [code.at(
                code.fn.args[2], code.add(offset, size * p.columns))]
        if not self.pack_b or p.columns * p.depth < _LARGE:
            return None, lambda r, offset: []
        down = not (self.outer or now.last)  # to the next block of the same columns
        k = code.add(now.k, now.steps) if down else now.k if self.outer else 0
        origin = self._place(k, panel.column if down else code.add(panel.column, width))
        step = (width if p.transpose_b else now.steps) // _QUARTERS * max(self.strides)

        def quarter(r: Any, offset: Any) -> list[Any]:
            tile = code.b.udiv(code.value(r), code.value(size))
            return [code.at(origin, code.mul(code.b.urem(tile, code.value(_QUARTERS)), step))]
        return Ahead(width // _QUARTERS, p.depth, UNROLL) if p.transpose_b else lines, quarter


class _Block(NamedTuple):
    """A block of K; C may hold part of the sum before; after the last block the sum is complete."""

    k: Any
    steps: int
    load: bool
    last: bool


class _Panel(NamedTuple):
    """A panel of B: its first column, vectors, real columns."""

    column: Any
    vectors: int
    width: int
