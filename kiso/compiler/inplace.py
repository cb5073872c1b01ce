"""State that is updated where it lies: the result of a step takes the place of what it came from.

    v = %7 * 0.9 + g,  p = %1 - lr * v        becomes        %7 = %7 * 0.9 + g,  %1 = %1 - lr * %7

That holds where nobody reads the old value any more, and where the kernel that writes the new one
reads the old one at the element that it writes, if at all. Otherwise the new value has memory of
its own and is copied at the end.

All writing to state comes last in the program. So a step whose loss is no number can be given up
before it has changed anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace as changed

from kiso.compiler.codegen.convert import reads
from kiso.compiler.codegen.split import replace
from kiso.compiler.loops import (
    Axis,
    Buffer,
    Contract,
    Expr,
    Fn,
    Index,
    Kernel,
    Load,
    Program,
    subexpressions,
)

__all__ = ["settle"]


def settle(program: Program, carried: Mapping[Buffer, Buffer]) -> Program:
    """The program with every state buffer (key) updated to what its partner (value) holds after
    it; what writes to state comes last."""
    kernels = list(program.kernels)
    renamed: dict[Buffer, Buffer] = {}
    copies = Program()
    for old, new in carried.items():
        if old is new:
            continue
        if _fits(kernels, old, new):
            renamed[new] = old
        else:
            copies.store(Fn.of(new), old.name, old)
    kernels = [_renamed(k, renamed) for k in kernels] + copies.kernels
    head: list[Kernel | Contract] = []
    tail: list[Kernel | Contract] = []
    written: set[Buffer] = set()
    for kernel in kernels:
        late = kernel.buffer in carried or not written.isdisjoint(reads(kernel))
        (tail if late else head).append(kernel)
        if late:
            written.add(kernel.buffer)
    result = Program()
    result.kernels = [*head, *tail]
    return result


def _fits(kernels: list[Kernel | Contract], old: Buffer, new: Buffer) -> bool:
    """Whether `new` may lie where `old` does."""
    makers = [i for i, k in enumerate(kernels) if k.buffer is new]
    if len(makers) != 1 or old.order != new.order or old.dtype != new.dtype:
        return False
    at = makers[0]
    maker = kernels[at]
    if any(old in reads(k) for k in kernels[at + 1:]):
        return False
    if old not in reads(maker):
        return True
    if isinstance(maker, Contract):
        return False
    return all(_same_place(e, maker.axes) for e in subexpressions(maker.expr)
               if isinstance(e, Load) and e.buffer is old)


def _same_place(load: Load, axes: tuple[Axis, ...]) -> bool:
    """Whether a load reads the element that the kernel writes."""
    return all((isinstance(i, Index) and i.axis is a) or a.extent == 1
               for i, a in zip(load.indices, axes, strict=True))


def _renamed(kernel: Kernel | Contract, names: Mapping[Buffer, Buffer]) -> Kernel | Contract:
    """The kernel with other buffers."""
    into = names.get(kernel.buffer, kernel.buffer)
    if isinstance(kernel, Contract):
        return kernel.renamed(names)
    known: dict[Expr, Expr] = {}
    return changed(kernel, buffer=into, expr=replace(kernel.expr, known, {}, names))
