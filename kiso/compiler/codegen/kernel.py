"""One kernel as one LLVM function: the loops.

    void kernel(table, begin, end)          items begin .. end - 1 of `items`, for one thread

Items are the outer axes, flattened. The inner loop is left to LLVM's vectoriser when the kernel
has no reduction inside it, or when the reduction runs through neighbours in memory (row sums).
Where the result runs through neighbours and the reduction does not (column sums, products of
matrices), a tile of the result is a vector value, and the reduction loops run around it.
Where loads run through neighbours along another axis than the result, blocks of the two axes are
transposed in registers: the loads, or the result if it needs a reduction.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, prod

from kiso.compiler.codegen.convert import Nest
from kiso.compiler.codegen.dag import Node, coefficient, reachable
from kiso.compiler.codegen.ir import Val, Writer
from kiso.compiler.codegen.reduction import Reduction, joint, reach
from kiso.compiler.codegen.scalar import Lane, Scalar
from kiso.compiler.loops import HEAVY, Buffer

__all__ = ["Code", "form", "uniform", "write_kernel"]

SHORT = 8  # loops up to this length are written out
MANY = 64  # outer axes are flattened until there are as many items


@dataclass(frozen=True)
class Code:
    """A kernel's function: IR text, declarations, how many items it can be shared out by.

    The text is that of `name(table, begin, end)`; `body` is a function that it calls, @BODY in
    both. Kernels that are alike share one.
    """

    name: str
    text: str
    body: str
    declared: dict[str, str]
    items: int
    mode: str


def _cost(loads: list[Node], axis: Node, extent: int) -> float:
    """What a load costs for each lane if `axis` becomes the lanes."""
    total = 0.0
    for x in loads:
        step = coefficient(x.args[0], axis)
        total += 8 if step is None or step < 0 else (0.5, 1, 2, 3, 3)[step] if step <= 4 else 8
    return total * (1 if extent >= 16 else 16 / extent)


class _Kernel:
    def __init__(self, nest: Nest, pointers: dict[Buffer, Val], w: Writer, vector_bytes: int):
        self.nest, self.w = nest, w
        self.scalar = Scalar(w, pointers)
        self.live = [a for a in nest.axes if nest.extent[a] > 1]
        self.inner = self.live[-1] if self.live else None
        self.below = {r: [x for x in reachable([r]) if x.op == "load"] for r in nest.reduces}
        # Whether a result is read before it is written: then no tile may overlap another.
        self.again = any(b in nest.buffers for b, _, _ in nest.results)
        self.turned: list[Node] = []  # loads that run through neighbours along `across`
        self.across: Node | None = None  # the other axis of the blocks to transpose,
        self.corner = self.number(0)  # its place where a block begins,
        self.side = 0  # and its length there
        self.tile = self._block_width(vector_bytes) or self._tile_width(vector_bytes)
        outer = self.live[:-1] if self.inner is not None else []
        count = 1
        self.flat: list[Node] = []
        while outer and count < MANY:
            self.flat.append(outer.pop(0))
            count *= self._turns(self.flat[-1])
        self.middle = outer
        if self.flat:
            self.items = count
        elif self.inner is None:
            self.items = 1
        else:
            n = nest.extent[self.inner]
            self.items = -(-n // self.tile) if self.tile else n

    def _tile_width(self, vector_bytes: int) -> int:
        """Lanes of a tile; 0 if the loops are LLVM's to vectorise."""
        inner, extent = self.inner, self.nest.extent
        inside = [r for r in self.nest.reduces if inner is not None and inner in r.axes]
        if inner is None or not inside or extent[inner] < 4:
            return 0
        for r in inside:
            loads = self.below[r]
            axes = [a for a in r.extra[1] if extent[a] > 1] or list(r.extra[1])
            best = min(axes, key=lambda a: reach(a, loads) or inf)
            if _cost(loads, inner, extent[inner]) > _cost(loads, best, extent[best]) and not (
                    r.extra[0] == "argmax" and _cost(loads, inner, extent[inner]) < 8):
                return 0
        size = max(n.dtype.itemsize for n in self.nest.nodes if n.dtype.kind == "f") if any(
            n.dtype.kind == "f" for n in self.nest.nodes) else 4
        vectors = 1 if any(n.op in HEAVY for n in self.nest.nodes) else 4
        width = max(vectors * vector_bytes // size, 2)
        while width > extent[inner] or (self.again and extent[inner] % width):
            width //= 2
        return width if width > 1 else 0

    def _block_width(self, vector_bytes: int) -> int:
        """Lanes of the blocks to transpose; 0 if no load gains from it."""
        inner, extent = self.inner, self.nest.extent
        if inner is None or inner.bounds != (0, inner.extra[1] - 1) or any(
                coefficient(offset, inner) != 1 for _, offset, _ in self.nest.results):
            return 0
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

    def _turns(self, axis: Node) -> int:
        """How often the loop over an axis turns."""
        n = self.nest.extent[axis]
        return -(-n // self.side) if axis is self.across else n

    def _begin(self, block: Val, axis: Node, width: int) -> Val:
        """Where a block of an axis begins; the last one overlaps its neighbour."""
        base, n = block * self.number(width), self.nest.extent[axis]
        return self.w.intrinsic("smin", base, self.number(n - width)) if n % width else base

    def number(self, value: int) -> Val:
        return self.w.value(value, "i64")

    def write(self, begin: Val, end: Val) -> None:
        """The whole body."""
        known = {a: self.number(0) for a in self.nest.extent if self.nest.extent[a] == 1}
        with self.scalar.scope(known):
            if self.inner is None:
                self.w.loop(begin, end, lambda i, c: self._element(c), guard=True)
            elif not self.flat:
                self._inner(begin, end)
            else:
                self.w.loop(begin, end, self._item, guard=True)

    def _element(self, carried: list[Val]) -> list[Val]:
        with self.scalar.scope({}):
            self._reduces(None)
            self._store()
        return carried

    def _store(self) -> None:
        """Every result of one turn: all are computed before the first is written."""
        values = [self.scalar.of(value) for _, _, value in self.nest.results]
        for (buffer, offset, _), x in zip(self.nest.results, values, strict=True):
            self.scalar.store(buffer, offset, x)

    def _item(self, item: Val, carried: list[Val]) -> list[Val]:
        """One combination of the flattened axes."""
        known: dict[Node, Val] = {}
        rest = item
        for k in range(len(self.flat) - 1, -1, -1):
            n = self.number(self._turns(self.flat[k]))
            known[self.flat[k]] = rest if k == 0 else self.w.binary("urem", rest, n)
            rest = rest if k == 0 else self.w.binary("udiv", rest, n)
        if self.across in known:
            self.corner = self._begin(known.pop(self.across), self.across, self.side)
        with self.scalar.scope(known):
            self._nested(self.middle, set(known))
        return carried

    def _nested(self, axes: list[Node], bound: set[Node]) -> None:
        self._reduces(bound)
        if not axes:
            assert self.inner is not None
            low, high = self.inner.bounds if self.nest.extent[self.inner] == \
                self.inner.extra[1] else (0, self.nest.extent[self.inner] - 1)
            if self.tile:
                low, high = 0, -(-(high + 1) // self.tile) - 1
            elif high - low < SHORT:
                self._few(range(low, high + 1))
                return
            self._inner(self.number(low), self.number(high + 1))
            return

        def body(i: Val, carried: list[Val]) -> list[Val]:
            known = {axes[0]: i}
            if axes[0] is self.across:
                self.corner = self._begin(known.pop(axes[0]), axes[0], self.side)
            with self.scalar.scope(known):
                self._nested(axes[1:], bound.union(known))
            return carried
        self.w.loop(self.number(0), self.number(self._turns(axes[0])), body)

    def _few(self, places: range) -> None:
        """A short inner loop, written out: the loop around it becomes the vectors' loop."""
        assert self.inner is not None
        for k in places:
            with self.scalar.scope({self.inner: self.number(k)}):
                self._element([])

    def _inner(self, begin: Val, end: Val) -> None:
        """The innermost loop over elements or tiles; the last tile overlaps its neighbour."""
        assert self.inner is not None
        inner, width = self.inner, self.tile
        if not self.flat:
            self._reduces(set())

        def one(i: Val, carried: list[Val]) -> list[Val]:
            with self.scalar.scope({inner: i}):
                return self._element(carried)

        def many(t: Val, carried: list[Val]) -> list[Val]:
            lane = Lane(inner, self._begin(t, inner, width), width)
            if self.across is not None:
                self._block(lane, self.across)
                return carried
            self.scalar.lane = lane
            self._element(carried)
            self.scalar.lane = None
            return carried
        self.w.loop(begin, end, many if width else one, guard=True)

    def _block(self, lane: Lane, across: Node) -> None:
        """A block of the axes `across` and inner: load along the one, store along the other."""
        columns: dict[Node, list[Val]] = {}
        if self.nest.reduces:
            made: list[list[Val]] = []
            self.scalar.lane = Lane(across, self.corner, self.side)
            for k in range(lane.width):
                with self.scalar.scope({lane.axis: lane.base + self.number(k)}):
                    self._reduces(None)
                    made.append([self.w.widen(self.scalar.of(x), self.side)
                                 for _, _, x in self.nest.results])
            for (_, _, x), rows in zip(self.nest.results, zip(*made, strict=True), strict=True):
                columns[x] = self.w.transposed(list(rows))
        else:
            with self.scalar.scope({lane.axis: lane.base, across: self.corner}):
                for x in self.turned:
                    step = coefficient(x.args[0], lane.axis) or 0
                    columns[x] = self.w.transposed([
                        self.scalar.vector(x, k * step, self.side)
                        for k in range(lane.width)])
        self.scalar.lane = lane
        for k in range(self.side):
            known = {x: rows[k] for x, rows in columns.items()}
            with self.scalar.scope({across: self.corner + self.number(k), **known}):
                self._store()
        self.scalar.lane = None

    def _reduces(self, bound: set[Node] | None) -> None:
        """Write the reductions that need no axis but these (None: all that are left)."""
        known = {k for scope in self.scalar.scopes for k in scope}
        waiting = [r for r in self.nest.reduces if r not in known and (
            bound is None or bound >= {a for a in r.axes if self.nest.extent[a] > 1})]
        while waiting:
            first, *rest = waiting
            together = [first, *(r for r in rest if joint(first, r) and not
                                 set(waiting).intersection(reachable(list(r.args))))]
            loops = Reduction(self.nest, self.scalar, together,
                              [x for r in together for x in self.below[r]])
            self.scalar.scopes[-1].update(zip(together, loops.write(), strict=True))
            waiting = [r for r in rest if r not in together]


def uniform(nests: list[Nest], vector_bytes: int) -> bool:
    """Whether sections of a kernel are shared out in the same way: by the outer axes."""
    kernels = [_Kernel(n, {}, Writer(), vector_bytes) for n in nests]
    return all(k.flat and k.items == kernels[0].items and not k.tile for k in kernels)


def form(nest: Nest, vector_bytes: int) -> tuple[int, int]:
    """How many items the kernel of a nest has, and lanes of a tile (0: none)."""
    kernel = _Kernel(nest, {}, Writer(), vector_bytes)
    return kernel.items, kernel.tile


def write_kernel(name: str, nests: list[Nest], slots: dict[Buffer, int], vector_bytes: int) -> Code:
    """The function `name(table, begin, end)` and its body."""
    w, nest = Writer(), nests[0]
    written = [b for b, _, _ in nest.results]
    buffers = list(dict.fromkeys([*written, *(b for n in nests for b in n.buffers)]))
    pointers = {b: Val(w, f"%p{k}", "ptr") for k, b in enumerate(buffers)}
    if prod(written[0].shape) == 0:
        text = f"define void @{name}(ptr %table, i64 %begin, i64 %end) {{\n  ret void\n}}\n"
        return Code(name, text, "", {}, 0, "empty")
    kernels = [_Kernel(n, pointers, w, vector_bytes) for n in nests]
    kernel = kernels[0]
    for one in kernels:
        one.write(Val(w, "%begin", "i64"), Val(w, "%end", "i64"))
    types = ", ".join(f"ptr noalias nocapture {'readonly ' if k >= len(written) else ''}%p{k}"
                      for k in range(len(buffers)))
    body = "\n".join([f"define internal void @BODY({types}, i64 %begin, i64 %end) #0 {{",
                      "entry:", *w.lines, "  ret void", "}", ""])
    lines = [f"define void @{name}(ptr %table, i64 %begin, i64 %end) nounwind {{"]
    for k, b in enumerate(buffers):
        lines += [f"  %a{k} = getelementptr ptr, ptr %table, i64 {slots[b]}",
                  f"  %p{k} = load ptr, ptr %a{k}"]
    given = ", ".join(f"ptr %p{k}" for k in range(len(buffers)))
    lines += [f"  call void @BODY({given}, i64 %begin, i64 %end)", "  ret void", "}", ""]
    mode = f"tile {kernel.tile}" if kernel.tile else "loop"
    return Code(name, "\n".join(lines), body, w.declared, kernel.items, mode)
