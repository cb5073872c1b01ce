"""Large reductions to few results, in two steps, so that threads can share them.

    y[c] = sum(n, h, w) x[n, c, h, w]     becomes
    p[b, c] = sum(n', h, w) x[b * size + n', c, h, w],   y[c] = sum(b) p[b, c]

The number of parts depends on the shapes only: the result has the same bits for any number of
threads.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from kiso.compiler.codegen.convert import convert
from kiso.compiler.codegen.kernel import form
from kiso.compiler.loops import (
    Axis,
    Buffer,
    Call,
    Contract,
    Expr,
    Index,
    Kernel,
    Load,
    Program,
    Reduce,
    binary,
    subexpressions,
)

__all__ = ["replace", "split_reductions"]

WORTH = 1 << 15  # terms in all, from which on a reduction is split
FEW = 8  # items of a kernel that need no splitting
PARTS = 64


def split_reductions(program: Program, vector_bytes: int) -> Program:
    """The program with large reductions to few results in two steps."""
    result = Program()
    for kernel in program.kernels:
        result.kernels += [kernel] if isinstance(kernel, Contract) else _split(kernel, vector_bytes)
    return result


def replace(e: Expr, known: dict[Expr, Expr], index: Mapping[Axis, Expr],
            names: Mapping[Buffer, Buffer] | None = None) -> Expr:
    """The expression with other parts, other index values and other buffers."""
    if e in known:
        return known[e]
    args = [replace(x, known, index, names) for x in e.parts]
    made: Expr = e
    if isinstance(e, Index):
        made = index.get(e.axis, e)
    elif isinstance(e, Load):
        made = Load((names or {}).get(e.buffer, e.buffer), args)
    elif isinstance(e, Call):
        made = binary(e.name, *args) if len(args) == 2 else Call(e.name, e.dtype, *args)
    elif isinstance(e, Reduce):
        made = Reduce(e.kind, e.axes, args[0])
    known[e] = made
    return made


def _parts(axis: Axis) -> int:
    """Into how many equal parts an axis is cut."""
    return max(k for k in range(1, PARTS + 1) if axis.extent % k == 0)


def _split(kernel: Kernel, vector_bytes: int) -> list[Kernel]:
    made: list[Kernel] = []
    known: dict[Expr, Expr] = {}
    for r in subexpressions(kernel.expr):
        if not isinstance(r, Reduce) or r.kind == "argmax":
            continue
        terms = prod(a.extent for a in r.axes)
        if terms * prod(kernel.buffer.shape) < WORTH or terms < 256:
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
    return [*made, Kernel(kernel.buffer, kernel.axes, replace(kernel.expr, known, {}), kernel.name)]


def _partial(kernel: Kernel, r: Reduce, axis: Axis, count: int) -> Kernel:
    """p[b, ...]: the reduction over the part b of one axis."""
    own = [Axis(a.extent) for a in kernel.axes]
    b, rest = Axis(count), Axis(axis.extent // count)
    index: dict[Axis, Expr] = {a: Index(o) for a, o in zip(kernel.axes, own, strict=True)}
    index[axis] = Index(b) * rest.extent + Index(rest)
    body = replace(r.body, {}, index)
    axes = [rest if a is axis else a for a in r.axes]
    order = (0, *(k + 1 for k in kernel.buffer.order))
    buffer = Buffer((count, *kernel.buffer.shape), r.dtype, order, f"{kernel.name} in parts")
    return Kernel(buffer, (b, *own), Reduce(r.kind, axes, body), buffer.name)
