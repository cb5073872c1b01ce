"""The loops of one kernel.

Items are the outer axes, flattened. The inner loop is left to LLVM's vectoriser when the kernel
has no reduction inside it, or when the reduction runs through neighbours in memory (row sums).
Where the result runs through neighbours and the reduction does not (column sums, products of
matrices), a tile of the result is a vector value, and the reduction loops run around it.
Where loads run through neighbours along another axis than the result, blocks of the two axes are
transposed in registers: the loads, or the result if it needs a reduction.
"""

from __future__ import annotations

from math import inf

from kiso.compiler.codegen.convert import Nest
from kiso.compiler.codegen.dag import I64, Node, coefficient, reachable
from kiso.compiler.codegen.ir import Val, Writer
from kiso.compiler.codegen.reduction import Reduction, joint, reach
from kiso.compiler.codegen.scalar import Lane, Scalar
from kiso.compiler.loops import HEAVY, Buffer

__all__ = ["Loops", "form"]

SHORT = 8  # loops up to this length are written out
MANY = 64  # outer axes are flattened until there are as many items
ONE = Node("axis", I64, (), ("one", 1, 1), 0)  # the inner axis of a kernel without loops


class Loops:
    """How the loops of a kernel run, and writing them."""

    def __init__(self, nest: Nest, vector_bytes: int):
        self.nest = nest
        self.live = [a for a in nest.axes if nest.extent[a] > 1]
        *outer, self.inner = self.live or [ONE]
        self.below = {r: [x for x in reachable([r]) if x.op == "load"] for r in nest.reduces}
        # Whether a result is read before it is written: then no tile may overlap another.
        self.again = any(b in nest.buffers for b, _, _ in nest.results)
        self.turned: list[Node] = []  # loads that run through neighbours along `across`
        self.across: Node | None = None  # the other axis of the blocks to transpose,
        self.side = 0  # and the length of a block there
        self.tile = self._block_width(vector_bytes) or self._tile_width(vector_bytes)
        self.flat: list[Node] = []
        self.items = 1
        while outer and self.items < MANY:
            self.flat.append(outer.pop(0))
            self.items *= self._turns(self.flat[-1])
        self.middle = outer
        if not self.flat:
            self.items = self._turns(self.inner)

    def _tile_width(self, vector_bytes: int) -> int:
        """Lanes of a tile; 0 if the loops are LLVM's to vectorise."""
        inner, extent = self.inner, self.nest.extent
        inside = [r for r in self.nest.reduces if inner in r.axes]
        if not inside or extent[inner] < 4:
            return 0
        for r in inside:
            loads = self.below[r]
            axes = [a for a in r.extra[1] if extent[a] > 1] or list(r.extra[1])
            best = min(axes, key=lambda a: reach(a, loads) or inf)
            own = _cost(loads, inner, extent[inner])
            if own > _cost(loads, best, extent[best]) and (r.extra[0] != "argmax" or own >= 8):
                return 0
        size = max((n.dtype.itemsize for n in self.nest.nodes if n.dtype.kind == "f"), default=4)
        vectors = 1 if any(n.op in HEAVY for n in self.nest.nodes) else 4
        width = max(vectors * vector_bytes // size, 2)
        while width > extent[inner] or (self.again and extent[inner] % width):
            width //= 2
        return width if width > 1 else 0

    def _block_width(self, vector_bytes: int) -> int:
        """Lanes of the blocks to transpose; 0 if no load gains from it."""
        inner, extent = self.inner, self.nest.extent
        steps = {x: coefficient(x.args[0], inner) for x in self.nest.nodes if x.op == "load"}
        if None in steps.values():
            return 0
        for axis in reversed(self.live[:-1]):
            own = {x: coefficient(x.args[0], axis) for x in steps}
            turned = [x for x, step in steps.items() if step not in (0, 1) and
                      x.dtype.itemsize >= 4 and own[x] == 1]
            if self.nest.reduces and not {0, 1}.issuperset(own.values()):
                continue
            lanes = vector_bytes // max((x.dtype.itemsize for x in turned), default=1)
            width, side = (min(lanes, 1 << extent[a].bit_length() - 1) for a in (inner, axis))
            side = min(side, width)
            if self.again and (extent[inner] % width or extent[axis] % side):
                continue
            if turned and side >= 4:
                self.turned, self.across, self.side = turned, axis, side
                return width
        return 0

    def _step(self, axis: Node) -> int:
        """How many places of an axis a turn of its loop does."""
        if axis is self.across:
            return self.side
        return max(self.tile, 1) if axis is self.inner else 1

    def _turns(self, axis: Node) -> int:
        """How often the loop over an axis turns."""
        return -(-self.nest.extent.get(axis, 1) // self._step(axis))

    def write(self, w: Writer, pointers: dict[Buffer, Val], begin: Val, end: Val) -> None:
        """All loops, for the items begin .. end - 1."""
        self.w, self.scalar = w, Scalar(w, pointers)
        self.corner = w.value(0)  # where a block begins along `across`
        with self.scalar.scope({a: w.value(0) for a, n in self.nest.extent.items() if n == 1}):
            if self.flat:
                for item in w.rounds(begin, end):
                    self._item(w.value(item))
                return
            if self.live:
                self._reduces()
            self._inner(begin, end)

    def _begin(self, axis: Node, turn: Val) -> Val:
        """Where a block of an axis begins; the last one overlaps its neighbour."""
        step, n = self._step(axis), self.nest.extent[axis]
        base = turn * step
        return self.w.intrinsic("smin", base, self.w.value(n - step)) if n % step else base

    def _nested(self, turns: dict[Node, Val], axes: list[Node]) -> None:
        """The loops over these axes and the inner one, where loops around are at these turns."""
        if self.across in turns:
            self.corner = self._begin(self.across, turns.pop(self.across))
        with self.scalar.scope(turns):
            self._reduces()
            if axes:
                for i in self.w.rounds(0, self._turns(axes[0])):
                    self._nested({axes[0]: self.w.value(i)}, axes[1:])
                return
            inner, n = self.inner, self.nest.extent[self.inner]
            if self.tile or n > SHORT:
                self._inner(self.w.value(0), self.w.value(self._turns(inner)))
                return
            for k in range(n):  # the loop around becomes the vectors' loop
                self._element({inner: self.w.value(k)})

    def _item(self, item: Val) -> None:
        """One combination of the flattened axes."""
        turns: dict[Node, Val] = {}
        for axis in reversed(self.flat[1:]):
            n = self.w.value(self._turns(axis))
            turns[axis] = self.w.binary("urem", item, n)
            item = self.w.binary("udiv", item, n)
        self._nested({**turns, self.flat[0]: item}, self.middle)

    def _inner(self, begin: Val, end: Val) -> None:
        """The innermost loop over elements or tiles."""
        for i in self.w.rounds(begin, end):
            turn = self.w.value(i)
            if not self.tile:
                self._element({self.inner: turn})
                continue
            lane = Lane(self.inner, self._begin(self.inner, turn), self.tile)
            if self.across is None:
                self.scalar.lane = lane
                self._element({})
            else:
                self._block(lane, self.across)
            self.scalar.lane = None

    def _element(self, known: dict[Node, Val]) -> None:
        with self.scalar.scope(known):
            self._reduces()
            self._store()

    def _store(self) -> None:
        """Every result of one turn: all are computed before the first is written."""
        values = [self.scalar.of(value) for _, _, value in self.nest.results]
        for (buffer, offset, _), x in zip(self.nest.results, values, strict=True):
            self.scalar.store(buffer, offset, x)

    def _block(self, lane: Lane, across: Node) -> None:
        """A block of the axes `across` and inner: load along the one, store along the other."""
        columns: dict[Node, list[Val]] = {}
        if self.nest.reduces:
            made: list[list[Val]] = []
            self.scalar.lane = Lane(across, self.corner, self.side)
            for k in range(lane.width):
                with self.scalar.scope({lane.axis: lane.base + k}):
                    self._reduces()
                    made.append([self.w.widen(self.scalar.of(x), self.side)
                                 for _, _, x in self.nest.results])
            for (_, _, x), rows in zip(self.nest.results, zip(*made, strict=True), strict=True):
                columns[x] = self.w.transposed(list(rows))
        else:
            with self.scalar.scope({lane.axis: lane.base, across: self.corner}):
                for x in self.turned:
                    step = coefficient(x.args[0], lane.axis) or 0
                    columns[x] = self.w.transposed([
                        self.scalar.read(x, self.scalar.of(x.args[0]) + k * step, self.side)
                        for k in range(lane.width)])
        self.scalar.lane = lane
        for k in range(self.side):
            known = {x: rows[k] for x, rows in columns.items()}
            with self.scalar.scope({across: self.corner + k, **known}):
                self._store()

    def _reduces(self) -> None:
        """Write the reductions of which all axes have values."""
        known = {k for scope in self.scalar.scopes for k in scope}
        lanes = {self.scalar.lane.axis} if self.scalar.lane else known
        waiting = [r for r in self.nest.reduces if r not in known and r.axes <= known | lanes]
        while waiting:
            first, *rest = waiting
            together = [first, *(r for r in rest if joint(first, r) and not
                                 set(waiting).intersection(reachable(r.args)))]
            loops = Reduction(self.nest, self.scalar, together,
                              [x for r in together for x in self.below[r]])
            self.scalar.scopes[-1].update(zip(together, loops.write(), strict=True))
            waiting = [r for r in rest if r not in together]


def _cost(loads: list[Node], axis: Node, extent: int) -> float:
    """What loads cost for each lane if `axis` becomes the lanes."""
    total = 0.0
    for x in loads:
        step = coefficient(x.args[0], axis)
        total += (0.5, 1, 2, 3, 3)[step] if step is not None and 0 <= step <= 4 else 8
    return total * (1 if extent >= 16 else 16 / extent)


def form(nest: Nest, vector_bytes: int) -> tuple[int, int]:
    """How many items the kernel of a nest has, and lanes of a tile (0: none)."""
    loops = Loops(nest, vector_bytes)
    return loops.items, loops.tile
