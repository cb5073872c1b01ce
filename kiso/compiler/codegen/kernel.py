"""One kernel as one LLVM function: the loops.

    void kernel(table, begin, end)          items begin .. end - 1 of `items`, for one thread

Items are the outer axes, flattened. The inner loop is left to LLVM's vectoriser when the kernel
has no reduction inside it, or when the reduction runs through neighbours in memory (row sums).
Where the result runs through neighbours and the reduction does not (column sums, products of
matrices), a tile of the result is a vector value, and the reduction loops run around it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, prod

from kiso.compiler.codegen.convert import Nest, coefficient, loads_below
from kiso.compiler.codegen.dag import Node
from kiso.compiler.codegen.ir import Val, Writer
from kiso.compiler.codegen.reduction import Reduction, reach
from kiso.compiler.codegen.scalar import Lane, Scalar
from kiso.compiler.loops import Buffer

__all__ = ["Code", "items", "uniform", "write_kernel"]

SHORT = 8  # loops up to this length are written out
MANY = 64  # outer axes are flattened until there are as many items
HEAVY = {"exp", "expm1", "log", "log1p", "tanh", "sin", "cos", "erf", "pow"}


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
        self.below = {r: loads_below(r) for r in nest.reduces}
        self.tile = self._tile_width(vector_bytes)
        outer = self.live[:-1] if self.inner is not None else []
        count = 1
        self.flat: list[Node] = []
        while outer and count < MANY:
            self.flat.append(outer.pop(0))
            count *= nest.extent[self.flat[-1]]
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
        while width > extent[inner]:
            width //= 2
        return width

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
            self.scalar.store(self.nest.buffer, self.nest.offset,
                              self.scalar.of(self.nest.value))
        return carried

    def _item(self, item: Val, carried: list[Val]) -> list[Val]:
        """One combination of the flattened axes."""
        known: dict[Node, Val] = {}
        rest = item
        for k in range(len(self.flat) - 1, -1, -1):
            n = self.number(self.nest.extent[self.flat[k]])
            known[self.flat[k]] = rest if k == 0 else self.w.binary("urem", rest, n)
            rest = rest if k == 0 else self.w.binary("udiv", rest, n)
        with self.scalar.scope(known):
            self._nested(self.middle, set(self.flat))
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
            with self.scalar.scope({axes[0]: i}):
                self._nested(axes[1:], bound | {axes[0]})
            return carried
        self.w.loop(self.number(0), self.number(self.nest.extent[axes[0]]), body)

    def _few(self, places: range) -> None:
        """A short inner loop, written out: the loop around it becomes the vectors' loop."""
        assert self.inner is not None
        for k in places:
            with self.scalar.scope({self.inner: self.number(k)}):
                self._element([])

    def _inner(self, begin: Val, end: Val) -> None:
        """The innermost loop over elements or tiles; the last tile overlaps its neighbour."""
        assert self.inner is not None
        inner, n, width = self.inner, self.nest.extent[self.inner], self.tile
        if not self.flat:
            self._reduces(set())

        def one(i: Val, carried: list[Val]) -> list[Val]:
            with self.scalar.scope({inner: i}):
                return self._element(carried)

        def many(t: Val, carried: list[Val]) -> list[Val]:
            base = t * self.number(width)
            if n % width:
                base = self.w.intrinsic("smin", base, self.number(n - width))
            self.scalar.lane = Lane(inner, base, width)
            result = self._element(carried)
            self.scalar.lane = None
            return result
        self.w.loop(begin, end, many if width else one, guard=True)

    def _reduces(self, bound: set[Node] | None) -> None:
        """Write the reductions that need no axis but these (None: all that are left)."""
        known = {k for scope in self.scalar.scopes for k in scope}
        for r in self.nest.reduces:
            needed = {a for a in r.axes if self.nest.extent[a] > 1}
            if r not in known and (bound is None or needed <= bound):
                loops = Reduction(self.nest, self.scalar, r, self.below[r])
                self.scalar.scopes[-1][r] = loops.write()


def uniform(nests: list[Nest], vector_bytes: int) -> bool:
    """Whether sections of a kernel are shared out in the same way: by the outer axes."""
    kernels = [_Kernel(n, {}, Writer(), vector_bytes) for n in nests]
    return all(k.flat and k.items == kernels[0].items and not k.tile for k in kernels)


def items(nest: Nest, vector_bytes: int) -> int:
    """How many items the kernel of a nest has."""
    return _Kernel(nest, {}, Writer(), vector_bytes).items


def write_kernel(name: str, nests: list[Nest], slots: dict[Buffer, int], vector_bytes: int) -> Code:
    """The function `name(table, begin, end)` and its body."""
    w, nest = Writer(), nests[0]
    buffers = [nest.buffer, *(b for b in dict.fromkeys(b for n in nests for b in n.buffers)
                              if b is not nest.buffer)]
    pointers = {b: Val(w, f"%p{k}", "ptr") for k, b in enumerate(buffers)}
    if prod(nest.buffer.shape) == 0:
        text = f"define void @{name}(ptr %table, i64 %begin, i64 %end) {{\n  ret void\n}}\n"
        return Code(name, text, "", {}, 0, "empty")
    kernels = [_Kernel(n, pointers, w, vector_bytes) for n in nests]
    kernel = kernels[0]
    for one in kernels:
        one.write(Val(w, "%begin", "i64"), Val(w, "%end", "i64"))
    types = ", ".join(f"ptr noalias nocapture {'readonly ' if k else ''}%p{k}"
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
