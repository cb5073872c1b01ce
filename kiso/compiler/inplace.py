"""State that is updated where it lies: the result of a step takes the place of what it came from.

    v = %7 * 0.9 + g,  p = %1 - lr * v        becomes        %7 = %7 * 0.9 + g,  %1 = %1 - lr * %7

That holds where nobody reads the old value any more, and where the kernel that writes the new one
reads the old one at the element that it writes, if at all. Otherwise the new value has memory of
its own and is copied at the end.

No state is written before the step's other results are there. So a step whose loss is no number can
be given up before it has changed anything. After that a large gradient is used up as soon as it is
there, or all of them would be in memory at the end; small updates come last, many in one kernel.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
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

LARGE = 1 << 20  # bytes of a gradient that is not kept until the end


def settle(program: Program, carried: Mapping[Buffer, Buffer],
           results: Collection[Buffer] = ()) -> Program:
    """The program with every state buffer (key) updated to what its partner (value) holds after
    it; what writes to state comes after the results."""
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
    result.kernels = _early(*_first(head, results), tail) if tail else head
    return result


def _first(kernels: list[Kernel | Contract], results: Collection[Buffer]
           ) -> tuple[list[Kernel | Contract], int]:
    """The kernels with those before that make the results, and how many these are."""
    needed = set(results)
    makers: list[Kernel | Contract] = []
    others: list[Kernel | Contract] = []
    for kernel in reversed(kernels):
        found = kernel.buffer in needed
        (makers if found else others).append(kernel)
        if found:
            needed.update(reads(kernel))
    return [*reversed(makers), *reversed(others)], len(makers)


def _early(head: list[Kernel | Contract], first: int, tail: list[Kernel | Contract]
           ) -> list[Kernel | Contract]:
    """Both lists as one: a kernel of `tail` that reads something large follows on the last one in
    `head` that reads it too, and after so many first, with all that it needs and what needs it.
    The others come at the end."""
    needs = [{j for j, other in enumerate(tail[:i]) if other.buffer in (*reads(k), k.buffer)
              or k.buffer in reads(other)} for i, k in enumerate(tail)]
    made = {k.buffer: i + 1 for i, k in enumerate(head)}
    read = {b: i + 1 for i, k in enumerate(head) for b in reads(k)}
    soon: set[int] = set()
    for i, kernel in enumerate(tail):
        large = [b for b in reads(kernel) if b in made and b.nbytes >= LARGE]
        if large or not soon.isdisjoint(needs[i]):
            soon.add(i)
    for i in reversed(range(len(tail))):
        if i in soon:
            soon |= needs[i]
    after: list[list[Kernel | Contract]] = [[] for _ in range(len(head) + 1)]
    at: list[int] = []
    for i, kernel in enumerate(tail):
        at.append(len(head) if i not in soon else max(
            first, read.get(kernel.buffer, 0), *(made.get(b, 0) for b in reads(kernel)),
            *(read.get(b, 0) for b in reads(kernel) if b.nbytes >= LARGE),
            *(at[j] for j in needs[i])))
        after[at[i]].append(kernel)
    return [*after[0], *(k for i, one in enumerate(head) for k in (one, *after[i + 1]))]


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
