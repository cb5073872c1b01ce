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
from dataclasses import replace

from kiso.compiler.loops import Buffer, Contract, Fn, Index, Kernel, Load, Program, find, reads

__all__ = ["settle"]

LARGE = 1 << 20  # bytes of a gradient that is not kept until the end


def settle(program: Program, carried: Mapping[Buffer, Buffer],
           results: Collection[Buffer] = ()) -> Program:
    """The program with every state buffer (key) updated to what its partner (value) holds after
    it; what writes to state comes after the results."""
    renamed: dict[Buffer, Buffer] = {}
    copies = Program()
    for old, new in carried.items():
        if old is not new:
            if _fits(program.kernels, old, new):
                renamed[new] = old
            else:
                copies.store(Fn.of(new), old.name, old)
    head: list[Kernel | Contract] = []
    tail: list[Kernel | Contract] = []
    written: set[Buffer] = set()  # in the tail
    for kernel in [*(_renamed(k, renamed) for k in program.kernels), *copies.kernels]:
        if kernel.buffer in carried or not written.isdisjoint(reads(kernel)):
            written.add(kernel.buffer)
            tail.append(kernel)
        else:
            head.append(kernel)
    if not tail:
        return Program(head)
    needed = set(results)
    for kernel in reversed(head):
        if kernel.buffer in needed:
            needed.update(reads(kernel))
    first = [k for k in head if k.buffer in needed]
    head = first + [k for k in head if k.buffer not in needed]
    # Stable: a kernel of the tail follows on the one in the head whose place it has.
    placed = [*enumerate(head, 1), *zip(_places(head, len(first), tail), tail, strict=True)]
    return Program([kernel for _, kernel in sorted(placed, key=lambda pair: pair[0])])


def _places(head: list[Kernel | Contract], first: int, tail: list[Kernel | Contract]) -> list[int]:
    """After how many kernels of `head` each of `tail` comes: one that reads something large after
    the last one in `head` that reads it too, and after so many first, with all that it needs and
    what needs it. The others come at the end."""
    needs = [{j for j, other in enumerate(tail[:i]) if other.buffer in (*reads(k), k.buffer)
              or k.buffer in reads(other)} for i, k in enumerate(tail)]
    made = {k.buffer: i for i, k in enumerate(head, 1)}
    read = {b: i for i, k in enumerate(head, 1) for b in reads(k)}
    large = {b for b in made if b.nbytes >= LARGE}
    soon: set[int] = set()
    for i, kernel in enumerate(tail):
        if not large.isdisjoint(reads(kernel)) or not soon.isdisjoint(needs[i]):
            soon.add(i)
    for i in reversed(range(len(tail))):
        if i in soon:
            soon |= needs[i]
    places: list[int] = []
    for i, kernel in enumerate(tail):
        inputs = reads(kernel)
        places.append(len(head) if i not in soon else max(
            first, read.get(kernel.buffer, 0), *(made.get(b, 0) for b in inputs),
            *(read.get(b, 0) for b in inputs if b.nbytes >= LARGE), *(places[j] for j in needs[i])))
    return places


def _fits(kernels: list[Kernel | Contract], old: Buffer, new: Buffer) -> bool:
    """Whether `new` may lie where `old` does."""
    at = next((i for i, k in enumerate(kernels) if k.buffer is new), None)
    if at is None or old.order != new.order or old.dtype != new.dtype or \
            any(old in reads(k) for k in kernels[at + 1:]):
        return False
    maker = kernels[at]
    if isinstance(maker, Contract):
        return old not in reads(maker)
    # What is read of the old value must be the element that is written.
    return all((isinstance(i, Index) and i.axis is a) or a.extent == 1
               for load in find(Load, maker.expr) if load.buffer is old
               for i, a in zip(load.indices, maker.axes, strict=True))


def _renamed(kernel: Kernel | Contract, names: Mapping[Buffer, Buffer]) -> Kernel | Contract:
    """The kernel with other buffers."""
    into = names.get(kernel.buffer, kernel.buffer)
    if isinstance(kernel, Contract):
        return replace(kernel, buffer=into, inputs=tuple(names.get(b, b) for b in kernel.inputs))
    return replace(kernel, buffer=into, expr=kernel.expr.replace({}, {}, names))
