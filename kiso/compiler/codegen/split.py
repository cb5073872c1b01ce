"""Large reductions to few results, in two steps, so that threads can share them.

    y[c] = sum(n, h, w) x[n, c, h, w]     becomes
    p[b, c] = sum(n', h, w) x[b * size + n', c, h, w],   y[c] = sum(b) p[b, c]

The number of parts depends on the shapes only: the result has the same bits for any number of
threads.
"""

from __future__ import annotations

from math import prod

from kiso.compiler.codegen.convert import convert
from kiso.compiler.codegen.kernel import form
from kiso.compiler.loops import Axis, Buffer, Expr, Index, Kernel, Load, Program, Reduce, find

__all__ = ["split_reductions"]

WORTH = 1 << 15  # terms in all, from which on a reduction is split
FEW = 8  # items of a kernel that need no splitting
PARTS = 64


def split_reductions(program: Program, vector_bytes: int) -> Program:
    """The program with large reductions to few results in two steps."""
    result = Program()
    for kernel in program.kernels:
        result.kernels += _split(kernel, vector_bytes) if isinstance(kernel, Kernel) else [kernel]
    return result


def _parts(axis: Axis) -> int:
    """Into how many equal parts an axis is cut."""
    return max(k for k in range(1, PARTS + 1) if axis.extent % k == 0)


def _split(kernel: Kernel, vector_bytes: int) -> list[Kernel]:
    made: list[Kernel] = []
    known: dict[Expr, Expr] = {}
    for r in find(Reduce, kernel.expr):
        terms = prod(a.extent for a in r.axes)
        if r.kind == "argmax" or terms * prod(kernel.buffer.shape) < WORTH or terms < 256:
            continue
        first = r.axes[0] if _parts(r.axes[0]) >= 16 else max(r.axes, key=_parts)
        count = _parts(first)
        items, tile = form(convert(kernel), vector_bytes)
        if count < 4 or (items >= FEW and not 0 < tile < vector_bytes // r.dtype.itemsize):
            continue
        made.append(_partial(kernel, r, first, count))
        b = Axis(count)
        known[r] = Reduce(r.kind, (b,), Load(made[-1].buffer, list(map(Index, (b, *kernel.axes)))))
    if not made:
        return [kernel]
    return [*made, Kernel(kernel.buffer, kernel.axes, kernel.expr.replace(known, {}), kernel.name)]


def _partial(kernel: Kernel, r: Reduce, axis: Axis, count: int) -> Kernel:
    """p[b, ...]: the reduction over the part b of one axis."""
    own = [Axis(a.extent) for a in kernel.axes]
    b, rest = Axis(count), Axis(axis.extent // count)
    index: dict[Axis, Expr] = {a: Index(o) for a, o in zip(kernel.axes, own, strict=True)}
    index[axis] = Index(b) * rest.extent + Index(rest)
    body = r.body.replace({}, index)
    axes = [rest if a is axis else a for a in r.axes]
    order = (0, *(k + 1 for k in kernel.buffer.order))
    buffer = Buffer((count, *kernel.buffer.shape), r.dtype, order, f"{kernel.name} in parts")
    return Kernel(buffer, (b, *own), Reduce(r.kind, axes, body), buffer.name)
